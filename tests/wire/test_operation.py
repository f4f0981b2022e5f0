"""What messages tell for the record: a method, a name, how it went."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.wire.operation import Operation, Result, operation_of, result_of, result_of_event

WELL = Result(0, False)


@pytest.mark.parametrize(
    ("body", "operation"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"name":"x"}}}', Operation("tools/call", "echo", 1)),
        (b'{"method":"prompts/get","params":{"name":"p"},"id":"a"}', Operation("prompts/get", "p", "a")),
        (b'{"method":"resources/read","params":{"uri":"file:///secret"},"id":2}', Operation("resources/read", "", 2)),
        (b'{"method":"ping","id":null}', Operation("ping")),
        (b'{"method":"tools/list","params":[],"id":3}', Operation("tools/list", "", 3)),
        (b'{"method":"tools/call","params":{"name":7},"id":3}', Operation("tools/call", "", 3)),
        (b'{"method":"notifications/initialized"}', Operation("notifications/initialized")),
    ],
)  # fmt: skip
def test_a_message_tells_its_method_and_the_name_of_its_tool(body: bytes, operation: Operation) -> None:
    """And nothing that could hold a secret."""
    assert operation_of(body) == operation


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'[{"method":"ping"}]', b'{"id":1,"result":{}}', b'{"method":7}', b"\xff", b'{"method":"' + b"x" * 20_000 + b'"}', b"[" * 9000],
)  # fmt: skip
def test_what_is_no_single_message_tells_nothing(body: bytes) -> None:
    """Batches, answers, broken and long bodies pass unread."""
    assert operation_of(body) is None


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}', WELL),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}', Result(-32602, False)),
        (b'{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}', Result(0, True)),
        (b'{"id":1,"result":{"isError": true}}', Result(0, True)),
        (b'{"id":1,"result":{"isError":false}}', WELL),
        (b'{"id":1,"result":{"structuredContent":{"isError":true,"error":{"code":1}}}}', WELL),
        (b'{"id":1,"result":{"content":[{"type":"text","text":"\\"isError\\":true"}]}}', WELL),
        (b'{"id":1,"error":{"code":%d}}' % 10**4000, Result(1, False)),
        (b'{"id":1,"error":"text"}', None),
        (b'{"id":1,"error"', None),
        (b'{"id":1,"result":{"content":[{"type":"text"}', None),
        (b'{"jsonrpc":"2.0","method":"notifications/progress","params":{}}', None),
        (b"\x1f\x8b\x08", None),
        (b"", None),
    ],
)
def test_an_answer_tells_how_it_went(body: bytes, result: Result | None) -> None:
    """Errors of the protocol and of the tool are told apart; what is no whole answer tells nothing."""
    assert result_of(body) == result


@pytest.mark.parametrize("form", ["event: message\ndata: {}\n\n", "data:{}\r\n\r\n", ": ping\n\nid: 1\ndata: {}\n\ndata: x\n\n"])
def test_an_event_tells_the_same(form: str) -> None:
    """Servers answer calls with a stream of one event as well."""
    error = '{"id":1,"error":{"code":-32000,"message":"no"}}'
    assert result_of_event(form.format(error).encode()) == Result(-32000, False)


def test_an_event_without_data_tells_nothing() -> None:
    """A comment, a priming event."""
    assert result_of_event(b": ping\n\n") is None
    assert result_of_event(b"id: 7\ndata: \n\n") is None
    assert result_of_event(b'data: {"id":1,"result":{}}') is None  # who knows what follows


JSON = st.recursive(st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["method", "params", "name", "id", "error", "code", "result", "isError", "x"]), inner, max_size=4), max_leaves=8)  # fmt: skip


@given(message=JSON)
def test_whatever_comes_is_read_or_not(message: object) -> None:
    """No body makes the record fail, and a method that is told stands in the body."""
    body = json.dumps(message).encode()
    operation = operation_of(body)
    result_of(body)
    result_of_event(b"data: " + body)
    if operation is not None:
        assert isinstance(message, dict)
        assert operation.method == message["method"]
