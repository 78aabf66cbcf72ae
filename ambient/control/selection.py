"""Who selects a workload, found by its labels instead of by asking everyone.

Each selector is filed under one of its labels, which a workload must carry to be selected at all; of those, the one
that fewest others are filed under.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

from ambient.control.objects import selects

if TYPE_CHECKING:
    from ambient.control.objects import Selector

T = TypeVar("T")
_Label: TypeAlias = tuple[str, str]

_ANY: Final[_Label] = ("", "")
"""No label has this name: for selectors that select everyone."""


class Selection(Generic[T]):
    """Things by name, some of which have selectors."""

    def __init__(self) -> None:
        self._things: dict[str, T] = {}
        self._filed: dict[_Label, dict[str, Selector]] = {}
        self._under: dict[str, _Label] = {}

    def hold(self, name: str, thing: T, selector: Selector | None) -> None:
        """Hold it, in place of any of that name; None: it selects nobody."""
        self.drop(name)
        self._things[name] = thing
        if selector is not None:
            label = min(selector.items(), key=self._crowd, default=_ANY)
            self._under[name] = label
            self._filed.setdefault(label, {})[name] = selector

    def drop(self, name: str) -> None:
        """Hold it no longer, if it was held."""
        self._things.pop(name, None)
        label = self._under.pop(name, None)
        if label is not None:
            del self._filed[label][name]
            if not self._filed[label]:
                del self._filed[label]

    def get(self, name: str) -> T | None:
        """The one of that name."""
        return self._things.get(name)

    def values(self) -> Iterable[T]:
        """All of them."""
        return self._things.values()

    def of(self, labels: Mapping[str, str]) -> Iterator[T]:
        """Those that select a workload with these labels, in no order."""
        for label in (_ANY, *labels.items()):
            for name, selector in self._filed.get(label, {}).items():
                if selects(selector, labels):
                    yield self._things[name]

    def _crowd(self, label: _Label) -> tuple[int, _Label]:
        return len(self._filed.get(label, ())), label
