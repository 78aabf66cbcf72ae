"""What is printed of an object, read again, is the same object."""

import io
import json
from contextlib import redirect_stdout

import pytest
from control.written import objects
from hypothesis import given, settings

from ambient.cli.output import Output, data
from ambient.control import manifest
from ambient.control.translate.kinds import translate

ROOTS = ("ambient-system", "istio-system")


def printed(output, document):
    stream = io.StringIO()
    with redirect_stdout(stream):
        data(output, document)
    return stream.getvalue().encode()


@pytest.mark.parametrize("output", [Output.JSON, Output.YAML])
@given(document=objects())
@settings(max_examples=150)
def test_what_is_printed_is_the_same_object(output, document):
    said = translate(document, ROOTS)
    [item] = manifest.read(printed(output, document), ROOTS)
    assert item.problems == ()
    assert item.translated == said


@given(document=objects())
@settings(max_examples=50)
def test_what_is_kept_is_the_same_object(document):
    """The store keeps JSON, where every key is a text."""
    [item] = manifest.read(printed(Output.YAML, document), ROOTS)
    assert translate(json.loads(json.dumps(item.document)), ROOTS) == item.translated
