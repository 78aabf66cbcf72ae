"""networking.istio.io."""

from __future__ import annotations

from typing import Final

from immutables import Map

from ambient.control.objects import WorkloadEntry
from ambient.control.problem import Problem
from ambient.control.schema import istio_networking as schema
from ambient.control.translate.kind import Kind, Translated, Untranslatable
from ambient.core.model.workload import Locality

VERSIONS: Final = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")
TUNNEL: Final = "ambient.dev/tunnel"
"""Label or annotation of a WorkloadEntry."""


def _workload_entry(read: schema.WorkloadEntryDocument, _: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    region, zone, subzone = f"{spec.locality}//".split("/")[:3]
    tunnel = spec.labels.get(TUNNEL) or metadata.labels.get(TUNNEL) or metadata.annotations.get(TUNNEL) or ""
    if tunnel not in {"", "none", "hbone"}:
        raise Untranslatable(
            (Problem(f'metadata.annotations["{TUNNEL}"]', f'is "{tunnel}"; it is hbone or none'),)
        )
    entry = WorkloadEntry(
        namespace=metadata.namespace,
        name=metadata.name,
        service_account=spec.service_account or "default",
        address=spec.address,
        ports=Map(spec.ports),
        # Selectors see both, and the spec's own count more. Source: Istio's WorkloadEntry.
        labels=Map({**metadata.labels, **spec.labels}),
        network=spec.network,
        locality=Locality(region, zone, subzone),
        capacity=spec.weight or 1,
        speaks_hbone=tunnel == "hbone",
    )
    return Translated(entry)


KINDS: Final = (Kind("WorkloadEntry", VERSIONS, schema.WorkloadEntryDocument, _workload_entry),)
