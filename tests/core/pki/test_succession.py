"""How roots follow each other: what is decided, and that nobody is ever shown what they do not believe."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ambient.core.pki import succession
from ambient.core.pki.succession import (
    Begin,
    Facts,
    Remove,
    Retiring,
    Sign,
    Spreading,
    Steady,
    Wait,
    next_step,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CALM = Facts(
    now=NOW,
    wanted=False,
    renews_itself=True,
    root_began=NOW - 10 * DAY,
    root_ends=NOW + 990 * DAY,
    leaf_lifetime=DAY,
    last_leaf=NOW + DAY / 2,
    unaware=frozenset(),
)
BEHIND = frozenset({"n2", "n1"})
A, AB, BA = Steady("a"), Spreading("a", "b"), Retiring("b", "a", NOW + DAY)


@pytest.mark.parametrize(
    ("state", "changes", "step"),
    [
        pytest.param(A, {}, Wait(""), id="all-is-well"),
        pytest.param(A, {"unaware": BEHIND}, Wait(""), id="a-node-that-lags-matters-to-nobody"),
        pytest.param(A, {"wanted": True}, Begin(), id="asked"),
        pytest.param(A, {"wanted": True, "renews_itself": False}, Begin(), id="given"),
        pytest.param(A, {"root_began": NOW - 800 * DAY, "root_ends": NOW + 200 * DAY}, Begin(), id="old"),
        pytest.param(A, {"root_began": NOW - 799 * DAY, "root_ends": NOW + 201 * DAY}, Wait(""), id="not-yet-old"),
        pytest.param(A, {"root_ends": NOW + 4 * DAY}, Begin(), id="little-is-left"),
        pytest.param(A, {"root_ends": NOW + 4 * DAY, "renews_itself": False}, Wait(""), id="old-and-given"),
        pytest.param(AB, {}, Sign(NOW + DAY, frozenset()), id="everyone-has-seen-it"),
        pytest.param(AB, {"last_leaf": NOW + 2 * DAY}, Sign(NOW + 2 * DAY, frozenset()), id="leaves-lived-longer-before"),
        pytest.param(AB, {"last_leaf": None}, Sign(NOW + DAY, frozenset()), id="no-leaf-yet"),
        pytest.param(
            AB,
            {"unaware": BEHIND},
            Wait("nodes that have not heard of the new root yet: n1, n2"),
            id="waits-for-nodes",
        ),
        pytest.param(AB, {"unaware": BEHIND, "root_ends": NOW + 2 * DAY}, Sign(NOW + DAY, BEHIND), id="cannot-wait"),
        pytest.param(AB, {"unaware": BEHIND, "root_ends": NOW + 2.1 * DAY}, Wait("nodes that have not heard of the new root yet: n1, n2"), id="can-still-wait"),
        pytest.param(
            BA, {}, Wait("certificates of the root before live until 2026-01-02T00:00:00Z"), id="leaves-live"
        ),
        pytest.param(BA, {"now": NOW + DAY}, Remove(), id="leaves-are-over"),
        pytest.param(BA, {"now": NOW + DAY, "unaware": BEHIND, "wanted": True}, Remove(), id="whatever-else"),
    ],
)  # fmt: skip
def test_what_is_to_be_done(state, changes, step):
    assert next_step(state, replace(CALM, **changes)) == step


@pytest.mark.parametrize(
    ("state", "trusted"),
    [(A, ("a",)), (AB, ("a", "b")), (BA, ("b", "a"))],
    ids=["steady", "spreading", "retiring"],
)
def test_the_one_that_signs_is_trusted_first(state, trusted):
    assert succession.trusted(state) == trusted


class Mesh(RuleBasedStateMachine):
    """Nodes that hear late, come, and go; a control plane that may be stopped between any two steps."""

    def __init__(self):
        super().__init__()
        self.now = NOW
        self.state = Steady("r0")
        self.roots = {"r0": NOW + 40 * DAY}
        self.nodes: dict[str, tuple[frozenset[str], datetime]] = {}
        """What each trusts, and when its own certificate ends."""
        self.leaves: set[tuple[str, datetime]] = set()
        self.left_behind: set[str] = set()
        self.steps: list[type] = []

    @property
    def bundle(self):
        return frozenset(succession.trusted(self.state))

    def facts(self, *, wanted):
        bundle = self.bundle
        ends = self.roots[self.state.signing]
        return Facts(
            now=self.now,
            wanted=wanted,
            renews_itself=True,
            root_began=ends - 40 * DAY,
            root_ends=ends,
            leaf_lifetime=DAY,
            last_leaf=max((end for root, end in self.leaves if root == self.state.signing), default=None),
            unaware=frozenset(
                name for name, (trusts, end) in self.nodes.items() if end > self.now and trusts != bundle
            ),
        )

    def sign_leaf(self):
        end = min(self.now + DAY, self.roots[self.state.signing])
        self.leaves.add((self.state.signing, end))
        return end

    @rule(hours=st.integers(1, 200))
    def time_passes(self, hours):
        self.now += timedelta(hours=hours)
        self.leaves = {(root, end) for root, end in self.leaves if end > self.now}
        for name in [name for name, (_, end) in self.nodes.items() if end <= self.now]:
            del self.nodes[name]
            self.left_behind.discard(name)

    @rule(name=st.sampled_from("xyz"))
    def a_node_comes_with_a_token_and_the_file_of_today(self, name):
        if self.roots[self.state.signing] > self.now:
            self.nodes[name] = self.bundle, self.sign_leaf()
            self.left_behind.discard(name)

    @precondition(lambda self: self.nodes)
    @rule(data=st.data())
    def a_node_hears_and_renews(self, data):
        name = data.draw(st.sampled_from(sorted(self.nodes)))
        if self.roots[self.state.signing] > self.now and self.state.signing in self.nodes[name][0]:
            self.nodes[name] = self.bundle, self.sign_leaf()

    @precondition(lambda self: self.nodes)
    @rule(data=st.data())
    def a_node_renews_and_has_not_heard(self, data):
        name = data.draw(st.sampled_from(sorted(self.nodes)))
        if self.roots[self.state.signing] > self.now and self.state.signing in self.nodes[name][0]:
            self.nodes[name] = self.nodes[name][0], self.sign_leaf()

    @rule(wanted=st.booleans())
    def the_control_plane_turns(self, wanted):
        step = next_step(self.state, self.facts(wanted=wanted))
        before = self.state
        match step:
            case Begin():
                coming = f"r{len(self.roots)}"
                self.roots[coming] = self.now + 40 * DAY
                self.state = succession.begun(self.state, coming)
            case Sign(left_behind=left_behind):
                self.left_behind |= left_behind
                self.state = succession.signing(self.state, step)
            case Remove():
                self.state = succession.removed(self.state)
            case Wait():
                return
        following = {Steady: Spreading, Spreading: Retiring, Retiring: Steady}
        assert type(self.state) is following[type(before)]

    @invariant()
    def nobody_is_shown_what_they_do_not_believe(self):
        for name, (trusts, _) in self.nodes.items():
            if name not in self.left_behind:
                assert self.state.signing in trusts, name
                assert {root for root, end in self.leaves if end > self.now} <= trusts, name

    @invariant()
    def what_lives_is_trusted(self):
        assert {root for root, end in self.leaves if end > self.now} <= self.bundle


Mesh.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestMesh = Mesh.TestCase
