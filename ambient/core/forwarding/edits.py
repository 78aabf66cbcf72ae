"""Changes to headers, made ready once for a rule and its backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from ambient.core.http.message import Headers
    from ambient.core.model.route import HeaderEdits

_AUTHORITY: Final = frozenset(("host", ":authority"))
_NOT_FOR_EDITS: Final = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Fields of one connection, which a machine writes by itself."""


class Edit(NamedTuple):
    """What goes and what comes: any number of changes, one after the other, is one such pair."""

    gone: frozenset[str] = frozenset()
    added: Headers = ()
    authority: str = ""
    """In place of the request's; empty: it stays."""

    def __bool__(self) -> bool:
        return bool(self.gone or self.added or self.authority)

    def then(self, later: Edit) -> Edit:
        """Both, this one first."""
        kept = tuple(pair for pair in self.added if pair[0] not in later.gone)
        return Edit(self.gone | later.gone, kept + later.added, later.authority or self.authority)

    def of(self, headers: Headers) -> Headers:
        """The headers after it."""
        gone = self.gone
        return (*[pair for pair in headers if pair[0] not in gone], *self.added)


def edit(edits: HeaderEdits) -> Edit:
    """Set, add, remove: in this order. Source: Gateway API."""
    setting = dict(edits.set)
    authority = next((value for name, value in edits.set if name in _AUTHORITY), "")
    never = _NOT_FOR_EDITS | _AUTHORITY
    removed = frozenset(edits.remove)
    added = [pair for pair in (*setting.items(), *edits.add) if pair[0] not in removed | never]
    return Edit((frozenset(setting) | removed) - never, tuple(added), authority)
