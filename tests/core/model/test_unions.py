"""Values of a union that are different things are never equal."""

import pkgutil
from importlib import import_module
from itertools import combinations
from types import UnionType
from typing import Union, get_args, get_origin

import pytest

from ambient.core import model

UNIONS = {
    f"{module.name}.{name}": value
    for module in pkgutil.iter_modules(model.__path__)
    for name, value in vars(import_module(f"{model.__name__}.{module.name}")).items()
    if get_origin(value) in {Union, UnionType}
}


@pytest.mark.parametrize("union", UNIONS)
def test_two_members_of_a_union_are_not_tuples_of_one_length(union):
    tuples = [one for one in get_args(UNIONS[union]) if isinstance(one, type) and issubclass(one, tuple)]
    alike = [(a, b) for a, b in combinations(tuples, 2) if len(a._fields) == len(b._fields)]
    assert alike == []


def test_unions_are_found():
    assert {"limit.LimitKey", "jwt.Keys", "telemetry.Tag", "traffic.HashKey"} <= UNIONS.keys()
