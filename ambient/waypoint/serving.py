"""The connections of clients that speak HTTP, of one worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ambient.core.detect import Spoken
from ambient.core.http.http1 import Http1Server
from ambient.core.http.http2 import Http2Server
from ambient.net.http import HttpServer
from ambient.waypoint import call as calls

if TYPE_CHECKING:
    from ambient.core.snapshot import Snapshot
    from ambient.net.relay import End
    from ambient.waypoint.call import Call
    from ambient.waypoint.exchange import Exchanges

LEAVE_SECONDS: Final = 10.0
"""How long what is under way may take of a connection that is to be no more."""


class Serving:
    """Serves them, and ends those that may not stay."""

    def __init__(
        self,
        exchanges: Exchanges,
        emptied: Callable[[], None],
    ) -> None:
        """``emptied`` hears that the last connection has ended."""
        self._exchanges, self._emptied = exchanges, emptied
        self._live: dict[str, dict[HttpServer, Call]] = {}
        self._is_leaving = False

    def __len__(self) -> int:
        return sum(map(len, self._live.values()))

    def holding(self) -> dict[str, int]:
        """How many it has of what comes and goes, by kind."""
        return {"clients": len(self), **self._exchanges.holding()}

    def serve(self, call: Call, near: End, spoken: Spoken) -> None:
        """Take a connection over, of which what has come already is still in ``near``."""
        http2 = spoken is Spoken.HTTP2
        visit = self._exchanges.visit(call.arrival, http2=http2)
        server = HttpServer(
            near,
            Http2Server() if http2 else Http1Server(),
            visit.requested,
            visit.refused,
            lambda: self._closed(call, server),
        )
        self._live.setdefault(call.key, {})[server] = call
        server.start()
        if self._is_leaving:
            server.leave()

    def leave(self) -> None:
        """Take no more requests; what is under way ends in order."""
        self._is_leaving = True
        for servers in tuple(self._live.values()):
            for server in tuple(servers):
                server.leave()

    def keep(self) -> None:
        """Part from endpoints that are gone, and forget what is known of services that are. To be called now and then."""
        self._exchanges.keep()

    def recheck(self, before: Snapshot, after: Snapshot) -> None:
        """There is a new snapshot: connections for what this waypoint does not stand for any more are ended.

        Of requests it is asked by itself: each is judged under the snapshot that is in force when it comes.
        """
        world = self._exchanges.world
        for key, servers in tuple(self._live.items()):
            if all(
                getattr(before, part).get(one) is getattr(after, part).get(one)
                for part in ("services", "workloads")
                for one in (key, world.uid, world.waypoint)
            ):
                continue
            for server, call in tuple(servers.items()):
                if calls.refused(world, call) is not None:
                    server.leave(LEAVE_SECONDS)

    def _closed(self, call: Call, server: HttpServer) -> None:
        servers = self._live[call.key]
        del servers[server]
        if not servers:
            del self._live[call.key]
            if not self._live:
                self._emptied()
