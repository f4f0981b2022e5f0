"""What a limit says: whom it counts together, and how it charges a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.policy.addressgate import address_key
from mcpgate.policy.authz import NamePatterns
from mcpgate.policy.buckets import Allowance
from mcpgate.policy.limits import END_SESSION, OPEN_STREAM, KeyPart, LimitPolicy, Weight, client_parts
from mcpgate.wire.calls import RESPONSE, UNREAD, Call

ALLOWANCE = Allowance(1, 1, 1)
PLAIN = LimitPolicy("plain", (KeyPart.PRINCIPAL,), ALLOWANCE)
CALLS = LimitPolicy("calls", (), ALLOWANCE, methods=NamePatterns(["tools/call", "resources/*"]))
TOOLS = LimitPolicy("tools", (), ALLOWANCE, tools=NamePatterns(["search*", "delete"]))
BOTH = LimitPolicy("both", (), ALLOWANCE, methods=NamePatterns(["prompts/get"]), tools=NamePatterns(["*"]))

NOTHING, LIGHT, WHOLE = Weight.NOTHING, Weight.LIGHT, Weight.WHOLE


@pytest.mark.parametrize(
    ("call", "plain", "calls", "tools"),
    [
        (Call("tools/call", "search"), WHOLE, WHOLE, WHOLE),
        (Call("tools/call", "other"), WHOLE, WHOLE, NOTHING),
        (Call("prompts/get", "search"), WHOLE, NOTHING, NOTHING),
        (Call("resources/read", "file:///x"), WHOLE, WHOLE, NOTHING),
        (Call("resources/list"), LIGHT, WHOLE, NOTHING),
        (Call("resources/templates/list"), LIGHT, WHOLE, NOTHING),
        (Call("tools/list"), LIGHT, NOTHING, NOTHING),
        (Call("initialize"), LIGHT, NOTHING, NOTHING),
        (Call("ping"), LIGHT, NOTHING, NOTHING),
        (Call("logging/setLevel"), LIGHT, NOTHING, NOTHING),
        (Call("server/discover"), LIGHT, NOTHING, NOTHING),
        (Call("notifications/initialized"), LIGHT, NOTHING, NOTHING),
        (RESPONSE, LIGHT, NOTHING, NOTHING),
        (OPEN_STREAM, LIGHT, NOTHING, NOTHING),
        (END_SESSION, LIGHT, NOTHING, NOTHING),
        (Call("completion/complete"), WHOLE, NOTHING, NOTHING),
        (Call("subscriptions/listen"), WHOLE, NOTHING, NOTHING),
        (Call("something/new"), WHOLE, NOTHING, NOTHING),
        (UNREAD, WHOLE, WHOLE, WHOLE),
    ],
)
def test_what_a_message_costs(call: Call, plain: Weight, calls: Weight, tools: Weight) -> None:
    """Handshakes, pings, lists and notices are light, unless a limit names them; what nobody can read counts for all."""
    assert (PLAIN.weight(call), CALLS.weight(call), TOOLS.weight(call)) == (plain, calls, tools)


def test_a_limit_of_methods_and_tools_charges_what_is_both() -> None:
    """Tools are only called by one method."""
    assert BOTH.weight(Call("prompts/get", "x")) is NOTHING
    assert BOTH.weight(Call("tools/call", "x")) is NOTHING


def test_a_limit_may_be_for_some_servers() -> None:
    """By name or pattern; without one it is for all."""
    some = LimitPolicy("some", (), ALLOWANCE, servers=NamePatterns(["github-*"]))
    assert [some.concerns("github-pm"), some.concerns("jira"), PLAIN.concerns("jira")] == [True, False, True]


# --- keys ---------------------------------------------------------------------------------------------------------


def _key(key: list[KeyPart], address: bytes, principal: str, server: str, call: Call) -> bytes:
    policy = LimitPolicy("any", tuple(key), ALLOWANCE)
    return policy.key_of(policy.client_key(client_parts(address, principal, server)), call)


def test_nobody_is_counted_by_address_and_never_as_somebody() -> None:
    """Not even as somebody who is called like an address."""
    principal = [KeyPart.PRINCIPAL]
    alice, nobody, impostor = (
        _key(principal, b"203.0.113.7", name, "x", Call("ping")) for name in ("alice", "", "203.0.113.7")
    )
    assert len({alice, nobody, impostor}) == 3
    assert alice == _key(principal, b"198.51.100.1", "alice", "y", Call("tools/call", "t"))
    assert nobody != _key(principal, b"198.51.100.1", "", "x", Call("ping"))


@pytest.mark.parametrize(
    ("one", "other"), [(("ab", "c"), ("a", "bc")), (("a", "1:b"), ("a1:", "b")), (("x" * 70, "y"), ("x" * 69, "xy"))]
)
def test_parts_of_a_key_do_not_run_together(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Whoever chooses names cannot be counted as somebody else."""
    key = [KeyPart.PRINCIPAL, KeyPart.SERVER]
    assert _key(key, b"", *one, Call("ping")) != _key(key, b"", *other, Call("ping"))


def test_only_a_tool_call_has_a_tool() -> None:
    """The name of a prompt is nobody's tool."""
    tool = [KeyPart.TOOL]
    search = _key(tool, b"", "a", "x", Call("tools/call", "search"))
    assert search != _key(tool, b"", "a", "x", Call("prompts/get", "search"))
    assert search != _key(tool, b"", "a", "x", Call("tools/call", "find"))
    assert search == _key(tool, b"", "b", "y", Call("tools/call", "search"))


_names = st.text("ab:0123,#=@", max_size=4) | st.sampled_from(["x" * 70, "x" * 71, "\ud800", "é"])
_requests = st.tuples(
    _names.map(lambda name: name.encode("utf-8", "replace")), _names, _names, st.builds(Call, _names, _names)
)


@PURE
@given(st.lists(st.sampled_from(KeyPart), unique=True), _requests, _requests)
def test_requests_are_counted_together_if_the_parts_of_the_key_are_the_same(
    key: list[KeyPart], one: tuple[bytes, str, str, Call], other: tuple[bytes, str, str, Call]
) -> None:
    """And only then, whatever characters names are made of."""

    def parts(request: tuple[bytes, str, str, Call]) -> list[object]:
        address, principal, server, call = address_key(request[0]), *request[1:]
        values = {
            KeyPart.ADDRESS: address,
            KeyPart.PRINCIPAL: principal or address,
            KeyPart.SERVER: server,
            KeyPart.METHOD: call.method,
            KeyPart.TOOL: call.name if call.method == "tools/call" else "",
        }
        return [values[part] for part in key]

    assert (_key(key, *one) == _key(key, *other)) is (parts(one) == parts(other))


@PURE
@given(st.lists(st.sampled_from(KeyPart), unique=True), _requests)
def test_keys_are_short(key: list[KeyPart], request: tuple[bytes, str, str, Call]) -> None:
    """However long the names are that a client makes up: they are kept in memory by the thousand."""
    assert len(_key(key, *request)) <= 64
    assert len(_key(key, b"a" * 5000, "b" * 5000, "c" * 5000, Call("d" * 5000, "e" * 5000))) <= 64
