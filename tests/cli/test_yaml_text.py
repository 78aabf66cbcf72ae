import pytest

from ambient.cli import yaml_text
from ambient.control import plain


@pytest.mark.parametrize(
    "text",
    ["1e3", "1_000", "0x1f", "0o17", "010", "12:30", ".5", "-1", "+1", "1.2.3", "yes", "off", "null", "~", "", " a", "a: b", "# a", "2026-01-01"],
)  # fmt: skip
def test_a_text_stays_a_text(text):
    [(_, read)] = plain.read(yaml_text.of({text: [text]}))
    assert read == {text: [text]}


def test_what_is_plain_stays_plain():
    assert (
        yaml_text.of({"kind": "Service", "ports": [80], "on": True})
        == "kind: Service\nports:\n- 80\n'on': true\n"
    )
