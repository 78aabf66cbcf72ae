"""Regular expressions of users, checked where they come in."""

from __future__ import annotations

from typing import Final

from ambient.control.schema.shape import wrong
from ambient.core.patterns import why_bad

_LONGEST: Final = 4096


def regex(text: str) -> str:
    """A check: RE2 syntax."""
    if len(text) > _LONGEST:
        raise wrong(f"has {len(text)} characters; a regular expression has at most {_LONGEST}")
    why = why_bad(text)
    if why is not None:
        raise wrong(f"{why}; write it in RE2's syntax")
    return text
