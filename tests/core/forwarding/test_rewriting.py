"""Other paths. The first part of the table is the Gateway API's own (HTTPPathModifier)."""

import pytest

from ambient.core.forwarding.rewriting import rewriter
from ambient.core.http.paths import Path
from ambient.core.model.route import PathMatch, PathMatchKind, PathRewrite, PathRewriteKind, RouteMatch

PREFIX, FULL, REGEX = PathRewriteKind.PREFIX, PathRewriteKind.FULL, PathRewriteKind.REGEX


def rewritten(path: str, matched: PathMatch | None, rewrite: PathRewrite) -> str:
    bare, mark, query = path.partition("?")
    return str(rewriter(rewrite)(Path(bare, mark + query), RouteMatch(path=matched)))


@pytest.mark.parametrize(
    ("path", "segments", "value", "expected"),
    [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"), ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"), ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"), ("/foo/", "/foo", "/xyz", "/xyz/"), ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"), ("/foo", "/foo", "", "/"), ("/foo/", "/foo", "/", "/"), ("/foo", "/foo", "/", "/"),
        ("/foo?a=/foo", "/foo", "/xyz", "/xyz?a=/foo"), ("/a", "/", "/xyz", "/xyz/a"),
    ],
)  # fmt: skip
def test_segments_are_replaced(path, segments, value, expected):
    match = PathMatch(PathMatchKind.SEGMENTS, segments)
    assert rewritten(path, match, PathRewrite(PREFIX, value)) == expected


@pytest.mark.parametrize(
    ("path", "matched", "rewrite", "expected"),
    [
        pytest.param("/v1/a", PathMatch(PathMatchKind.PREFIX, "/v1/"), PathRewrite(PREFIX, "/"), "/a", id="characters"),
        pytest.param("/v1a", PathMatch(PathMatchKind.PREFIX, "/v1"), PathRewrite(PREFIX, "/v2"), "/v2a", id="characters-within-a-segment"),
        pytest.param("/V1/a", PathMatch(PathMatchKind.PREFIX, "/v1", True), PathRewrite(PREFIX, "/x"), "/x/a", id="characters-of-any-case"),
        pytest.param("/a", None, PathRewrite(PREFIX, "/x/"), "/x/a", id="every-path"),
        pytest.param("/a", PathMatch(PathMatchKind.EXACT, "/a"), PathRewrite(PREFIX, "/b"), "/b", id="exact"),
        pytest.param("/a?b=1", None, PathRewrite(FULL, "/c"), "/c?b=1", id="full"),
        pytest.param("/a", None, PathRewrite(FULL, "c"), "/c", id="full-without-a-slash"),
        pytest.param("/a/7?b=/a/8", None, PathRewrite(REGEX, r"/\1/b", r"/a/([0-9]+)"), "/7/b?b=/a/8", id="pattern"),
        pytest.param("/a/7", None, PathRewrite(REGEX, "x y\r\n", "7"), "/a/x%20y%0D%0A", id="no-request-line-is-split"),
    ],
)  # fmt: skip
def test_a_path_is_rewritten(path, matched, rewrite, expected):
    assert rewritten(path, matched, rewrite) == expected
