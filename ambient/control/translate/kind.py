"""What a translator is: from the shape of one kind of object to what it means by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ambient.control.objects import Object
from ambient.control.problem import Problem
from ambient.control.schema.shape import Document
from ambient.core.errors import ConfigError

D = TypeVar("D", bound=Document)


@dataclass(frozen=True, slots=True)
class Translated:
    """What an object means, and what of it has no effect."""

    object: Object
    warnings: tuple[Problem, ...] = ()


class Untranslatable(ConfigError):
    """What is wrong with an object."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Kind(Generic[D]):
    """One kind of object."""

    name: str
    versions: tuple[str, ...]
    """Group and version, the preferred one first."""
    shape: type[D]
    translate: Callable[[D, tuple[str, ...]], Translated]
    """Takes the object as it was read, and the root namespaces. Raises Untranslatable."""
    is_namespaced: bool = True
