"""Every finding about some objects: what translators said of each, what the mesh made of them, and the checks of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ambient.control.analysis.codes import Code, Finding, Severity
from ambient.control.analysis.whole import Whole
from ambient.control.objects import Key, Object
from ambient.control.problem import Problem, Reason

if TYPE_CHECKING:
    from ambient.control.index import Index


@dataclass(frozen=True, slots=True)
class Said:
    """What a translator said of an object."""

    place: str
    object: str
    problem: Problem
    is_error: bool


def findings(
    said: Iterable[Said], objects: Mapping[Key, Object], index: Index, places: Mapping[str, str]
) -> tuple[Finding, ...]:
    """Everything, errors first, then by place and object. ``places``: where each object is, by its name."""
    every = [_of_translator(one) for one in said]
    every += [_of_problem(key, problem) for key, some in index.problems.items() for problem in some]
    every += [
        Finding(Code.CONFLICT, Severity.ERROR, "", str(key), why) for key, why in index.refusals.items()
    ]
    told = {f"{key}: {problem}" for key, some in index.problems.items() for problem in some}
    every += [
        Finding(Code.NO_EFFECT, Severity.WARNING, "", "", warning)
        for warning in index.warnings
        if warning not in told
    ]
    every += Whole(objects, index).findings()
    order = list(Severity)
    return tuple(
        sorted(
            dict.fromkeys(replace(one, place=one.place or places.get(one.object, "")) for one in every),
            key=lambda one: (order.index(one.severity), one.place, one.object, one.code.code, one.text),
        )
    )


def _of_translator(said: Said) -> Finding:
    severity = Severity.ERROR if said.is_error else Severity.WARNING
    return Finding(_CODES[said.problem.reason], severity, said.place, said.object, str(said.problem))


def _of_problem(key: Key, problem: Problem) -> Finding:
    return Finding(_CODES[problem.reason], Severity.WARNING, "", str(key), str(problem))


_CODES: Final[Mapping[Reason, Code]] = {reason: Code[reason.name] for reason in Reason}
