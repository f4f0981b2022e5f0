"""What differs between two configurations, and what of it takes effect without a restart."""

from __future__ import annotations

from collections.abc import Mapping

from mcpgate.settings import Settings

#: Settings that only a restart can change, and what within them a reload does change all the same.
_RESTART_KEYS: dict[str, frozenset[str]] = {
    "listen": frozenset(),
    "admin": frozenset({"tokens"}),
    "http": frozenset({"allowed_hosts", "allowed_origins", "max_inspect_bytes"}),
    "trusted_proxies": frozenset(),
    "logging": frozenset({"level", "levels"}),
    "tracing": frozenset(),
    "demo": frozenset(),
    "registry": frozenset({"ttl", "allow_networks", "allow_ports", "sources", "files"}),
}

#: What is told of keys within which one alone needs a restart.
_NAMES = {"admin": "admin.listen", "registry": "registry.store"}


def live(started_with: Settings, wanted: Settings) -> Settings:
    """The wanted settings, with what only a restart can change as it was at the start."""
    kept = {}
    for key, changing in _RESTART_KEYS.items():
        before, after = getattr(started_with, key), getattr(wanted, key)
        if changing:
            before = before.model_copy(update={name: getattr(after, name) for name in changing})
        kept[key] = before
    return wanted.model_copy(update=kept)


def needing_restart(started_with: Settings, wanted: Settings) -> list[str]:
    """The keys that differ and do not take effect until the process is started again."""
    taken = live(started_with, wanted)
    return [
        _NAMES.get(key, key)
        for key in _RESTART_KEYS
        if getattr(taken, key) != getattr(wanted, key)
    ]


def difference(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, list[str]]:
    """Which names were added and removed, and which stand for something else now."""
    return {
        "added": sorted(after.keys() - before.keys()),
        "changed": sorted(name for name in after.keys() & before.keys() if after[name] is not before[name]),
        "removed": sorted(before.keys() - after.keys()),
    }
