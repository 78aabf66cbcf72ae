"""``ambient waypoint``: make, run, see and remove L7 proxies of namespaces."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ambient.cli import api, exits, manifests, output, program
from ambient.cli.login import text_of
from ambient.cli.output import Output, OutputOption
from ambient.cli.program import (
    AccessLog,
    Admin,
    Bootstrap,
    Crl,
    DrainSeconds,
    LogFormat,
    LogLevel,
    TrustDomain,
    Workers,
)
from ambient.cli.tables import printable
from ambient.core.errors import ConfigError, Unavailable
from ambient.core.join import JoinToken

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.configuration import Answer, Manifest, ObjectName
    from ambient.rpc.mesh import Waypoint, WaypointReplica

app = typer.Typer(
    help="Make, run, see and remove waypoints, the L7 proxies of namespaces.",
    no_args_is_help=True,
    add_completion=False,
)

NAME: Final = "waypoint"
Name = Annotated[str, typer.Argument(help="The waypoint's name in its namespace.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="The waypoint's namespace.")]
_CLASS: Final = "ambient-waypoint"
_FOR: Final = "ambient.dev/waypoint-for"
_USE: Final = "ambient.dev/use-waypoint"
_POLL_SECONDS: Final = 0.5
_TOKEN_SECONDS: Final = 600


class WaypointFor(Enum):
    """Which destinations a waypoint is for."""

    SERVICE = "service"
    WORKLOAD = "workload"
    ALL = "all"


@app.command()
def run(
    name: Name = NAME,
    *,
    namespace: Namespace,
    control: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of the control plane, with --root-cert and --token-file. Without it and --join, the one "
            "that the other verbs ask is asked for a token.",
            metavar="HOST:PORT",
        ),
    ] = None,
    bootstrap: Bootstrap = None,
    root_cert: Annotated[
        Path | None,
        typer.Option(
            help="PEM file with the control plane's root certificate. Required with --control.",
            readable=False,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with a bootstrap token of its node.", readable=False),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(
            help="What `ambient token create --node NODE` printed, in place of the four options above; - reads it "
            "from standard input."
        ),
    ] = None,
    control_dir: Annotated[
        Path,
        typer.Option(
            help="The control plane's state folder, if it is on this machine and is to make the token.",
            readable=False,
        ),
    ] = api.STATE_DIR,
    node: Annotated[
        str | None,
        typer.Option(
            help="Its name as a node, as its token has it. Default: waypoint-NAMESPACE-NAME-REPLICA."
        ),
    ] = None,
    replica: Annotated[
        str | None,
        typer.Option(help="What tells it from other replicas. Default: the machine's name."),
    ] = None,
    service_account: Annotated[
        str | None,
        typer.Option(
            help="Whom it runs as; the Gateway says so in its annotation ambient.dev/service-account. "
            "Default: its own name."
        ),
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(help="Where nodes reach it; may be repeated. Default: the addresses of this machine."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(help="Where it listens; may be repeated. Default: port 15008 on every address."),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            "--memory-mib", min=0, help="Near which nothing more is taken on; 0: none. Default: its cgroup's."
        ),
    ] = None,
    most_connections: Annotated[
        int, typer.Option(min=0, help="Connections that it carries at once; 0: no limit.")
    ] = 50_000,
    crl: Crl = None,
    run_dir: Annotated[Path | None, typer.Option(help="Folder for its workers' socket.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Folder for the last snapshot.")] = None,
    cluster: Annotated[str, typer.Option(help="First part of every workload's uid.")] = "local",
    trust_domain: TrustDomain = program.TRUST_DOMAIN,
    workers: Workers = None,
    admin: Admin = "127.0.0.1:15020",
    access_log: AccessLog = None,
    log_format: LogFormat = "text",
    log_level: LogLevel = "info",
    otlp: Annotated[
        str | None,
        typer.Option(
            help="Collector that takes spans of requests by OTLP over gRPC; https://HOST:PORT for TLS.",
            metavar="HOST:PORT",
        ),
    ] = None,
    tell_identity: Annotated[
        bool,
        typer.Option(
            "--tell-identity", help="Tell applications their clients' identities: x-forwarded-client-cert."
        ),
    ] = False,
    trust_forwarded: Annotated[
        list[str] | None,
        typer.Option(
            help="Identity of a client, such as an ingress gateway, whose x-forwarded-for is kept; may be repeated.",
            metavar="SPIFFE-URI",
        ),
    ] = None,
    drain_seconds: DrainSeconds = program.DRAIN_SECONDS,
) -> None:
    """Be a replica of a waypoint, here or anywhere that nodes can reach.

    Where the other verbs reach a control plane it needs no more than its name. Elsewhere give it --join.
    """
    with exits.on_errors(log_format, log_level):
        from ambient.rpc.otlp import Collector  # noqa: PLC0415
        from ambient.waypoint import main, start  # noqa: PLC0415  # `ambient --help` must not load it.
        from ambient.waypoint.settings import Settings  # noqa: PLC0415

        own = f"{namespace}-{name}"
        run_dir = run_dir or Path(f"/run/ambient/waypoint-{own}")
        state_dir = state_dir or Path(f"/var/lib/ambient/waypoint-{own}")
        replica = replica or start.replica_name()
        node_name = f"waypoint-{own}-{replica}"
        if join is None and control is None and root_cert is None and token_file is None:
            join = _token(control_dir, node or node_name)
        if join is not None:
            word = JoinToken.parse(text_of(join))
            joined = asyncio.run(start.join(word, run_dir, state_dir))
            node, control, bootstrap = node or word.name, word.control, word.bootstrap
            trust_domain, root_cert, token_file = word.trust_domain, joined.root_cert, joined.token_file
        if control is None or root_cert is None:
            raise typer.BadParameter("give --join, or --control and --root-cert, or none of them")
        settings = Settings(
            run_dir=run_dir,
            state_dir=state_dir,
            root_cert=root_cert,
            crl=crl,
            token_file=token_file,
            control=control,
            bootstrap=program.bootstrap_of(control, bootstrap),
            trust_domain=trust_domain,
            workers=program.workers_of(workers),
            admin=exits.host_and_port("--admin", admin),
            access_log=access_log,
            log_format=log_format,
            log_level=log_level,
            drain_seconds=drain_seconds,
            name=name,
            namespace=namespace,
            service_account=service_account or name,
            node=node or node_name,
            replica=replica,
            cluster=cluster,
            addresses=start.addresses(address or ()),
            listen=start.listening(listen or ()),
            capacity=start.capacity(memory, most_connections),
            otlp=None if otlp is None else Collector.parse(otlp),
            introductions=start.introductions(trust_forwarded or (), tells_identity=tell_identity),
        )
        asyncio.run(main.serve(settings))


@app.command()
def apply(
    name: Name = NAME,
    *,
    namespace: Namespace,
    waypoint_for: Annotated[
        WaypointFor,
        typer.Option("--for", help="Calls to services, to workloads by their own addresses, or both."),
    ] = WaypointFor.SERVICE,
    enroll_namespace: Annotated[
        bool,
        typer.Option("--enroll-namespace", help="Put the whole namespace behind it, by a label."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    state_dir: api.StateDir = api.STATE_DIR,
) -> None:
    """Create or change a waypoint and the service account that its replicas run as."""
    with exits.on_errors():
        given, answer = api.call(
            state_dir,
            lambda channel: _apply(
                channel, name, namespace, waypoint_for, enrolled=enroll_namespace, dry_run=dry_run
            ),
            "applying",
        )
        refused = manifests.complain(answer, given)
        note = " (dry run)" if dry_run else ""
        for result in answer.results:
            if answer.applied or dry_run or result.violations:
                typer.echo(printable(f"{result.object} {result.outcome.value}{note}"))
        if not answer.applied and not dry_run:
            typer.echo("nothing was changed")
        if refused:
            raise typer.Exit(exits.FINDING)
        if not dry_run:
            found = api.call(state_dir, lambda channel: _find(channel, name, namespace))
            for line in next_steps(found, state_dir):
                typer.echo(printable(line))


@app.command("list")
def list_(
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Where they are.")] = "default",
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Those of every namespace.")
    ] = False,
    state_dir: api.StateDir = api.STATE_DIR,
    form: OutputOption = Output.TABLE,
) -> None:
    """Show the waypoints, and those that are only asked for."""
    with exits.on_errors():
        where = "" if all_namespaces else namespace
        found = api.call(state_dir, lambda channel: _list(channel, where))
        output.show(
            form,
            list(map(content, found)),
            ("NAMESPACE", "NAME", "FOR", "READY", "SERVICES", "WORKLOADS", "STATUS"),
            lambda: map(_row, found),
            nothing="there is no waypoint" + ("" if all_namespaces else f" in namespace {namespace}"),
        )


@app.command()
def status(
    name: Name = NAME,
    *,
    namespace: Namespace,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it has a replica that is ready, or --timeout is over.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait.")] = 60.0,
    state_dir: api.StateDir = api.STATE_DIR,
    form: OutputOption = Output.TABLE,
) -> None:
    """Show a waypoint's replicas, who is behind it, and what is wrong with it; exit code 1 if anything is."""
    with exits.on_errors():
        until = time.monotonic() + timeout
        found = api.call(state_dir, lambda channel: _find(channel, name, namespace))
        while wait and not _is_ready(found) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
            found = api.call(state_dir, lambda channel: _find(channel, name, namespace))
        if form is Output.TABLE:
            for line in lines(found):
                typer.echo(printable(line))
        else:
            output.data(form, content(found))
        if wait and not _is_ready(found):
            raise Unavailable(f"waypoint {namespace}/{name} has no replica that is ready after {timeout:g} s")
        if found.problems:
            raise typer.Exit(exits.FINDING)


@app.command()
def delete(
    name: Name = NAME,
    *,
    namespace: Namespace,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    state_dir: api.StateDir = api.STATE_DIR,
) -> None:
    """Remove a waypoint. Whoever asks for it still is not reached any more; its service account stays."""
    with exits.on_errors():
        answer, behind = api.call(
            state_dir, lambda channel: _delete(channel, name, namespace, dry_run=dry_run), "deleting"
        )
        for result in answer.results:
            refused = "".join(f": {one}" for one in result.violations)
            note = " (dry run)" if dry_run else ""
            typer.echo(printable(f"{result.object} {result.outcome.value}{refused}{note}"), err=bool(refused))
        if any(result.violations or result.outcome.value == "not found" for result in answer.results):
            raise typer.Exit(exits.FINDING)
        for one in behind:
            typer.echo(printable(f"warning: {one} is behind it, so calls to it are refused"), err=True)


def next_steps(waypoint: Waypoint, state_dir: Path) -> Iterator[str]:
    """What is to be done until it does what it is for; nothing: it does."""
    at = f"{waypoint.name} --namespace {waypoint.namespace}"
    if not _is_ready(waypoint):
        word = f"ambient token create --node waypoint-{waypoint.namespace}-{waypoint.name}-1"
        run = f"ambient waypoint run {at}"
        yield "next"
        yield f"  {run}{_at(state_dir, '--control-dir')}   a replica, on this machine"
        yield f"  {word}{_at(state_dir)}   and one on another: `{run} --join WORD` there, with what it prints"
        yield f"  ambient waypoint status {at} --wait{_at(state_dir)}"
    if not waypoint.services and not waypoint.workloads:
        yield (
            f"nothing is behind it yet: label a Namespace or a Service {_USE}={waypoint.name}, or apply it with "
            "--enroll-namespace"
        )


def _at(state_dir: Path, flag: str = "--state-dir") -> str:
    return "" if state_dir == api.STATE_DIR else f" {flag} {state_dir}"


def _token(control_dir: Path, node: str) -> str:
    """Have the control plane make the token that a replica of ours needs. Raises Unavailable."""

    async def call(channel: Channel) -> str:
        from ambient.rpc import access  # noqa: PLC0415  # `ambient --help` must not load it.

        made = await access.create_token(channel, node, ttl_seconds=_TOKEN_SECONDS)
        return made.join_token

    try:
        return api.call(control_dir, call, "asking for a token")
    except Unavailable as error:
        raise Unavailable(
            f"{error}; where no control plane is to be asked, give --join with what `ambient token create --node "
            f"{node}` prints"
        ) from error


async def _apply(
    channel: Channel, name: str, namespace: str, waypoint_for: WaypointFor, *, enrolled: bool, dry_run: bool
) -> tuple[tuple[Manifest, ...], Answer]:
    from ambient.rpc import configuration  # noqa: PLC0415  # `ambient --help` must not load it.

    wanted = [_gateway(name, namespace, waypoint_for)]
    account = configuration.ObjectName("ServiceAccount", namespace, name)
    if await _content(channel, account) is None:
        wanted.append(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        )
    if enrolled:
        found = await _content(channel, configuration.ObjectName("Namespace", "", namespace))
        if found is None:
            raise ConfigError(f"there is no Namespace {namespace}; apply a v1 Namespace of that name first")
        wanted.append(_with_label(found, _USE, name))
    given = tuple(
        configuration.Manifest(f"waypoint {namespace}/{name}", json.dumps(one).encode()) for one in wanted
    )
    return given, await configuration.apply(channel, given, dry_run=dry_run)


async def _content(channel: Channel, name: ObjectName) -> Mapping[str, Any] | None:
    """An object as it is written; None: there is none."""
    from ambient.rpc import configuration  # noqa: PLC0415
    from ambient.rpc.errors import NotFound  # noqa: PLC0415

    try:
        stored = await configuration.get(channel, name)
    except NotFound:
        return None
    read: Mapping[str, Any] = json.loads(stored.content)
    return read


def _gateway(name: str, namespace: str, waypoint_for: WaypointFor) -> Mapping[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace, "labels": {_FOR: waypoint_for.value}},
        "spec": {
            "gatewayClassName": _CLASS,
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    }


def _with_label(content: Mapping[str, Any], label: str, value: str) -> Mapping[str, Any]:
    metadata = content["metadata"]
    return {**content, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), label: value}}}


async def _delete(
    channel: Channel, name: str, namespace: str, *, dry_run: bool
) -> tuple[Answer, Sequence[str]]:
    from ambient.rpc import configuration  # noqa: PLC0415

    wanted = configuration.Deletion(configuration.ObjectName("Gateway", namespace, name))
    answer = await configuration.delete(channel, (wanted,), dry_run=dry_run)
    left = [one for one in await _list(channel, namespace) if one.name == name]
    return answer, [
        *(f"service {one}" for waypoint in left for one in waypoint.services),
        *(f"workload {one}" for waypoint in left for one in waypoint.workloads),
    ]


async def _list(channel: Channel, namespace: str) -> tuple[Waypoint, ...]:
    from ambient.rpc import mesh  # noqa: PLC0415

    return await mesh.waypoints(channel, namespace=namespace)


async def _find(channel: Channel, name: str, namespace: str) -> Waypoint:
    found = [one for one in await _list(channel, namespace) if one.name == name]
    if not found:
        raise ConfigError(
            f"there is no waypoint {namespace}/{name}; make it with `ambient waypoint apply {name} "
            f"--namespace {namespace}`"
        )
    return found[0]


def _is_ready(waypoint: Waypoint) -> bool:
    return any(one.ready for one in waypoint.replicas)


def content(waypoint: Waypoint) -> dict[str, Any]:
    """For programs."""
    return {
        "namespace": waypoint.namespace,
        "name": waypoint.name,
        "for": waypoint.waypoint_for or None,
        "replicas": [
            {
                "name": one.name,
                "node": one.node,
                "addresses": list(one.addresses),
                "ready": one.ready,
                "refused": one.refused or None,
            }
            for one in waypoint.replicas
        ],
        "services": list(waypoint.services),
        "workloads": list(waypoint.workloads),
        "problems": list(waypoint.problems),
    }


def _row(waypoint: Waypoint) -> Sequence[str]:
    count = len(waypoint.problems)
    return (
        waypoint.namespace,
        waypoint.name,
        waypoint.waypoint_for or "not there",
        _ready(waypoint),
        str(len(waypoint.services)),
        str(len(waypoint.workloads)),
        f"{count} problem{'s' if count > 1 else ''}" if count else "ok",
    )


def _ready(waypoint: Waypoint) -> str:
    return f"{sum(one.ready for one in waypoint.replicas)}/{len(waypoint.replicas)}"


def lines(waypoint: Waypoint) -> Iterator[str]:
    """For people."""
    yield f"waypoint   {waypoint.namespace}/{waypoint.name}"
    yield f"for        {waypoint.waypoint_for or 'nothing: there is no such Gateway'}"
    yield f"ready      {_ready(waypoint)}"
    for one in waypoint.replicas:
        yield f"replica    {_replica(one)}"
    for kind, names in (("service", waypoint.services), ("workload", waypoint.workloads)):
        for name in names:
            yield f"{kind:<11}{name}"
    for problem in waypoint.problems:
        yield f"problem    {problem}"


def _replica(one: WaypointReplica) -> str:
    where = f"{one.name} at {', '.join(one.addresses) or 'no address'}" + (
        f" on {one.node}" if one.node else ""
    )
    return f"{where}, {'refused' if one.refused else 'ready' if one.ready else 'not ready'}"
