"""What a reload changes, and what it cannot."""

from __future__ import annotations

import pytest

from mcpgate.revision import difference, live, needing_restart
from mcpgate.settings import Settings

BEFORE = Settings.model_validate({"servers": [], "logging": {"level": "info", "access": "off"}})


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        ({"listen": "tcp:9000"}, ["listen"]),
        ({"admin": {"listen": "tcp:9001:interface=127.0.0.1"}}, ["admin.listen"]),
        ({"admin": {"tokens": [{"id": "a", "sha256": "0" * 64, "scopes": ["read"]}]}}, []),
        ({"http": {"header_timeout": "1s"}}, ["http"]),
        ({"http": {"allowed_hosts": ["a.example"], "max_inspect_bytes": "1MiB"}}, []),
        ({"trusted_proxies": ["10.0.0.0/8"]}, ["trusted_proxies"]),
        ({"logging": {"access": "off", "level": "debug", "levels": {"mcpgate.relay": "debug"}}}, []),
        ({"logging": {"access": "off", "format": "text"}}, ["logging"]),
        ({"tracing": {"make": True}}, ["tracing"]),
        ({"metrics": {"tools": 5}}, []),
        ({"drain": {"timeout": "1s"}}, []),
        ({"demo": {}}, ["demo"]),
        ({"registry": {"store": "none"}}, ["registry.store"]),
        ({"registry": {"ttl": "5s", "allow_networks": ["10.0.0.0/8"], "allow_ports": [80]}}, []),
        ({"discovery": {"keep_alive": "5s"}}, []),
    ],
)
def test_what_needs_a_restart_is_named_and_stays(changed: dict[str, object], keys: list[str]) -> None:
    """The rest takes effect at once."""
    wanted = Settings.model_validate({"servers": [], "logging": {"level": "info", "access": "off"}, **changed})
    assert needing_restart(BEFORE, wanted) == keys
    taken = live(BEFORE, wanted)
    assert (taken == wanted) is not bool(keys)
    for key in keys:
        name = key.partition(".")[0]
        assert getattr(taken, name) == getattr(BEFORE, name)


def test_live_and_fixed_keys_of_one_section_are_told_apart() -> None:
    """A new level counts, though the file of the access log stays."""
    wanted = Settings.model_validate({"servers": [], "logging": {"level": "error", "access": "stdout"}})
    taken = live(BEFORE, wanted)
    assert (taken.logging.level, taken.logging.access) == ("error", "off")


def test_names_are_added_changed_or_removed() -> None:
    """Something is changed if it is another object."""
    same, old, new = object(), object(), object()
    told = difference({"a": same, "b": old, "c": old}, {"a": same, "b": new, "d": new})
    assert told == {"added": ["d"], "changed": ["b"], "removed": ["c"]}
