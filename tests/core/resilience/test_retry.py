"""Which request is sent again, and when."""

from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from ambient.core.http.message import RequestHead
from ambient.core.model.route import DEFAULT_RETRY, Retry, RetryOn
from ambient.core.resilience.retry import (
    Again,
    Answered,
    Asked,
    ConnectFailed,
    Deliver,
    Refused,
    Reset,
    TimedOut,
    Why,
    after,
    backoff,
    is_idempotent,
)

SAFE = Asked(is_idempotent=True, can_replay=True)
UNSAFE = Asked(is_idempotent=False, can_replay=True)

OUTCOMES = {
    "connect-failed": ConnectFailed(),
    "refused": Refused(),
    "reset-unsent": Reset(was_sent=False),
    "reset-reused": Reset(was_sent=True, was_reused=True),
    "reset": Reset(was_sent=True),
    "timeout": TimedOut(was_sent=True),
    "200": Answered(200),
    "404": Answered(404),
    "409": Answered(409),
    "429": Answered(429),
    "500": Answered(500),
    "501": Answered(501),
    "502": Answered(502),
    "503": Answered(503),
    "504": Answered(504),
    "599": Answered(599),
    "503-limited": Answered(503, is_rate_limited=True),
    "429-limited": Answered(429, is_rate_limited=True),
    "grpc-0": Answered(200, 0),
    "grpc-1": Answered(200, 1),
    "grpc-2": Answered(200, 2),
    "grpc-4": Answered(200, 4),
    "grpc-7": Answered(200, 7),
    "grpc-8": Answered(200, 8),
    "grpc-13": Answered(200, 13),
    "grpc-14": Answered(200, 14),
    "grpc-14-limited": Answered(200, 14, is_rate_limited=True),
}
BROKEN = {"connect-failed", "refused", "reset-unsent", "reset-reused", "reset", "timeout"}
SERVER_ERRORS = {"500", "501", "502", "503", "504", "599"}
WANTED = {
    RetryOn.CONNECT_FAILURE: {"connect-failed", "reset-unsent", "reset-reused"},
    RetryOn.REFUSED_STREAM: {"refused"},
    RetryOn.RESET: BROKEN,
    RetryOn.RESET_BEFORE_REQUEST: {"reset-unsent"},
    RetryOn.GATEWAY_ERROR: BROKEN | {"502", "503", "504"},
    RetryOn.SERVER_ERROR: BROKEN | SERVER_ERRORS,
    RetryOn.RETRIABLE_4XX: {"409"},
    RetryOn.RATE_LIMITED: {"503-limited", "429-limited", "grpc-14-limited"},
    RetryOn.CANCELLED: {"grpc-1"},
    RetryOn.DEADLINE_EXCEEDED: {"grpc-4"},
    RetryOn.INTERNAL: {"grpc-13"},
    RetryOn.RESOURCE_EXHAUSTED: {"grpc-8"},
    RetryOn.UNAVAILABLE: {"grpc-14"},
}


def decided(retry, outcome, asked=SAFE, tries=1, left=None, chance=0.5):
    return after(retry, asked, tries, outcome, left, chance)


def wanted(retry: Retry) -> set[str]:
    return {name for name, outcome in OUTCOMES.items() if isinstance(decided(retry, outcome), Again)}


@pytest.mark.parametrize("word", RetryOn, ids=lambda word: word.value)
def test_each_word_wants_its_own(word):
    assert wanted(Retry(1, frozenset({word}))) == WANTED[word]


@pytest.mark.parametrize(
    ("codes", "names"),
    [
        pytest.param(((503, 503),), {"503"}, id="one"),
        pytest.param(((500, 502), (429, 429)), {"429", "500", "501", "502"}, id="ranges"),
        pytest.param(
            ((200, 200),), {"200", *(f"grpc-{n}" for n in (0, 1, 2, 4, 7, 8, 13, 14))}, id="success"
        ),
        pytest.param((), set(), id="none"),
    ],
)
def test_codes_are_of_real_responses(codes, names):
    assert wanted(Retry(1, codes=codes)) == names


def test_a_timeout_is_followed_by_another_try_where_the_rule_says_so():
    assert wanted(Retry(1, after_timeout=True)) == {"timeout"}


def test_a_rule_that_says_nothing_pays_no_order_twice():
    assert wanted(DEFAULT_RETRY) == {
        "connect-failed",
        "refused",
        "reset-unsent",
        "reset-reused",
        "grpc-1",
        "grpc-14",
    }
    again = {name for name, outcome in OUTCOMES.items() if isinstance(decided(None, outcome, UNSAFE), Again)}
    assert again == {"connect-failed", "refused", "reset-unsent"}


EVERYTHING = Retry(3, frozenset(RetryOn), ((100, 599),), after_timeout=True)
MAY_HAVE_ACTED = OUTCOMES.keys() - {"connect-failed", "refused", "reset-unsent"}


@pytest.mark.parametrize("name", OUTCOMES)
def test_what_the_application_may_have_acted_on_is_sent_again_only_if_it_is_safe(name):
    rule = Retry(3, EVERYTHING.on, () if "limited" in name else EVERYTHING.codes, after_timeout=True)
    decision = decided(rule, OUTCOMES[name], UNSAFE)
    assert decision == Deliver(Why.UNSAFE) if name in MAY_HAVE_ACTED else isinstance(decision, Again)
    of_any = Retry(3, rule.on, rule.codes, after_timeout=True, any_method=True)
    assert isinstance(decided(of_any, OUTCOMES[name], UNSAFE), Again)


def test_a_timeout_before_anything_was_sent_is_safe():
    assert isinstance(decided(EVERYTHING, TimedOut(was_sent=False), UNSAFE), Again)


@pytest.mark.parametrize(
    ("decision", "why"),
    [
        pytest.param(
            decided(EVERYTHING, Answered(503), Asked(True, can_replay=False)), Why.UNREPLAYABLE, id="body"
        ),
        pytest.param(decided(EVERYTHING, Answered(503), tries=4), Why.ATTEMPTS, id="tries"),
        pytest.param(decided(EVERYTHING, Answered(503), left=0.0), Why.TIME, id="no-time"),
        pytest.param(decided(EVERYTHING, Answered(503), left=0.0125), Why.TIME, id="too-little-time"),
        pytest.param(decided(Retry(0, EVERYTHING.on), ConnectFailed()), Why.FINE, id="never"),
        pytest.param(decided(Retry(1), Answered(503)), Why.FINE, id="unwanted"),
    ],
)
def test_what_is_not_sent_again_has_a_reason(decision, why):
    assert decision == Deliver(why)


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_there_are_as_many_tries_as_the_rule_says_after_the_first(tries):
    assert isinstance(decided(EVERYTHING, Answered(503), tries=tries), Again)


@pytest.mark.parametrize(
    ("named", "tries", "shortest", "longest"),
    [
        pytest.param(None, 1, 0, 0.025, id="first"),
        pytest.param(None, 2, 0, 0.05, id="second"),
        pytest.param(None, 5, 0, 0.25, id="fifth"),
        pytest.param(None, 2**32 - 1, 0, 0.25, id="without-end"),
        pytest.param(1.0, 1, 1, 2, id="named-first"),
        pytest.param(1.0, 2, 1, 4, id="named-second"),
        pytest.param(1.0, 9, 1, 10, id="named-ninth"),
        pytest.param(0.0, 3, 0, 0, id="none-at-all"),
    ],
)
def test_the_wait_grows_and_is_jittered(named, tries, shortest, longest):
    rule = Retry(1, backoff=None if named is None else timedelta(seconds=named))
    assert backoff(rule, tries, 0.0) == pytest.approx(shortest)
    assert backoff(rule, tries, 1.0) == pytest.approx(longest)


@given(st.floats(0, 60), st.integers(1, 2**32), st.floats(0, 1, exclude_max=True))
def test_a_wait_that_was_named_is_only_lengthened(seconds, tries, chance):
    least = timedelta(seconds=seconds)
    wait = backoff(Retry(1, backoff=least), tries, chance)
    assert least.total_seconds() <= wait <= 10 * least.total_seconds()


@pytest.mark.parametrize(
    ("method", "headers", "idempotent"),
    [
        *((method, (), True) for method in ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")),
        *((method, (), False) for method in ("POST", "PATCH", "LOCK", "get")),
        ("POST", (("idempotency-key", "7"),), True),
        (
            "PATCH",
            (
                ("a", "b"),
                ("x-idempotency-key", ""),
            ),
            True,
        ),
        ("POST", (("idempotency", "7"),), False),
    ],
)
def test_who_may_be_asked_twice(method, headers, idempotent):
    assert is_idempotent(RequestHead(method, "a", "/", headers)) is idempotent
