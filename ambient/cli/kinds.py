"""Kinds of objects, as people write them."""

from __future__ import annotations

from typing import Final

import typer

ALL: Final = ""
"""Every kind."""
_SHORT: Final = {
    "all": ALL, "ns": "Namespace", "sa": "ServiceAccount", "svc": "Service", "po": "Pod", "deploy": "Deployment",
    "we": "WorkloadEntry", "se": "ServiceEntry", "vs": "VirtualService", "dr": "DestinationRule", "gtw": "Gateway",
    "pa": "PeerAuthentication", "ra": "RequestAuthentication", "ap": "AuthorizationPolicy", "sp": "ServiceProfile",
}  # fmt: skip
"""As Kubernetes and the meshes abbreviate them."""


def named(text: str, *, or_all: bool = False) -> str:
    """The kind that is meant by its name in any case, its plural, or a short name."""
    from ambient.control.translate.kinds import KINDS  # noqa: PLC0415  # `ambient --help` must not load it.

    names = {kind.lower(): kind for kind in KINDS} | {
        short: kind for short, kind in _SHORT.items() if kind in KINDS or (kind == ALL and or_all)
    }
    word = text.lower()
    for form in (word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"):
        if form in names:
            return names[form]
    raise typer.BadParameter(
        f"{text!r} is no kind that ambient knows; it is one of {', '.join(sorted(KINDS))}"
        + (", or all" if or_all else ""),
        param_hint="KIND",
    )


def complete(incomplete: str) -> list[str]:
    """What a kind that is being typed could become."""
    from ambient.control.translate.kinds import KINDS  # noqa: PLC0415

    return sorted(kind.lower() for kind in KINDS if kind.lower().startswith(incomplete.lower()))


def is_namespaced(kind: str) -> bool:
    """Whether its objects are in namespaces."""
    from ambient.control.translate.kinds import KINDS  # noqa: PLC0415

    return KINDS[kind].is_namespaced
