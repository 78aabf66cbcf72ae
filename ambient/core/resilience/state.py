"""What a machine remembers, in a form that can lie in memory which several processes share."""

from __future__ import annotations

from typing import Final, TypeAlias

State: TypeAlias = tuple[float, ...]
"""At most ``LARGEST`` numbers; ``()`` before anything was seen.

The first is the moment from which it says nothing more, and is as good as ``()``; ``math.inf``: it always will.
"""

LARGEST: Final = 16
