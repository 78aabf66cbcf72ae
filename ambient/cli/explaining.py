"""What ``why`` and ``authz check`` share: a call as it is typed, and its explanation as it is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from immutables import Map

from ambient.cli import api, exits, output
from ambient.cli.output import Output
from ambient.cli.tables import printable
from ambient.core.explain.answer import Explanation, Question, Step, Topic, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ambient.rpc.channel import Channel

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="A workload that calls: NAMESPACE/NAME, NAME.NAMESPACE, NAME or an address."
    ),
]
Destination = Annotated[
    str,
    typer.Argument(
        metavar="DESTINATION[:PORT]",
        help="Whom it calls: a name as the source would write it, NAMESPACE/NAME or an address.",
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--file", "-f", help="Ask these files or folders of YAML, and no control plane. May be repeated."
    ),
]
_WORDS = {Verdict.OK: "ok", Verdict.WARNING: "warn", Verdict.FAILS: "FAIL"}
_PARTIES = frozenset({Topic.SOURCE, Topic.NAME, Topic.POLICY})


def question(
    source: str, destination: str, method: str = "", path: str = "", headers: Mapping[str, str] = Map()
) -> Question:
    """The call that was typed."""
    name, port = _split(destination)
    return Question(source, name, port, method.upper(), path, headers)


def asked(question: Question, files: tuple[Path, ...], state_dir: Path) -> Explanation:
    """The control plane's answer, or that of files alone."""
    with exits.on_errors():
        if files:
            from ambient.control import offline  # noqa: PLC0415  # `ambient --help` must not load it.

            with output.progress("reading"):
                return offline.explain(files, question)
        return api.call(state_dir, lambda channel: _asked(channel, question))


async def _asked(channel: Channel, question: Question) -> Explanation:
    from ambient.rpc import explanation  # noqa: PLC0415

    return await explanation.explain(channel, question)


def of_policies(explanation: Explanation) -> Explanation:
    """Who calls whom, and what policies say of it; what is in the way of asking them."""
    steps = tuple(
        step for step in explanation.steps if step.topic in _PARTIES or step.verdict is Verdict.FAILS
    )
    return Explanation(steps)


def show(explanation: Explanation, style: Output) -> None:
    """Print it, and exit with a finding unless all is well."""
    if style is Output.TABLE:
        for line in lines(explanation):
            typer.echo(line)
    else:
        output.data(style, _content(explanation))
    if explanation.verdict is not Verdict.OK:
        raise typer.Exit(exits.FINDING)


def lines(explanation: Explanation) -> Iterator[str]:
    """As people read it."""
    for step in explanation.steps:
        yield f"{_WORDS[step.verdict]:<6}{step.topic.value:<10}{printable(step.text)}"
        if step.origin is not None:
            yield f"{'':<16}by {printable(str(step.origin))}"
        if step.remedy and step.verdict is not Verdict.OK:
            yield f"{'':<16}to mend it: {printable(step.remedy)}"
    yield ""
    yield _conclusion(explanation)


def _conclusion(explanation: Explanation) -> str:
    match explanation.verdict:
        case Verdict.OK:
            return "the call works"
        case Verdict.WARNING:
            return "the call may work, and not all is as one would think: see what is marked `warn`"
        case Verdict.FAILS:
            return "the call fails: see what is marked `FAIL`"


def _content(explanation: Explanation) -> dict[str, Any]:
    return {"verdict": explanation.verdict.value, "steps": [_step(step) for step in explanation.steps]}


def _step(step: Step) -> dict[str, Any]:
    origin = step.origin
    return {
        "topic": step.topic.value,
        "verdict": step.verdict.value,
        "text": step.text,
        "object": None if origin is None else origin._asdict(),
        "remedy": step.remedy,
    }


def _split(text: str) -> tuple[str, int | None]:
    """A name or address, and a port if there is one."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        return text.strip("[]"), None
    return exits.host_and_port("DESTINATION", f"{host}:{port}")
