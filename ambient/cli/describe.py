"""``ambient describe``: an object, where it is from, what is wrong with it, and what it has become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ambient.cli import api, exits, kinds, objects, output, relations, workloads, yaml_text
from ambient.cli.output import Output, OutputOption
from ambient.cli.tables import printable
from ambient.core.errors import ConfigError

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.configuration import StoredObject
    from ambient.rpc.mesh import MeshWorkload

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class World:
    """What stands now."""

    objects: tuple[StoredObject, ...]
    workloads: tuple[MeshWorkload, ...]


@app.command()
def describe(
    kind: Annotated[
        str,
        typer.Argument(
            help="Such as service, svc, authorizationpolicy; or workload.", autocompletion=kinds.complete
        ),
    ],
    name: Annotated[str, typer.Argument(help="NAME or NAMESPACE/NAME.")],
    namespace: objects.Namespace = "",
    state_dir: api.StateDir = api.STATE_DIR,
    form: OutputOption = Output.TABLE,
) -> None:
    """Show an object or a workload: source, status, warnings, and the workloads, policies and routes around it."""
    with exits.on_errors():
        namespace, name = objects.split(name, namespace)
        if kind.lower() in workloads.NAMES:
            described = api.call(state_dir, lambda channel: _workload(channel, namespace, name))
        else:
            wanted = kinds.named(kind)
            described = api.call(state_dir, lambda channel: _object(channel, wanted, namespace, name))
        if form is Output.TABLE:
            for line in lines(described):
                typer.echo(line)
        else:
            output.data(form, described)


async def _object(channel: Channel, kind: str, namespace: str, name: str) -> dict[str, Any]:
    stored = await objects.find(channel, kind, namespace, name)
    return of_object(stored, await _world(channel))


async def _workload(channel: Channel, namespace: str, name: str) -> dict[str, Any]:
    world = await _world(channel)
    found = [one for one in world.workloads if one.name == name and namespace in ("", one.namespace)]
    if not found:
        raise ConfigError(
            f"there is no workload {namespace}/{name}".replace(" /", " ") + "; see ambient workload list"
        )
    if len(found) > 1:
        raise ConfigError(
            f"workload {name} is in namespaces {', '.join(one.namespace for one in found)}; say which, with -n"
        )
    return of_workload(found[0], world)


async def _world(channel: Channel) -> World:
    from ambient.rpc import configuration, mesh  # noqa: PLC0415  # `ambient --help` must not load it.

    return World(await configuration.list_all(channel, configuration.Wanted()), await mesh.workloads(channel))


def of_object(stored: StoredObject, world: World) -> dict[str, Any]:
    """What there is to say of an object."""
    document = objects.content(stored)
    return {
        "object": str(stored.name),
        "source": f"{stored.source} ({stored.origin})" if stored.origin else stored.source,
        "version": stored.resource_version,
        "changed": output.moment(stored.changed),
        "status": objects.status(stored),
        "refused": list(map(str, stored.violations)),
        "warnings": list(map(str, stored.warnings)),
        **_became(stored, document, world),
        "written": {**document, "metadata": {**document["metadata"]}},
    }


def of_workload(workload: MeshWorkload, world: World) -> dict[str, Any]:
    """What there is to say of a workload."""
    return {
        "workload": f"{workload.namespace}/{workload.name}",
        "uid": workload.uid,
        "service account": workload.service_account,
        "node": workload.node,
        "addresses": list(workload.addresses),
        "labels": dict(workload.labels),
        "told of by": workload.origin.value,
        "status": _health(workload),
        "lease ends": output.moment(workload.lease_end),
        "refused": [workload.refused] if workload.refused else [],
        "services": list(workload.services),
        "policies": _policies(world, [workload]),
    }


def _became(stored: StoredObject, document: Mapping[str, Any], world: World) -> dict[str, Any]:
    namespace, name = stored.name.namespace, stored.name.name
    match stored.name.kind:
        case "Service":
            served = [one for one in world.workloads if relations.serves(one.services, namespace, name)]
            return {
                "endpoints": list(map(_shown, served)),
                "policies": _policies(world, served),
                "routes": [
                    str(one.name)
                    for one in world.objects
                    if one.name.kind != "Service"
                    and relations.concerns_service(objects.content(one), namespace, name)
                ],
            }
        case "Namespace":
            own = [one for one in world.workloads if one.namespace == name]
            return {
                "workloads": list(map(_shown, own)),
                "objects": [str(one.name) for one in world.objects if one.name.namespace == name],
            }
        case "ServiceAccount":
            own = [
                one for one in world.workloads if (one.namespace, one.service_account) == (namespace, name)
            ]
            return {"workloads": list(map(_shown, own))}
        case kind if kind in relations.POLICIES:
            own = [one for one in world.workloads if relations.selects(document, one.namespace, one.labels)]
            return {"selects": list(map(_shown, own))}
        case _:
            services = [
                str(one.name)
                for one in world.objects
                if one.name.kind == "Service"
                and relations.concerns_service(document, one.name.namespace, one.name.name)
            ]
            return {"services": services}


def _policies(world: World, workloads: Sequence[MeshWorkload]) -> list[str]:
    return [
        str(one.name)
        for one in world.objects
        if one.name.kind in relations.POLICIES
        and any(relations.selects(objects.content(one), each.namespace, each.labels) for each in workloads)
    ]


def _shown(workload: MeshWorkload) -> str:
    addresses = ", ".join(workload.addresses)
    return f"{workload.namespace}/{workload.name}  {addresses}  {_health(workload)}"


def _health(workload: MeshWorkload) -> str:
    if workload.refused:
        return "refused"
    words = ["healthy" if workload.healthy else "unhealthy"]
    words.append("speaks HBONE" if workload.hbone else "enrolled" if workload.enrolled else "not enrolled")
    return ", ".join(words)


def lines(described: Mapping[str, Any]) -> Iterator[str]:
    """For people: a field on a line, or a list below its name."""
    for name, value in described.items():
        match value:
            case None | "" | 0:
                continue
            case list() | tuple():
                yield f"{name}{':' if value else ': none'}"
                for one in value:
                    yield f"  {printable(str(one))}"
            case Mapping() if name == "written":
                yield f"{name}:"
                for line in yaml_text.of(value).splitlines():
                    yield f"  {printable(line)}"
            case Mapping():
                pairs = ", ".join(f"{key}={each}" for key, each in value.items())
                yield f"{name}: {printable(pairs) or 'none'}"
            case _:
                yield f"{name}: {printable(str(value))}"
