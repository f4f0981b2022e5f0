"""mcpgate: one address for all of an organisation's MCP servers; and `register`, with which such a server joins it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .joining import JoinRefused as JoinRefused
    from .joining import register as register

__version__ = "0.1.0"
_OF_JOINING = ("JoinRefused", "register")


def __getattr__(name: str) -> object:
    """What belongs to joining is imported when it is asked for: a gateway, and its commands, need none of it."""
    if name in _OF_JOINING:
        return getattr(importlib.import_module("mcpgate.joining"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
