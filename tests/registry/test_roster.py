"""Whose each name and path is, which entry an address means, and what is promised while the disk works."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.errors import GatewayError
from mcpgate.policy.egress import Egress
from mcpgate.registry.registration import Registration
from mcpgate.registry.roster import Conditions, Entry, Key, Roster
from mcpgate.settings import ServerSettings, UpstreamSettings
from mcpgate.values.addresses import network

ANY = Conditions()
EGRESS = Egress([network("127.0.0.0/8")])


def _said(port: int = 4001, **more: object) -> Registration:
    return Registration.model_validate({"url": f"http://127.0.0.1:{port}", **more})


def _config(**paths: str) -> Mapping[str, ServerSettings]:
    return {
        name: ServerSettings(name=name, path=path, upstreams=(UpstreamSettings(url="http://127.0.0.1:3010"),))
        for name, path in paths.items()
    }


@pytest.fixture
def roster() -> Roster:
    """An empty one, beside a server ``x`` of the configuration."""
    made = Roster(count(1).__next__)
    made.follow(_config(x="/mcp/x"), EGRESS)
    return made


def _add(roster: Roster, server: str, replica: str = "a", said: Registration | None = None) -> Entry:
    return roster.confirm(roster.claim((server, replica), said or _said(), ANY, 5.0))


def _list(roster: Roster, server: str, replica: str = "a", port: int = 4009, origin: str = "list:l", **more: object) -> Entry:
    return roster.restore(Entry(server, replica, origin, _said(port, **more), 1, 5.0, 5.0))


def _reason(roster: Roster, server: str, replica: str, said: Registration, conditions: Conditions = ANY) -> str:
    with pytest.raises(GatewayError) as refused:
        roster.claim((server, replica), said, conditions, 5.0)
    return refused.value.reason


# --- claims ---------------------------------------------------------------------------------------------------------


def test_what_is_claimed_is_promised_and_not_seen(roster: Roster) -> None:
    """Nobody else gets the name, path or address meanwhile; what is withdrawn is free again."""
    claim = roster.claim(("a", "r"), _said(path="/tools/a"), ANY, 5.0)
    assert (roster.get(("a", "r")), roster.settings_of("a"), len(roster)) == (None, None, 0)
    assert _reason(roster, "b", "r", _said(4002, path="/tools/a")) == "taken"
    assert _reason(roster, "b", "r", _said(4002, path="/tools/a/b")) == "taken"
    assert _reason(roster, "b", "r", _said(4002, path="/tools")) == "taken"
    assert _reason(roster, "a", "s", _said(4001, path="/tools/a")) == "taken"
    assert _list(roster, "a", "l", path="/tools/a").conflict
    roster.withdraw(claim)
    assert not _add(roster, "b", said=_said(4002, path="/tools")).conflict


def test_two_claims_on_one_replica_end_as_they_were_made(roster: Roster) -> None:
    """The later one counts, whichever of them fails."""
    first, second = (roster.claim(("a", "r"), _said(port), ANY, 5.0) for port in (4001, 4002))
    assert roster.latest(("a", "r")) == second.revision
    roster.confirm(first)
    roster.withdraw(second)
    assert roster.get(("a", "r")) == first
    third, fourth = (roster.claim(("a", "r"), _said(port), ANY, 6.0) for port in (4003, 4004))
    roster.withdraw(third)
    roster.confirm(fourth)
    assert roster.get(("a", "r")) == fourth
    assert (fourth.registered_at_s, fourth.changed_at_s) == (5.0, 6.0)


@pytest.mark.parametrize(
    ("conditions", "taken"),
    [
        (Conditions('"1"'), True),
        (Conditions("*"), True),
        (Conditions('"7", "1"'), True),
        (Conditions('"7"'), False),
        (Conditions('W/"1"'), False),
        (Conditions(if_none_match=True), False),
    ],
)
def test_conditions_are_looked_at_before_anything(roster: Roster, conditions: Conditions, taken: bool) -> None:
    """They name what is there, or claimed."""
    claim = roster.claim(("a", "r"), _said(), ANY, 5.0)
    assert claim.etag == '"1"'
    for _ in range(2):
        if taken:
            assert roster.check(("a", "r"), conditions) is claim
        else:
            assert _reason(roster, "a", "r", _said(), conditions) == "changed"
        if roster.get(("a", "r")) is None:
            claim = roster.confirm(claim)
    with pytest.raises(GatewayError, match="not, or no longer"):
        roster.check(("unknown", "r"), Conditions("*"))
    assert roster.check(("unknown", "r"), Conditions(if_none_match=True)) is None


def test_only_what_the_api_brought_can_be_taken_out_there(roster: Roster) -> None:
    """What a list has brought would come back."""
    _add(roster, "a")
    _list(roster, "b")
    assert roster.removable(("a", "a"), ANY).server == "a"
    for key, reason in ((("b", "a"), "taken"), (("c", "a"), "not_registered")):
        with pytest.raises(GatewayError) as refused:
            roster.removable(key, ANY)
        assert refused.value.reason == reason


# --- the configuration ----------------------------------------------------------------------------------------------


def test_what_clashes_with_the_configuration_waits(roster: Roster) -> None:
    """And comes back; who is used goes before who waits."""
    _add(roster, "a", said=_said(path="/tools/a"))
    (changed,) = roster.follow(_config(a="/mcp/a"), EGRESS)
    assert "stands in the configuration" in changed.conflict
    _add(roster, "b", said=_said(4002, path="/tools/a"))
    (changed,) = roster.follow({}, EGRESS)
    assert (changed.server, "of the server b" in changed.conflict) == ("a", True)
    roster.remove(("b", "a"))
    assert roster.restore(changed).conflict == ""


def test_a_claim_outlives_a_new_configuration(roster: Roster) -> None:
    """Its path stays promised, and the books are even afterwards."""
    claim = roster.claim(("a", "r"), _said(), ANY, 5.0)
    roster.follow({}, EGRESS)
    assert _reason(roster, "b", "r", _said(4002, path="/mcp/a")) == "taken"
    roster.follow(_config(a="/mcp/a"), EGRESS)
    assert roster.confirm(claim).conflict
    assert roster.settings_of("a") == _config(a="/mcp/a")["a"]
    roster.remove(("a", "r"))
    roster.follow({}, EGRESS)
    _add(roster, "b", said=_said(4002, path="/mcp/a"))


def test_where_nobody_may_point_nothing_is_used(roster: Roster) -> None:
    """Until it may be pointed at again."""
    _add(roster, "a")
    (changed,) = roster.follow({}, Egress([]))
    assert changed.conflict.startswith("127.0.0.1 is ")
    assert [entry.conflict for entry in roster.follow({}, EGRESS)] == [""]


def test_a_configured_server_takes_replicas_at_its_own_path(roster: Roster) -> None:
    """They leave the path that their name would have to others."""
    grows = _config(a="/tools/a")["a"].model_copy(update={"replicas_may_register": True})
    roster.follow({"a": grows}, EGRESS)
    entry = _add(roster, "a")
    assert roster.path_of(entry) == "/tools/a"
    assert _reason(roster, "a", "b", _said(3010)) == "taken"
    assert _reason(roster, "a", "b", _said(4002, path="/mcp/a")) == "taken"
    _add(roster, "b", said=_said(4002, path="/mcp/a"))
    found = roster.settings_of("a")
    assert found is not None
    assert (found.path, [each.url for each in found.upstreams]) == (
        "/tools/a",
        ["http://127.0.0.1:3010", "http://127.0.0.1:4001"],
    )


# --- servers --------------------------------------------------------------------------------------------------------


def test_the_newest_says_how_a_server_is_called(roster: Roster) -> None:
    """All of them say where it runs."""
    _add(roster, "a", "one", _said(4001, title="Old", headers={"X-Key": "k"}))
    _add(roster, "a", "two", _said(4002, title="New", weight=3))
    found = roster.settings_of("a")
    assert found is not None
    assert (found.title, found.path, found.headers.set) == ("New", "/mcp/a", {})
    assert [(each.url, each.weight) for each in found.upstreams] == [
        ("http://127.0.0.1:4001", 1),
        ("http://127.0.0.1:4002", 3),
    ]
    assert roster.settings_of("a") is found, "made once"
    roster.remove(("a", "two"))
    again = roster.settings_of("a")
    assert again is not None
    assert (again.title, again.headers.set) == ("Old", {"X-Key": "k"})


def test_an_entry_that_is_not_used_is_no_replica(roster: Roster) -> None:
    """Neither alone nor beside others."""
    _add(roster, "a")
    assert _list(roster, "a", "l").conflict == "the server a comes from the registry API; use another name"
    found = roster.settings_of("a")
    assert found is not None
    assert len(found.upstreams) == 1
    assert [entry.replica for entry in roster.of("a")] == ["a", "l"]
    roster.remove(("a", "a"))
    assert roster.settings_of("a") is None


_KEYS = st.tuples(st.sampled_from("abc"), st.sampled_from("rs"))
_PATHS = st.sampled_from(["/t", "/t/a", "/t/a/b", "/u", None])
_STEPS = st.lists(
    st.tuples(st.sampled_from(["claim", "confirm", "withdraw", "remove", "list", "follow"]), _KEYS, _PATHS, st.integers(1, 4)),
    max_size=25,
)


@PURE
@given(_STEPS)
def test_whatever_happens_nobody_shares_a_path(steps: list[tuple[str, Key, str | None, int]]) -> None:
    """No two servers that are used have paths of which one is, or is below, the other; at the end nothing is left."""
    roster = Roster(count(1).__next__)
    roster.follow({}, EGRESS)
    claims: list[Entry] = []
    for step, key, path, port in steps:
        said = _said(port) if path is None else _said(port, path=path)
        if step == "claim":
            try:
                claims.append(roster.claim(key, said, ANY, 1.0))
            except GatewayError as refused:
                assert refused.reason == "taken"
        elif step == "list":
            if (present := roster.get(key)) is None or present.origin != "api":
                _list(roster, *key, port=port, path=path or f"/mcp/{key[0]}")
        elif step == "remove":
            roster.remove(key)
        elif step == "follow":
            roster.follow(_config(**({key[0]: path} if path else {})), EGRESS)
        elif claims:
            claim = claims.pop(0)
            roster.confirm(claim) if step == "confirm" else roster.withdraw(claim)
        used = {entry.server: roster.path_of(entry) + "/" for entry in roster if not entry.conflict}
        paths = list(used.values())
        assert not [(one, two) for one in paths for two in paths if one is not two and one.startswith(two)]
    for claim in claims:
        roster.withdraw(claim)
    for entry in roster:
        roster.remove(entry.key)
    roster.follow({}, EGRESS)
    assert not _add(roster, "z", said=_said(path="/t")).conflict
