"""Heads as somebody else's parser reads them: alike, or there is a list that says where not, and why."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE, answer_heads, broken, request_heads

from mcpgate.errors import BadAnswer, BadRequest, GatewayError
from mcpgate.wire import headers
from mcpgate.wire.http1 import AnswerHead, HeadLimits, RequestHead, find_head_end, parse_answer, parse_request

LIMITS = HeadLimits(max_bytes=32 * 1024, max_fields=100)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
Head = RequestHead | AnswerHead

#: What h11 takes and the gateway does not: a name for why, and a head.
STRICTER = {
    "methods that llhttp does not know": b"FROB / HTTP/1.1\r\nHost: x\r\n\r\n",
    "targets that are neither path nor URL": b"GET a/b HTTP/1.1\r\nHost: x\r\n\r\n",
    "targets of another authority": b"GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "backslashes in targets": b"GET /a\\b HTTP/1.1\r\nHost: x\r\n\r\n",
    "fragments in targets": b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
    "other versions": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "lines that end in LF": b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "folded lines": GET + b"A: b\r\n c\r\n\r\n",
    "control bytes in values": GET + b"A: \x01\r\n\r\n",
    "DEL in values": GET + b"A: \x7f\r\n\r\n",
    "a length and a coding": GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "the same length twice": GET + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "a list of the same lengths": GET + b"Content-Length: 5, 5\r\n\r\n",
    "lengths of 17 digits": GET + b"Content-Length: 12345678901234567\r\n\r\n",
    "chunks in HTTP/1.0": b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a second field that stands alone": GET + b"Origin: a\r\nOrigin: b\r\n\r\n",
}
#: Likewise for answers, beside what holds for fields and framing above.
STRICTER_WITH_ANSWERS = {
    "statuses that HTTP does not have": b"HTTP/1.1 600 OK\r\n\r\n",
    "other versions": b"HTTP/1.2 200 OK\r\n\r\n",
    "control bytes in phrases": b"HTTP/1.1 200 O\x1bK\r\n\r\n",
    "lines that end in LF": b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
}
# The other way round there is nothing: the properties below would find it.


@pytest.mark.parametrize("reason", STRICTER)
def test_the_gateway_is_stricter_than_h11(reason: str) -> None:
    """What is refused from clients although another good parser takes it."""
    assert _by_h11(STRICTER[reason], h11.SERVER) is not None
    with pytest.raises(BadRequest):
        parse_request(STRICTER[reason], LIMITS)


@pytest.mark.parametrize("reason", STRICTER_WITH_ANSWERS)
def test_the_gateway_is_stricter_than_h11_with_answers(reason: str) -> None:
    """What is refused from servers."""
    assert _by_h11(STRICTER_WITH_ANSWERS[reason], h11.CLIENT) is not None
    with pytest.raises(BadAnswer):
        parse_answer(STRICTER_WITH_ANSWERS[reason], LIMITS)


def _by_h11(raw: bytes, role: type[h11.SERVER] | type[h11.CLIENT]) -> tuple[h11.Connection, object] | None:
    """h11 with a head in it, and what it took the head for; ``None`` if it refuses."""
    connection = h11.Connection(our_role=role, max_incomplete_event_size=1 << 20)
    if role is h11.CLIENT:
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    try:
        return connection, connection.next_event()
    except h11.RemoteProtocolError:
        return None


def _left_behind(connection: h11.Connection, head: Head) -> bytes:
    """Feed a body as the gateway would expect it; what h11 leaves of it, or asks for, tells whether it agrees."""
    body = b"3\r\nabc\r\n0\r\n\r\n" if head.chunked else b"b" * (head.content_length or 0)
    connection.receive_data(body + b"NEXT")
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
    return connection.trailing_data[0]


def _agree_on_fields(head: Head, seen: list[tuple[bytes, bytes]]) -> None:
    """Every line that travels on, and every value that is read, is one that h11 has seen."""
    seen = [(name, value.strip(b" \t")) for name, value in seen]
    rest = iter(seen)
    for name, value in headers.fields(head.block):
        assert (name.lower(), value.strip(b" \t")) in rest  # in this order
    for name, value in head.noted.items():
        told = b", ".join(theirs for known, theirs in seen if known == name)
        if name == b"transfer-encoding":  # h11 gives it in lower case
            value = value.lower()
        assert [part.strip(b" \t") for part in value.split(b",")] == [part.strip(b" \t") for part in told.split(b",")]


@PURE
@given(
    raw=st.one_of(
        broken(request_heads().map(lambda spoken: spoken.raw)), request_heads().map(lambda spoken: spoken.raw)
    )
)
def test_h11_reads_every_accepted_request_alike(raw: bytes) -> None:
    """Good heads and broken ones: if the gateway takes one, then as h11 does, up to where its body ends."""
    try:
        end = find_head_end(raw, LIMITS)
        head = parse_request(raw[:end], LIMITS) if end > 0 else None
    except GatewayError:
        return
    if head is None:
        return
    found = _by_h11(raw[:end], h11.SERVER)
    assert found is not None
    connection, event = found
    assert isinstance(event, h11.Request)
    assert event.method == head.method
    target = event.target
    if target[:1] != b"/" and target != b"*":
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    assert target == head.target
    assert event.http_version == (b"1.1" if head.is_http11 else b"1.0")
    _agree_on_fields(head, list(event.headers))
    if (head.content_length or 0) < 1000:
        assert _left_behind(connection, head) == b"NEXT"
    if head.is_http11 and not head.noted.get(b"upgrade"):  # h11 keeps no connection of HTTP/1.0
        assert (connection.their_state is h11.DONE) is head.keep_alive or (head.content_length or 0) >= 1000


@PURE
@given(
    raw=st.one_of(broken(answer_heads().map(lambda spoken: spoken.raw)), answer_heads().map(lambda spoken: spoken.raw))
)
def test_h11_reads_every_accepted_answer_alike(raw: bytes) -> None:
    """Likewise for what servers send."""
    try:
        end = find_head_end(raw, LIMITS)
        head = parse_answer(raw[:end], LIMITS) if end > 0 else None
    except GatewayError:
        return
    if head is None or head.status == 101:  # h11 was not asked to switch
        return
    found = _by_h11(raw[:end], h11.CLIENT)
    assert found is not None
    connection, event = found
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    assert (event.status_code, event.reason) == (head.status, head.phrase)
    assert event.http_version == (b"1.1" if head.is_http11 else b"1.0")
    _agree_on_fields(head, list(event.headers))
    framed = head.chunked or (head.content_length or 0) > 0
    if framed and head.status not in (204, 304) and head.status >= 200 and (head.content_length or 0) < 1000:
        assert _left_behind(connection, head) == b"NEXT"
