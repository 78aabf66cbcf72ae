"""Which pages of other origins may ask. Source: the Fetch standard; Gateway API's HTTPCORSFilter and Istio's CorsPolicy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ambient.core.forwarding.edits import Edit
from ambient.core.model.route import TextMatchKind
from ambient.core.routing import text_test

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ambient.core.http.message import Headers
    from ambient.core.model.route import Cors

_ANSWERS: Final = frozenset(
    (
        "access-control-allow-credentials",
        "access-control-allow-origin",
        "access-control-expose-headers",
    )
)
"""What we say in place of the backend."""


class CorsRule:
    """One policy, made ready."""

    def __init__(self, cors: Cors) -> None:
        self._cors = cors
        self._origins = [text_test(origin) for origin in cors.allow_origins]
        self._is_for_all = any(origin.kind is TextMatchKind.PRESENT for origin in cors.allow_origins)

    def preflight(self, method: str, headers: Mapping[str, str]) -> Headers | None:
        """What answers a question that a browser asks before the request.

        None: it is none, or for an origin that is not allowed, which the backend may answer by itself.
        """
        asked = headers.get("access-control-request-method")
        origin = headers.get("origin")
        if method != "OPTIONS" or asked is None or origin is None or not self._allows(origin):
            return None
        cors = self._cors
        answer = list(self._common(origin))
        if methods := _listed(cors.allow_methods, asked, echo=cors.allow_credentials):
            answer.append(("access-control-allow-methods", methods))
        wanted = headers.get("access-control-request-headers", "")
        if names := _listed(cors.allow_headers, wanted, echo=cors.allow_credentials):
            answer.append(("access-control-allow-headers", names))
        if cors.max_age is not None:
            answer.append(("access-control-max-age", str(int(cors.max_age.total_seconds()))))
        return tuple(answer)

    def of_response(self, headers: Mapping[str, str]) -> Edit | None:
        """What is done to the response to a request with these headers."""
        origin = headers.get("origin")
        if origin is None or not self._allows(origin):
            return None
        exposed = _listed(self._cors.expose_headers, "", echo=False)
        said = (("access-control-expose-headers", exposed),) if exposed else ()
        return Edit(_ANSWERS, self._common(origin) + said)

    def _allows(self, origin: str) -> bool:
        return any(fits(origin) for fits in self._origins)

    def _common(self, origin: str) -> Headers:
        credentials = self._cors.allow_credentials
        if self._is_for_all and not credentials:
            return (("access-control-allow-origin", "*"),)
        said = (("access-control-allow-origin", origin), ("vary", "origin"))
        return (*said, ("access-control-allow-credentials", "true")) if credentials else said


def _listed(names: tuple[str, ...], asked: str, *, echo: bool) -> str:
    """With credentials ``*`` means nothing to a browser, so that what was asked for is said."""
    if "*" in names:
        return asked if echo else "*"
    return ", ".join(names)
