"""What is wrong with an object, or has no effect: a field, what it is, and what it should be."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Reason(Enum):
    """What kind of fault it is: stable words for programs."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    TYPE = "type"
    VALUE = "value"
    REFERENCE = "reference"
    """It names something that is not there."""
    PARENT = "parent"
    """It is attached to nothing of the mesh: ``NoMatchingParent`` of the Gateway API."""
    KIND = "kind"
    """It names an object of a kind that cannot serve there: ``InvalidKind`` of the Gateway API."""
    UNSUPPORTED = "unsupported"
    """It is right, and what cannot be done fails: ``UnsupportedValue`` of the Gateway API."""
    INCOMPATIBLE = "incompatible"
    """It cannot stand beside another part of the object: ``IncompatibleFilters`` of the Gateway API."""
    CONFLICT = "conflict"
    """Another object, or another field, says otherwise."""
    NO_EFFECT = "no_effect"
    """It is right, and nothing here carries it out."""
    SYNTAX = "syntax"
    """The document is not YAML, or no object."""
    UNKNOWN_KIND = "unknown_kind"
    """A kind that has no effect here."""
    DUPLICATE = "duplicate"
    """The same object twice, in one file or in one request."""
    OTHER_SOURCE = "other_source"
    """Another source has the object."""
    STALE = "stale"
    """It was written against a version that is not the present one."""


class Problem(NamedTuple):
    """One sentence about one field of an object."""

    field: str
    """Such as ``spec.ports[2].port``; empty: the object itself."""
    text: str
    """Goes on where the field ends: ``is 70000; a port is 1-65535``."""
    reason: Reason = Reason.VALUE

    def __str__(self) -> str:
        return f"{self.field} {self.text}".lstrip()


def no_effect(field: str, text: str) -> Problem:
    """A warning that something is not carried out."""
    return Problem(field, text, Reason.NO_EFFECT)
