"""The id of a request that is refused, and the error that bears it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE, broken

from mcpgate.wire import jsonrpc
from mcpgate.wire.jsonrpc import RequestId

_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
_messages = st.dictionaries(st.sampled_from(["jsonrpc", "method", "params", "ID", "x"]), _values, max_size=4)


@PURE
@given(
    message=_messages,
    request_id=st.one_of(st.integers(), st.text(max_size=9), st.floats(allow_nan=False, allow_infinity=False)),
    ascii_only=st.booleans(),
)
def test_the_id_comes_back_as_it_was(message: dict[str, object], request_id: RequestId, ascii_only: bool) -> None:
    """Whatever else stands in the request: by its id alone a client knows which call failed."""
    body = json.dumps({**message, "id": request_id}, ensure_ascii=ascii_only).encode()
    found = jsonrpc.request_id(body)
    assert found == request_id
    told = json.loads(jsonrpc.error(429, "later", found, {}))
    assert (told["id"], type(told["id"])) == (request_id, type(request_id))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"tools/call"}', 7),
        (b' {"id":"a-1"}\n', "a-1"),
        (b'{"params":{"id":1},"id":2}', 2),
        (b'{"params":{"id":1}}', None),
        (b'{"params":"\\"id\\":1"}', None),
        (b'{"id":18446744073709551616}', 18446744073709551616),
        (b'{"id":"\\u00e9\\n"}', "\u00e9\n"),
        (b'{"id":null}', None),
        (b'{"id":true}', None),
        (b'{"id":[1]}', None),
        (b'{"id":{"a":1}}', None),
        (b'{"id":"\\ud800"}', None),
        (b'{"id":"\xff"}', None),
        (b'{"id":1e999}', None),
        (b'{"id":' + b"9" * 5000 + b"}", None),
        (b'{"jsonrpc":"2.0","method":"notifications/cancelled"}', None),
        (b'[{"id":1},{"id":2}]', None),
        (b'{"id":1}{"id":2}', None),
        (b'{"id":1', None),
        (b'{"id":1,"params":' + b"[" * 100_000, None),
        (b"", None),
        (b"1", None),
        (b"id=1", None),
        (b"\xef\xbb\xbf{}", None),
        (b"\x00\xff", None),
    ],
)
def test_what_has_an_id(body: bytes, expected: RequestId) -> None:
    """One message; not a batch, not a notification, not what is no JSON."""
    found = jsonrpc.request_id(body)
    assert (found, type(found)) == (expected, type(expected))


@PURE
@given(
    body=st.one_of(
        st.binary(max_size=30), broken(_messages.map(lambda message: json.dumps({**message, "id": 1}).encode()))
    )
)
def test_no_body_makes_an_error_of_its_own(body: bytes) -> None:
    """A refusal is written whatever was sent."""
    json.loads(jsonrpc.error(400, "no", jsonrpc.request_id(body), {}))


def test_an_error_is_as_the_protocol_says() -> None:
    """JSON-RPC 2.0 section 5.1, with a code outside every reserved range, in one line."""
    written = jsonrpc.error(503, 'say "no"\n', 7, {"reason": "draining", "retryAfterSeconds": 1})
    assert b"\n" not in written
    assert json.loads(written) == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {"code": -31503, "message": 'say "no"\n', "data": {"reason": "draining", "retryAfterSeconds": 1}},
    }
    assert json.loads(jsonrpc.error(503, "no", None, {}))["id"] is None
