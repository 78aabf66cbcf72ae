"""Kinds of findings, and one finding."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How much it matters."""

    ERROR = "error"
    """It is refused, or does harm."""
    WARNING = "warning"
    """It does not do what it says."""
    INFO = "info"
    """It does what it says, which may not be what was meant."""


class Code(Enum):
    """Each kind of finding: its stable code, what it is, and what to do about it."""

    SYNTAX = ("AMB0001", "the document cannot be read", "mend the YAML at the line that is named")
    MISSING = ("AMB0002", "a field is missing", "add the field")
    UNKNOWN = ("AMB0003", "a field is unknown", "correct its name, or take it away")
    TYPE = ("AMB0004", "a field is of another type", "write it as the message says")
    VALUE = ("AMB0005", "a value cannot be", "choose one that the message names")
    DUPLICATE = ("AMB0006", "an object is there twice", "remove one of them")
    CONFLICT = ("AMB0007", "objects or fields contradict each other", "keep the one that is meant")
    REFERENCE = ("AMB0008", "something that is named is not there", "add it, or correct the name")
    NO_EFFECT = ("AMB0009", "a field has no effect", "take it away, or do what the message says")
    UNKNOWN_KIND = ("AMB0010", "the kind has no effect here", "keep it out of the mesh's configuration")
    PARENT = ("AMB0011", "a route is attached to nothing of the mesh", "name a Service as its parent")
    KIND = ("AMB0012", "an object of that kind cannot serve there", "name one of a kind that can")
    UNSUPPORTED = ("AMB0013", "what is asked for cannot be done", "ask for something that can")
    INCOMPATIBLE = ("AMB0014", "parts of an object exclude each other", "keep one of them")
    OTHER_SOURCE = ("AMB0015", "another source has the object", "change it there")
    STALE = (
        "AMB0016",
        "an object was changed by somebody else meanwhile",
        "get it again and apply the change to that",
    )
    NO_ENDPOINTS = (
        "AMB0101",
        "a service selects no workload",
        "compare its selector with the labels of the workloads",
    )
    SELECTS_NOBODY = (
        "AMB0102",
        "a policy selects no workload",
        "compare its selector with the labels of the workloads",
    )
    NO_NAMESPACE = ("AMB0103", "the namespace is not configured", "add a v1 Namespace of that name")
    NO_ACCOUNT = (
        "AMB0104",
        "a policy names a service account that is not configured",
        "correct the principal, or add the ServiceAccount",
    )
    NOT_ENROLLED = (
        "AMB0105",
        "a policy is in a namespace that is not enrolled",
        "label the namespace ambient.dev/dataplane-mode=ambient",
    )
    NO_WAYPOINT = (
        "AMB0106",
        "a service has routes and no waypoint to carry them out",
        "label the service or its namespace istio.io/use-waypoint=NAME",
    )
    UNREACHABLE = (
        "AMB0107",
        "a rule can never be met",
        "move it before the rule that takes its requests, or remove it",
    )
    ALLOWS_NOBODY = (
        "AMB0108",
        "a policy allows nobody",
        "add rules, unless nothing but other policies' rules shall be allowed",
    )
    WAYPOINT_GONE = (
        "AMB0109",
        "the waypoint of a service is not there, so calls to it are refused",
        "start the waypoint with `ambient waypoint run`, or take the label away, which may be the namespace's",
    )
    NOT_HTTP = (
        "AMB0110",
        "rules for requests are on a port that is declared to be none of HTTP",
        "name the port http-…, or set its appProtocol",
    )
    NO_REPLICA = (
        "AMB0111",
        "a waypoint has no replica",
        "run one with `ambient waypoint run`, and see with `ambient waypoint status` what becomes of it",
    )
    LOCKED_OUT = (
        "AMB0112",
        "policies of workloads do not let in the waypoint that stands before them",
        "let them name the waypoint's identity, and say what is asked of callers in a policy with targetRefs",
    )

    def __init__(self, code: str, title: str, remedy: str) -> None:
        self.code, self.title, self.remedy = code, title, remedy


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at."""

    code: Code
    severity: Severity
    place: str
    """File and line, or the source; empty: only the object is known."""
    object: str
    """Such as ``Service shop/api``; empty: the document does not say."""
    text: str
    """Field and sentence."""
