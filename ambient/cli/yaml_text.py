"""YAML that is read again as what it was, also by readers who know more numbers than PyYAML does."""

from __future__ import annotations

from typing import Any, Final

import yaml

_LIKE_A_NUMBER: Final = frozenset("+-.0123456789")
"""How a text begins that somebody may take for one: to PyYAML ``1e3`` is none."""


def of(content: Any) -> str:  # noqa: ANN401  # JSON.
    """``content`` as YAML."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


class _Dumper(yaml.SafeDumper):
    """Quotes more than it must."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if text[:1] in _LIKE_A_NUMBER else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
