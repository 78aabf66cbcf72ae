"""What was done, what was seen, how long it took: printed as it happens, judged at the end."""

from __future__ import annotations

import time
from collections.abc import Callable


class Account:
    """Prints steps and claims; ``kept`` is whether every claim was observed."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.kept = True
        self.claims = 0

    def step(self, text: str) -> None:
        """Say what is being done."""
        print(f"\n{self.seconds:5.1f} s  {text}", flush=True)

    def note(self, text: str) -> None:
        """Say something that was seen and is not judged."""
        print(f"           {text}", flush=True)

    def claim(self, observed: bool, text: str, otherwise: str = "") -> None:
        """Say whether what must be so was observed."""
        self.claims += 1
        self.kept = self.kept and observed
        print(f"       {'✓' if observed else '✗ NOT'} {text}", flush=True)
        if otherwise and not observed:
            self.note(otherwise)

    def attempt(self, what: Callable[[], object], text: str) -> None:
        """Claim that something comes true in time."""
        try:
            what()
        except AssertionError as error:
            self.claim(False, text, str(error))
        else:
            self.claim(True, text)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began
