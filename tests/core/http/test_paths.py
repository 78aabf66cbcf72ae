"""Paths have one way to be written: a table, and what holds of any."""

import pytest
from hypothesis import given, strategies as st

from ambient.core.http.paths import Ambiguous, Path, normal, without


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"), ("*", "*"), ("/a/b", "/a/b"), ("/a/b/", "/a/b/"), ("/a?b=/c/../d", "/a?b=/c/../d"), ("/?", "/?"),
        ("/a/../b", "/b"), ("/a/./b", "/a/b"), ("/..", "/"), ("/.", "/"), ("/../../a", "/a"), ("/a/..", "/"),
        ("/a/b/.", "/a/b/"), ("/a/b/..", "/a/"), ("/.well-known/x", "/.well-known/x"), ("/a/...", "/a/..."),
        ("/%61dmin", "/admin"), ("/a/%2e%2e/b", "/b"), ("/a/%2E./b", "/b"), ("/a%3fb", "/a%3Fb"), ("/a%20b", "/a%20b"),
        ("/%252e%252e/b", "/%252e%252e/b"), ("/a\\b", "/a/b"), ("/a\\..\\b", "/b"), ("/\\admin", "/admin"),
        ("//admin", "/admin"), ("/a///b//", "/a/b/"), ("/a//../b", "/a/b"), ("/x/../admin", "/admin"),
        ("/admin;x", "/admin;x"), ("/a;b=c/d", "/a;b=c/d"), ("/ADMIN", "/ADMIN"), ("/a/%C3%a9", "/a/%C3%A9"),
    ],
)  # fmt: skip
def test_a_path_is_made_normal(target, path):
    assert str(normal(target)) == path


@pytest.mark.parametrize(
    "target",
    [
        "/admin%2f", "/a%2Fb", "/a%5cb", "/a%5C..%5Cb", "/a%00", "/a\x00b", "/%zz", "/%", "/a%2", "/%%32f", "/a#b", "/a?b#c",
        "/..;/admin", "/a/..;x=1/b", "/.;/a", "/%2e%2e;/a", "a/b", "", "?a", "http://a/b", "**",
    ],
)  # fmt: skip
def test_what_readers_disagree_on_is_refused(target):
    assert isinstance(normal(target), Ambiguous)


@given(st.text("/.%2eEfF5cCaA;\\?#", max_size=16))
def test_a_normal_path_stays_as_it_is_and_climbs_nowhere(text):
    path = normal("/" + text)
    if isinstance(path, Path):
        assert normal(str(path)) == path
        assert not {".", ".."} & {segment.partition(";")[0] for segment in path.bare.split("/")}
        assert "//" not in path.bare
        assert path.bare.startswith("/")


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("", ""),
        ("?a=1&b=2", "?a=1"),
        ("?b=2", ""),
        ("?b", ""),
        ("?B=2", "?B=2"),
        ("?%62=2&a=%62&b=3&&c", "?a=%62&&c"),
        ("?a=b=1", "?a=b=1"),
    ],
)
def test_parameters_can_be_left_out(query, left):
    assert without(Path("/x", query), {"b"}) == Path("/x", left)
