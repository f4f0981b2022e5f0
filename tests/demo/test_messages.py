"""Reading one JSON-RPC message."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.demo.messages import ErrorCode, Notice, Refused, Request, read_message

ODD_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, 1.5, float("nan"), "", "2.0", "ping", [], [1], {}, {"a": []}]
)
MEMBERS = ("jsonrpc", "id", "method", "params", "result")


def read(**members: Any) -> Request | Notice:
    return read_message(json.dumps({"jsonrpc": "2.0", **members}).encode())


def test_request() -> None:
    """A message with a method and an id is a request."""
    assert read(id="a", method="ping", params={"x": 1}) == Request("a", "ping", {"x": 1})


def test_notification() -> None:
    """Without an id it is owed no answer; params may be missing."""
    assert read(method="notifications/initialized") == Notice("notifications/initialized", {})


@pytest.mark.parametrize("outcome", ["result", "error"])
def test_response(outcome: str) -> None:
    """A response is taken and ignored: the demo asks its clients nothing."""
    assert isinstance(read(id=1, **{outcome: {}}), Notice)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_no_json(body: bytes) -> None:
    """What is no JSON, or too deep to be read, is a parse error."""
    with pytest.raises(Refused) as refusal:
        read_message(body)
    assert refusal.value.reply().message["error"]["code"] == ErrorCode.PARSE_ERROR


@pytest.mark.parametrize(
    "members",
    [
        {"id": None, "method": "ping"},
        {"id": True, "method": "ping"},
        {"id": 1.5, "method": "ping"},
        {"id": 1, "method": None},
        {"id": 1, "method": "ping", "params": []},
        {"id": 1, "method": "ping", "jsonrpc": "1.0"},
        {},
    ],
)
def test_no_message(members: dict[str, Any]) -> None:
    """JSON that is no message of MCP is an invalid request."""
    with pytest.raises(Refused) as refusal:
        read(**members)
    assert refusal.value.reply().message["error"]["code"] == ErrorCode.INVALID_REQUEST


def test_batch() -> None:
    """An array of messages is refused as a whole."""
    with pytest.raises(Refused, match="one JSON-RPC"):
        read_message(b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]')


@given(st.binary(max_size=50) | st.dictionaries(st.sampled_from(MEMBERS), ODD_VALUES).map(json.dumps))
def test_anything(body: bytes | str) -> None:
    """Whatever arrives is read or refused; nothing else happens."""
    raw = body.encode() if isinstance(body, str) else body
    with contextlib.suppress(Refused):
        assert isinstance(read_message(raw), Request | Notice)


def test_refusal_carries_details() -> None:
    """A refusal is a JSON-RPC error with the request's id and, where there are some, details."""
    refused = Refused(ErrorCode.INVALID_PARAMS, "no", details={"why": "so"})
    error = {"code": -32602, "message": "no", "data": {"why": "so"}}
    assert refused.reply(3).message == {"jsonrpc": "2.0", "id": 3, "error": error}
