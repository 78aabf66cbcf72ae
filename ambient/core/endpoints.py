"""The endpoints of one service: who serves it, in uid order, to be drawn from without reading them all.

They stand in pieces of some dozens. A change makes one piece anew and shares the others. What a piece has for a port
(who may serve it, and the sum of their capacities) is worked out when it is first asked, and serves every version
that shares the piece. Those memos are the only state here, and change no answer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeAlias, TypeVar

from ambient.core.model.workload import WorkloadStatus
from ambient.core.ports import target_port

if TYPE_CHECKING:
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload

_LARGEST: Final = 64
"""Endpoints in a piece: an update costs one piece, a draw that follows it one glance at each."""
_MEMOS: Final = 64
"""Ports that are remembered; which ones are asked for is the clients' choice."""
T = TypeVar("T")
_Key: TypeAlias = tuple[str, int]


class Share(NamedTuple):
    """Some endpoints that may be chosen, with their capacities summed up."""

    members: tuple[Workload, ...]
    marks: tuple[int, ...]
    """The sum of capacities up to and with each of them."""

    @classmethod
    def of(cls, members: Iterable[Workload]) -> Share:
        """These, in their order."""
        members = tuple(members)
        return cls(members, tuple(accumulate(one.capacity for one in members)))


class Candidates:
    """Endpoints that may be chosen, in uid order, with their capacities summed up."""

    __slots__ = ("_marks", "capacity", "shares")

    def __init__(self, shares: Iterable[Share]) -> None:
        self.shares = tuple(share for share in shares if share.members)
        """None of them is empty. What did not change between two versions of endpoints is the same object in both."""
        self._marks = list(accumulate(share.marks[-1] for share in self.shares))
        self.capacity: int = self._marks[-1] if self._marks else 0
        """The sum of all."""

    @classmethod
    def of(cls, endpoints: Iterable[Workload]) -> Candidates:
        """Any endpoints, in this order."""
        return cls((Share.of(endpoints),))

    def __bool__(self) -> bool:
        return bool(self.shares)

    def __len__(self) -> int:
        return sum(len(share.members) for share in self.shares)

    def __iter__(self) -> Iterator[Workload]:
        for share in self.shares:
            yield from share.members

    def at(self, mark: float) -> Workload | None:
        """The one whose part of the summed capacities holds ``mark``, in [0, capacity]; None when all have none."""
        if not self.capacity:
            return None
        if mark >= self.capacity:
            number = bisect_left(self._marks, self.capacity)
        elif len(self._marks) == 1:
            share = self.shares[0]
            return share.members[bisect_right(share.marks, mark)]
        else:
            number = bisect_right(self._marks, mark)
        share = self.shares[number]
        left = mark - (self._marks[number] - share.marks[-1])
        if left >= share.marks[-1]:
            return share.members[bisect_left(share.marks, share.marks[-1])]
        return share.members[bisect_right(share.marks, left)]

    def two(self, first: float, second: float) -> tuple[Workload | None, Workload | None]:
        """Two different ones in proportion to capacity, by chances in [0, 1); None where there are not so many."""
        if not self.capacity:
            return None, None
        mark = first * self.capacity
        number = min(bisect_right(self._marks, mark), len(self._marks) - 1)
        share = self.shares[number]
        before = self._marks[number] - share.marks[-1]
        place = min(bisect_right(share.marks, mark - before), len(share.marks) - 1)
        one = share.members[place]
        rest = self.capacity - one.capacity
        if not rest:
            return one, None
        mark = second * rest
        return one, self.at(
            mark if mark < before + share.marks[place] - one.capacity else mark + one.capacity
        )

    def having(self, uid: str) -> Workload | None:
        """The one of a uid; they must be in uid order."""
        if not self.shares:
            return None
        members = self.shares[self._number(uid)].members
        at = bisect_left(members, uid, key=_uid)
        return members[at] if at < len(members) and members[at].uid == uid else None

    def without(self, uids: Iterable[str]) -> Candidates:
        """The others; they must be in uid order. Costs what goes, and one glance at each share."""
        gone: dict[int, set[str]] = {}
        for uid in uids if self.shares else ():
            gone.setdefault(self._number(uid), set()).add(uid)
        shares = list(self.shares)
        for number, names in gone.items():
            shares[number] = Share.of(one for one in shares[number].members if one.uid not in names)
        return Candidates(shares)

    def _number(self, uid: str) -> int:
        """The share that a uid belongs to."""
        return max(0, bisect_right(self.shares, uid, key=_first_uid) - 1)


class Serving(NamedTuple):
    """How far endpoints come for one port; each number counts those of the one before that go on."""

    healthy: int
    near: int
    """In the network that was asked from."""
    serving: int
    """They have the port."""
    candidates: Candidates
    """They have an address too."""


class Endpoints:
    """The workloads that serve one service. Never empty, never changed."""

    __slots__ = ("_memo", "_pieces")

    def __init__(self, pieces: tuple[_Piece, ...]) -> None:
        self._pieces = pieces
        self._memo: _Memo[Serving] = _Memo()

    @classmethod
    def of(cls, workload: Workload) -> Endpoints:
        """The first."""
        return cls((_Piece((workload,)),))

    def __len__(self) -> int:
        return sum(len(piece.members) for piece in self._pieces)

    def __iter__(self) -> Iterator[Workload]:
        for piece in self._pieces:
            yield from piece.members

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Endpoints) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Endpoints{self.uids}"

    @property
    def uids(self) -> tuple[str, ...]:
        """Their uids, sorted."""
        return tuple(one.uid for one in self)

    def having(self, workload: Workload) -> Endpoints:
        """With ``workload``, in place of any of its uid."""
        number = self._number(workload.uid)
        members = self._pieces[number].members
        at = bisect_left(members, workload.uid, key=_uid)
        after = at + 1 if at < len(members) and members[at].uid == workload.uid else at
        return self._replaced(number, (*members[:at], workload, *members[after:]))

    def lacking(self, uid: str) -> Endpoints | None:
        """Without the workload ``uid``; None: nobody is left."""
        number = self._number(uid)
        rest = tuple(one for one in self._pieces[number].members if one.uid != uid)
        if not rest and len(self._pieces) == 1:
            return None
        return self._replaced(number, rest)

    def serving(self, service: Service, network: str, port: int) -> Serving:
        """Who of them may serve a port of ``service``, whose endpoints they are, for callers in ``network``."""
        return self._memo.get(service, (network, port), lambda: self._serving(service, network, port))

    def _serving(self, service: Service, network: str, port: int) -> Serving:
        parts = [piece.part(service, network, port) for piece in self._pieces]
        return Serving(
            sum(part.healthy for part in parts),
            sum(part.near for part in parts),
            sum(part.serving for part in parts),
            Candidates(part.share for part in parts),
        )

    def _number(self, uid: str) -> int:
        """The piece that a uid belongs to."""
        return max(0, bisect_right(self._pieces, uid, key=_first_uid) - 1)

    def _replaced(self, number: int, members: tuple[Workload, ...]) -> Endpoints:
        half = len(members) // 2
        parts = (members,) if len(members) <= _LARGEST else (members[:half], members[half:])
        made = tuple(_Piece(part) for part in parts if part)
        return Endpoints((*self._pieces[:number], *made, *self._pieces[number + 1 :]))


class _Part(NamedTuple):
    """What one piece has for a port."""

    healthy: int
    near: int
    serving: int
    share: Share
    """Who may be chosen."""


class _Piece:
    __slots__ = ("_memo", "members")

    def __init__(self, members: tuple[Workload, ...]) -> None:
        self.members = members
        self._memo: _Memo[_Part] = _Memo()

    def part(self, service: Service, network: str, port: int) -> _Part:
        return self._memo.get(service, (network, port), lambda: self._part(service, network, port))

    def _part(self, service: Service, network: str, port: int) -> _Part:
        healthy = [one for one in self.members if is_healthy(service, one)]
        near = [one for one in healthy if one.network == network]
        serving = [one for one in near if target_port(service, one, port) is not None]
        return _Part(len(healthy), len(near), len(serving), Share.of(one for one in serving if one.addresses))


class _Memo(Generic[T]):
    """Answers about one service object."""

    __slots__ = ("_answers", "_service")

    def __init__(self) -> None:
        self._service: Service | None = None
        self._answers: dict[Hashable, T] | None = None

    def get(self, service: Service, key: _Key, work_out: Callable[[], T]) -> T:
        if self._service is not service or self._answers is None or len(self._answers) >= _MEMOS:
            self._service, self._answers = service, {}
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = work_out()
        return answer


def is_healthy(service: Service, endpoint: Workload) -> bool:
    """Whether balancing over ``service`` may choose it."""
    return service.allow_unhealthy or endpoint.status is WorkloadStatus.HEALTHY


def _first_uid(piece: _Piece | Share) -> str:
    return piece.members[0].uid


def _uid(workload: Workload) -> str:
    return workload.uid
