"""What can be done about an authority while no control plane runs: look at it, and begin anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from ambient.control.audit import FILE, Audit
from ambient.control.authorities import Authorities
from ambient.control.given import Given
from ambient.control.ledger import Ledger
from ambient.control.store import Store
from ambient.control.trust import begin_anew, members
from ambient.core.errors import ConfigError
from ambient.rpc.authority import Standing


def recover(state_dir: Path, now: datetime, ca_dir: Path | None, *, force: bool) -> Standing:
    """Have another root, which no node trusts yet. Raises ConfigError, also while a control plane runs."""
    given = None if ca_dir is None else Given(ca_dir, lambda: now)
    with _opened(state_dir, now, given) as authorities:
        begin_anew(authorities, now, given, force=force)
        audit = Audit(state_dir / FILE, lambda: now)
        audit.record("root replaced", authority=authorities.line.name, force=force)
        return _standing(authorities)


def standing(state_dir: Path, now: datetime) -> Standing:
    """How it stands. Raises ConfigError, also while a control plane runs."""
    with _opened(state_dir, now, None) as authorities:
        return _standing(authorities)


@contextmanager
def _opened(state_dir: Path, now: datetime, given: Given | None) -> Iterator[Authorities]:
    trust_domain = Store.trust_domain_of(state_dir)
    store = Store.open(state_dir, trust_domain)
    try:
        ledger = Ledger(store)
        if ledger.state() is None and not (state_dir / "root-key.pem").exists():
            raise ConfigError(f"{state_dir} has no authority yet; `ambient control` makes one")
        authorities = Authorities(state_dir, ledger, trust_domain)
        authorities.open(now, given)
        yield authorities
    finally:
        store.close()


def _standing(authorities: Authorities) -> Standing:
    return Standing(
        phase=type(authorities.state).__name__.lower(),
        waits_for="the control plane, which does not run",
        authorities=members(authorities),
        unaware_nodes=(),
        trouble="",
    )
