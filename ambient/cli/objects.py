"""Objects that stand, as verbs name, find and show them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ambient.cli import kinds, output
from ambient.core.errors import ConfigError

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.configuration import StoredObject

Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Only this one. Default: all of them.")]
COLUMNS = ("KIND", "NAMESPACE", "NAME", "SOURCE", "AGE", "STATUS")


def split(name: str, namespace: str) -> tuple[str, str]:
    """Namespace and name of ``NAME`` or ``NAMESPACE/NAME``."""
    before, slash, after = name.rpartition("/")
    if slash and namespace and before != namespace:
        raise typer.BadParameter(f"{name!r} is not in namespace {namespace!r}", param_hint="NAME")
    return (before if slash else namespace), after


async def find(channel: Channel, kind: str, namespace: str, name: str) -> StoredObject:
    """The one object of that name; without a namespace, that of all of them. Raises ConfigError or NotFound."""
    from ambient.rpc import configuration  # noqa: PLC0415  # `ambient --help` must not load it.

    if namespace or not kinds.is_namespaced(kind):
        wanted = configuration.ObjectName(kind, namespace if kinds.is_namespaced(kind) else "", name)
        return await configuration.get(channel, wanted)
    found = [
        one
        for one in await configuration.list_all(channel, configuration.Wanted(kind))
        if one.name.name == name
    ]
    if not found:
        raise ConfigError(f"there is no {kind} {name} in any namespace")
    if len(found) > 1:
        where = ", ".join(one.name.namespace for one in found)
        raise ConfigError(f"{kind} {name} is in namespaces {where}; say which, with -n")
    return found[0]


def row(stored: StoredObject) -> Sequence[str]:
    """Of a table with ``COLUMNS``."""
    age = output.distance((datetime.now(UTC) - stored.changed).total_seconds())
    name = stored.name
    return name.kind, name.namespace, name.name, stored.source, age, status(stored)


def status(stored: StoredObject) -> str:
    """In a few words."""
    if stored.violations:
        return "the newest version is refused"
    count = len(stored.warnings)
    return f"{count} warning{'s' if count > 1 else ''}" if count else "ok"


def content(stored: StoredObject) -> Mapping[str, Any]:
    """As it was written."""
    read: Mapping[str, Any] = json.loads(stored.content)
    return read
