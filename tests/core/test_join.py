"""Join tokens: what is printed is read, and what is not whole is refused."""

import pytest
from hypothesis import given, strategies as st

from ambient.core.errors import ConfigError
from ambient.core.join import JoinToken

TOKEN = JoinToken("n1", "node", "192.0.2.7:15012", "192.0.2.7:15013", "cluster.local", "ab" * 32, "secret")


@given(st.lists(st.text(min_size=1), min_size=7, max_size=7))
def test_what_is_printed_is_read(parts):
    made = JoinToken(*parts)
    assert JoinToken.parse(f" {made}\n") == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ambient1.",
        "ab" * 32,
        str(TOKEN)[:-9],
        str(TOKEN).removeprefix("ambient1."),
        "ambient1.e30",
        "ambient1.☃",
    ],
    ids=["empty", "prefix-alone", "plain-token", "cut-off", "no-prefix", "empty-object", "no-base64"],
)
def test_what_is_not_whole_is_refused(text):
    with pytest.raises(ConfigError, match="copy it again, or make another"):
        JoinToken.parse(text)


def test_the_secret_is_not_shown():
    assert "secret" not in repr(TOKEN).replace("secret=", "")
