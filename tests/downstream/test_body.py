"""The body of a request as it comes in: its payload, its exact end, its bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE, cuts, split

from mcpgate.downstream.body import RequestBody
from mcpgate.errors import BadRequest, BodyTooLarge
from mcpgate.wire.chunks import LAST_CHUNK, chunk
from mcpgate.wire.http1 import HeadLimits, RequestHead, parse_request

NEXT = b"GET /next HTTP/1.1\r\n\r\n"
UNBOUNDED = 1 << 40


def _head(*fields: bytes) -> RequestHead:
    lines = b"".join(field + b"\r\n" for field in fields)
    return parse_request(b"POST / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n", HeadLimits(4096, 20))


CHUNKED = _head(b"Transfer-Encoding: chunked")


def _counted(length: int) -> RequestHead:
    return _head(b"Content-Length: %d" % length)


def _feed(body: RequestBody, pieces: list[bytes]) -> bytes:
    """Feed until the end; what a caller would not feed any more is put behind the rest."""
    payload = b""
    for piece in pieces:
        if body.done:
            body.rest += piece
        else:
            payload += body.feed(piece)
    return payload


_payloads = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5)


@PURE
@given(payloads=_payloads, chunked=st.booleans(), rest=st.sampled_from([b"", NEXT]), places=cuts)
def test_a_body_is_the_same_however_it_is_split(
    payloads: list[bytes], chunked: bool, rest: bytes, places: list[int]
) -> None:
    """With a length or in chunks; the next request behind it is not touched."""
    whole = b"".join(payloads)
    head = CHUNKED if chunked else _counted(len(whole))
    wire = b"".join(map(chunk, payloads)) + LAST_CHUNK if chunked else whole
    body = RequestBody(head, len(whole))
    assert _feed(body, split(wire + rest, places)) == whole
    assert body.done
    assert body.rest == rest


@PURE
@given(payloads=_payloads, chunked=st.booleans(), place=st.integers(0, 200))
def test_a_body_is_not_done_before_its_end(payloads: list[bytes], chunked: bool, place: int) -> None:
    """One byte less, and it is waited for."""
    whole = b"".join(payloads)
    wire = b"".join(map(chunk, payloads)) + LAST_CHUNK if chunked else whole
    body = RequestBody(CHUNKED if chunked else _counted(len(whole)), UNBOUNDED)
    payload = body.feed(wire[: place % len(wire)])
    assert not body.done
    assert whole.startswith(payload)


@pytest.mark.parametrize("head", [_head(), _counted(0)])
def test_a_request_without_a_body_is_done_at_once(head: RequestHead) -> None:
    """Whatever follows is the next request."""
    body = RequestBody(head, 0)
    assert (body.done, body.rest) == (True, b"")


def test_an_empty_chunked_body_is_done_at_its_last_chunk() -> None:
    """Nobody can know before."""
    body = RequestBody(CHUNKED, 0)
    assert (body.feed(b"0\r\n"), body.done) == (b"", False)
    assert (body.feed(b"\r\n" + NEXT), body.done, body.rest) == (b"", True, NEXT)


@PURE
@given(payloads=_payloads, places=cuts)
def test_a_chunked_body_may_be_as_large_as_the_bound(payloads: list[bytes], places: list[int]) -> None:
    """To the byte, and counted without the framing; its size is not known before it is there."""
    whole = b"".join(payloads)
    pieces = split(b"".join(map(chunk, payloads)) + LAST_CHUNK, places)
    body = RequestBody(CHUNKED, len(whole))
    assert _feed(body, pieces) == whole
    with pytest.raises(BodyTooLarge):
        _feed(RequestBody(CHUNKED, len(whole) - 1), pieces)


def test_too_much_is_refused_before_its_end() -> None:
    """A body that never ends is not read for ever, and its last piece is not handed on."""
    body = RequestBody(CHUNKED, 10)
    assert body.feed(b"ffff\r\n0123456789") == b"0123456789"
    with pytest.raises(BodyTooLarge):
        body.feed(b"x")


@pytest.mark.parametrize("wire", [b"x\r\n", b"3\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n", b"-3\r\nabc\r\n", b"0" * 300])
def test_a_broken_body_is_a_bad_request(wire: bytes) -> None:
    """The client learns what is wrong with it."""
    with pytest.raises(BadRequest, match="broken chunked body: "):
        RequestBody(CHUNKED, UNBOUNDED).feed(wire)
