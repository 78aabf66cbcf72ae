"""Every field that Istio serves is known, in every version: no object is refused for a field that exists.

``istio_fields.txt`` has the names of the fields of each kind's spec, one below another, as the
CustomResourceDefinitions of istio.io/api 1.32.0 have them.
"""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import AliasChoices, BaseModel

from ambient.control.translate.kinds import KINDS

FIELDS = Path(__file__).with_name("istio_fields.txt")


def served():
    """By kind and versions: its fields as a tree of names."""
    found, path = {}, []
    for line in FIELDS.read_text().splitlines():
        depth, text = (len(line) - len(line.lstrip())) // 2, line.strip()
        tree = {}
        if depth == 0:
            found[text] = tree
        else:
            path[depth - 1][text] = tree
        path[depth:] = [tree]
    return found


SERVED = served()


def model_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := model_in(inner))), None)


def lets_anything_through(annotation):
    return annotation is Any or any(
        lets_anything_through(inner) for inner in get_args(annotation) if not isinstance(inner, str)
    )


def unknown(tree, model, path):
    """Paths of the fields that a shape would refuse."""
    known = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        names = alias.choices if isinstance(alias, AliasChoices) else [field.alias or name]
        known |= dict.fromkeys(names, field.annotation)
    for name, below in tree.items():
        where = f"{path}.{name}"
        if name not in known:
            yield where
        elif below:
            inner = model_in(known[name])
            if inner is not None:
                yield from unknown(below, inner, where)
            elif not lets_anything_through(known[name]):
                yield where


@pytest.mark.parametrize("line", SERVED, ids=lambda line: line.split()[0])
def test_every_field_and_version_is_known(line):
    kind, *versions = line.split()
    assert set(KINDS[kind].versions) == set(versions)
    spec = model_in(KINDS[kind].shape.model_fields["spec"].annotation)
    assert list(unknown(SERVED[line], spec, kind)) == []


def test_a_field_that_is_missing_would_be_seen():
    (line,) = (line for line in SERVED if line.startswith("DestinationRule"))
    tree = {**SERVED[line], "newField": {}, "host": {"below": {}}}
    spec = KINDS["DestinationRule"].shape.model_fields["spec"].annotation
    assert list(unknown(tree, spec, "DestinationRule")) == [
        "DestinationRule.host",
        "DestinationRule.newField",
    ]
