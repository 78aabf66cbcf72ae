import pytest

from ambient.core.patterns import BadPattern, compiled, why_bad


@pytest.mark.parametrize(
    ("pattern", "ignore_case", "text", "fits"),
    [
        pytest.param("/orders/[^/]+", False, "/orders/7", True, id="whole"),
        pytest.param("/orders", False, "/orders/7", False, id="not-a-part"),
        pytest.param("ORDERS", True, "orders", True, id="ignoring-case"),
        pytest.param("ORDERS", False, "orders", False, id="minding-case"),
        pytest.param("a|ab", False, "ab", True, id="any-alternative"),
    ],
)
def test_all_of_a_text_must_fit(pattern, ignore_case, text, fits):
    assert compiled(pattern, ignore_case=ignore_case).fits(text) is fits


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        pytest.param("(?=a)", "invalid perl operator: (?=", id="look-ahead"),
        pytest.param(r"(a)\1", "invalid escape sequence", id="back-reference"),
        pytest.param("[", "missing ]", id="not-closed"),
        pytest.param("((a{100}){100}){100}", "", id="too-large"),
        pytest.param("\udc80", "surrogates not allowed", id="not-text"),
    ],
)
def test_what_re2_does_not_take_is_told(pattern, why, capfd):
    assert why in (why_bad(pattern) or pytest.fail("it was taken"))
    with pytest.raises(BadPattern):
        compiled(pattern)
    assert capfd.readouterr().err == ""


def test_a_text_that_backtracking_would_never_finish_costs_nothing():
    assert not compiled("(a+)+b").fits("a" * 100_000)
    assert why_bad("(a+)+b") is None


def test_what_is_no_unicode_fits_nothing():
    assert not compiled(".*").fits("/\udc80")


def test_groups_are_put_back():
    assert compiled("/v1/(.*)").replaced(r"/v2/\1", "/v1/orders") == "/v2/orders"
