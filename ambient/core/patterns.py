"""Users' regular expressions: RE2 syntax, so that no pattern takes more than linear time of any text."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol

import re2

from ambient.core.errors import ConfigError

_MOST_REMEMBERED: Final = 4096
"""Patterns; more are compiled again."""
_MOST_MEMORY: Final = 1 << 20
"""Bytes that one compiled pattern may take. Source: RE2's own default is eight times that."""


class BadPattern(ConfigError):
    """Not a regular expression that RE2 takes; the message says why."""

    reason = "bad_pattern"


class Pattern:
    """A compiled pattern."""

    __slots__ = ("_made",)

    def __init__(self, made: _Made) -> None:
        self._made = made

    @property
    def groups(self) -> int:
        """How many it has."""
        return self._made.groups

    def fits(self, text: str) -> bool:
        """Whether all of ``text`` does; what is no Unicode fits nothing."""
        try:
            return self._made.fullmatch(text) is not None
        except UnicodeEncodeError:
            return False

    def replaced(self, replacement: str, text: str) -> str:
        r"""``text`` with all that fits replaced; ``\1`` is a group."""
        return self._made.sub(replacement, text)


class _Made(Protocol):
    """What re2 gives, as far as it is used."""

    groups: int

    def fullmatch(self, text: str) -> object | None: ...

    def sub(self, repl: str, text: str) -> str: ...


@lru_cache(_MOST_REMEMBERED)
def compiled(pattern: str, *, ignore_case: bool = False) -> Pattern:
    """A pattern, ready to be asked. Raises BadPattern."""
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    options.max_mem = _MOST_MEMORY
    try:
        return Pattern(re2.compile(pattern, options))
    except (re2.error, UnicodeEncodeError) as error:
        raise BadPattern(f"is {pattern!r}, which is no RE2 pattern: {_said(error)}") from error


def why_bad(pattern: str) -> str | None:
    """What is wrong with a pattern; None: nothing."""
    try:
        compiled(pattern)
    except BadPattern as error:
        return str(error)
    return None


def group_count(pattern: str) -> int:
    """How many groups a pattern has. Raises BadPattern."""
    return compiled(pattern).groups


def _said(error: Exception) -> str:
    match error.args:
        case (bytes() as text, *_):
            return text.decode(errors="replace")
        case _:
            return str(error)
