from collections.abc import Iterator

import pytest
from hostile.waypoint import Scene, scene as made
from hostile.waypoint_policies import POLICIES

SERVICES = ("server", "undeclared", "guarded", "hosts", "roles", "negative", "tokens", "patterns")


@pytest.fixture(scope="package")
def behind_a_waypoint() -> Iterator[Scene]:
    """One mesh for all files of hostile requests."""
    with made(SERVICES, *POLICIES) as one:
        yield one
