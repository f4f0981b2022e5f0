"""
The same requests through both doors: the fast one, and the Klein one in somebody's own `Site`.

Whatever a server and a client can see must be the same: modulo the case and order of fields, the framing of one hop,
and interim answers, which twisted.web cannot send.
"""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ends import LAST_CHUNK, SSE, STREAM_HEAD, Message, answers, chunked, requests
from tests.strategies import THROUGH_THE_GATEWAY
from twisted.web.server import Site

from mcpgate.testing import Client, GatewayUnderTest, answer, request

CONFIG = """\
http: {max_body_bytes: 1000}
servers:
  - name: x
    upstreams: [{url: "http://127.0.0.1:3010/base"}]
    headers: {set: {X-Api-Key: secret}}
"""
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = OK + b"Content-Type: text/plain\r\n\r\n"
_ONE_HOP = frozenset({b"connection", b"transfer-encoding", b"keep-alive"})

FIN, RESET = "fin", "reset"


@dataclass(frozen=True)
class Seen:
    """What one end has seen: a request or an answer, without what belongs to one hop."""

    line: tuple[bytes, bytes, int, bytes]
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    complete: bool


@dataclass(frozen=True)
class Outcome:
    """What both ends have seen, after each step."""

    upstream: tuple[Seen, ...]
    client: tuple[Seen, ...]
    records: tuple[tuple[str, int, str], ...]


def _seen(message: Message, *, framed: bool) -> Seen:
    dropped = _ONE_HOP if framed else _ONE_HOP | {b"content-length"}
    return Seen(
        (message.method, message.target, message.status, message.phrase),
        tuple(sorted(pair for pair in message.fields if pair[0] not in dropped)),
        message.body,
        message.complete,
    )


class Doors:
    """Two gateways, alike but for the door."""

    def __init__(self, config: str = CONFIG) -> None:
        self.fast = GatewayUnderTest(config)
        self.klein = GatewayUnderTest(config)
        # The body is the server's: twisted.web must not take forms apart, and refuse those that it cannot read.
        site = Site(self.klein.gateway.resource(), reactor=self.klein.reactor, parsePOSTFormSubmission=False)
        self.klein.gateway.door = site  # type: ignore[assignment]

    def compare(self, sent: Sequence[bytes], said: Sequence[bytes] = (), end: str = "") -> list[Outcome]:
        """Walk an exchange step by step through both, and demand the same after each; the outcomes."""
        walks = [_walk(gate, sent, said, end) for gate in (self.fast, self.klein)]
        for fast, klein in zip(*walks, strict=True):
            assert klein == fast
        return walks[0]


def _walk(gate: GatewayUnderTest, sent: Sequence[bytes], said: Sequence[bytes], end: str) -> list[Outcome]:
    client = gate.connect()
    peers, recorded = len(gate.peers), len(gate.records)
    client.send(*sent)
    steps = [_outcome(gate, client, sent[0], peers, recorded)]
    for piece in said:
        gate.upstream().send(piece)
        steps.append(_outcome(gate, client, sent[0], peers, recorded))
    if end:
        peer = gate.upstream()
        (peer.close if end == FIN else peer.reset)()
        steps.append(_outcome(gate, client, sent[0], peers, recorded))
    client.reset()
    steps.append(_outcome(gate, client, sent[0], peers, recorded))
    for peer in gate.peers:
        peer.reset()
    return steps


def _outcome(gate: GatewayUnderTest, client: Client, sent: bytes, peers: int, recorded: int) -> Outcome:
    method = sent.partition(b" ")[0].decode()
    framed = b"chunked" not in sent
    seen = [_seen(each, framed=framed) for peer in gate.peers[peers:] for each in requests(peer.received)]
    told = [_seen(each, framed=True) for each in answers(client.received, client.closed, [method])]
    records = [(each.server, each.status, each.ended.value if each.ended else "") for each in gate.records[recorded:]]
    return Outcome(tuple(seen), tuple(told), tuple(records))


@pytest.fixture
def doors() -> Doors:
    """A fresh pair."""
    return Doors()


# --- requests -----------------------------------------------------------------------------------------------------

REQUESTS = [
    (request("GET", "/mcp/x"),),
    (request("GET", "/mcp/x/a%2fb%5C;c?d=%00&e=?/#"[:-1]),),
    (request("GET", "/mcp/x/\"<>^`{|}~!$&'()*+,=:@"),),
    (request("GET", "/mcp/x//a//"),),
    (request("GET", "/mcp/x/?"),),
    (request("POST", body=b'{"id":1}'),),
    (request("POST", body=b'{"id":1}', headers={"Content-Type": "application/x-www-form-urlencoded"}),),
    (request("POST", body=b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"}),),
    (request("POST", body=b"--b--", headers={"Content-Type": "multipart/form-data; boundary=b"}),),
    (request("POST", headers={"Content-Length": "0"}),),
    (request("POST", headers={"Transfer-Encoding": "chunked"}), b"3\r\nabc\r\n", b"0\r\n\r\n"),
    (request("POST", headers={"Content-Length": "6"}), b"abc", b"def"),
    (request("PUT", body=b"\x00\xff"),),
    (request("DELETE", headers={"Mcp-Session-Id": "s"}),),
    (request("OPTIONS", headers={"Origin": "http://localhost", "X-Asks": "POST"}),),
    (request("PROPFIND"),),
    (request("HEAD"),),
    (request("GET", headers={"Cookie": "a=b", "Authorization": "Bearer x", "X_Y": "z", "Mcpgate-A": "b"}),),
    (request("GET", headers={"Connection": "X-Hop, close", "X-Hop": "1", "TE": "trailers", "Keep-Alive": "x"}),),
    (request("GET", headers={"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "x"}),),
    (request("GET", headers={"X-Forwarded-For": "1.2.3.4", "Via": "1.1 other", "Forwarded": "for=x"}),),
    (request("GET", headers={"X-Odd": '\xe9\t!"#%&', "X-Empty": "", "mcp-PARAM-a": "=?base64?AA==?="}),),
    (request("GET")[:-2] + b"X-A: 1\r\nX-A: 2\r\nX-A: 1\r\n\r\n",),
    (request("GET", headers={"Accept": "text/event-stream", "Accept-Encoding": "gzip"}),),
    (request("GET", headers={"x-api-key": "theirs"}),),
    (request("GET", headers={"Expect": "100-continue"}),),
    (request("GET", "http://localhost/mcp/x/absolute"),),
    (request("GET", headers={"Host": "localhost:8700"}),),
    (b"GET /mcp/x/without-host HTTP/1.0\r\n\r\n",),
]


@pytest.mark.parametrize("sent", REQUESTS)
def test_the_server_gets_the_same_request(doors: Doors, sent: tuple[bytes, ...]) -> None:
    """Method, target, fields and body, byte for byte."""
    outcome = doors.compare(sent, [answer(b"" if sent[0].startswith(b"HEAD") else b"{}")])
    assert outcome[0].upstream[0].complete
    assert outcome[1].client[0].complete


REFUSALS = [
    (request("GET", "/nobody"), 404),
    (request("GET", "/"), 404),
    (request("GET", "/mcp/xy"), 404),
    (request("HEAD", "/nobody"), 404),
    (request("POST", "/nobody", b'{"id":7}'), 404),
    (request("GET", headers={"Host": "evil.example"}), 421),
    (request("GET", headers={"Host": "a b"}), 400),
    (request("GET", headers={"Origin": "http://evil.example"}), 403),
    (request("GET", "/mcp/x/../y"), 400),
    (request("GET", "/mcp/x/%2e%2e/y"), 400),
    (request("POST", body=b"x" * 1001), 413),
    (request("POST", body=b"{}", headers={"Origin": "http://localhost", "Content-Type": "text/plain"}), 415),
    (request("GET", headers={"Via": ", ".join(["1.1 mcpgate"] * 4)}), 508),
    (request("TRACE"), 405),
    (request("GET", "/mcp/discovery"), 200),
    (request("HEAD", "/mcp/discovery"), 200),
    (request("POST", "/mcp/discovery", b"{}"), 405),
]


@pytest.mark.parametrize(("sent", "status"), REFUSALS)
def test_the_gateway_itself_says_the_same(doors: Doors, sent: bytes, status: int) -> None:
    """Refusals and own addresses: status, fields, body, record."""
    outcome = doors.compare([sent])
    assert outcome[0].client[0].line[2] == status
    assert outcome[0].upstream == ()


def test_a_server_that_cannot_be_reached(doors: Doors) -> None:
    """502 with the id of the request, which either door has read."""
    doors.fast.refusing = doors.klein.refusing = {3010}
    outcome = doors.compare([request("POST", body=b'{"id":7}')])
    assert (outcome[0].client[0].line[2], b'"id":7' in outcome[0].client[0].body) == (502, True)


# --- answers ------------------------------------------------------------------------------------------------------

GET, POST, HEAD = request("GET"), request("POST", body=b"{}"), request("HEAD")
STREAM = request("GET", "/mcp/x/sse", headers=SSE)
EVENTS = (chunked(b"event: endpoint\ndata: /base/m?s=1\n\n"), chunked(b"data: 1\n\n"), b"9\r\nda", b"ta: 2\n\n\r\n")

ANSWERS = [
    (GET, (answer(),), ""),
    (GET, (OK + b"Content-Length: 0\r\n\r\n",), ""),
    (GET, (OK + b"Content-Length: 4\r\n\r\n", b"ab", b"cd"), ""),
    (GET, (OK + b"Content-Length: 4\r\n\r\n", b"ab"), FIN),
    (GET, (OK + b"Content-Length: 4\r\n\r\n", b"ab"), RESET),
    (GET, (CHUNKED, chunked(b"ab"), chunked(b"cd") + LAST_CHUNK), ""),
    (GET, (CHUNKED + chunked(b"ab"), b"3;x=y\r\nabc\r\n", b"0\r\nX-Trailer: 1\r\n\r\n"), ""),
    (GET, (CHUNKED, LAST_CHUNK), ""),
    (GET, (CHUNKED, chunked(b"ab")), FIN),
    (GET, (CHUNKED, chunked(b"ab")), RESET),
    (GET, (CHUNKED, chunked(b"ab"), b"broken\r\n"), ""),
    (GET, (UNTIL_CLOSE, b"ab", b"cd"), FIN),
    (GET, (UNTIL_CLOSE, b"ab"), RESET),
    (GET, (b"HTTP/1.0 200 OK\r\n\r\nab",), FIN),
    (GET, (OK + b"\r\n",), FIN),
    (POST, (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",), ""),
    (POST, (b"HTTP/1.1 204 No Content\r\n\r\n",), ""),
    (GET, (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",), ""),
    (GET, (b"HTTP/1.1 200 Fine By Me\r\nContent-Length: 0\r\n\r\n",), ""),
    (GET, (b"HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n",), ""),
    (HEAD, (OK + b"Content-Length: 9\r\n\r\n",), ""),
    (HEAD, (OK + b"Content-Type: text/plain\r\n\r\n",), ""),
    (POST, (answer(b'{"error":{}}', "404 Not Found"),), ""),
    (POST, (answer(b"<h1>", "500 Oops", {"Content-Type": "text/html", "Server": "s", "Date": "d"}),), ""),
    (POST, (answer(b"", "307 Temporary Redirect", {"Location": "http://127.0.0.1:3010/base/mcp/"}),), ""),
    (POST, (answer(headers={"Set-Cookie": "a=b; Path=/base", "X-A": "1", "x-b": "\xe9", "X_C": "d"}),), ""),
    (
        GET,
        (b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",),
        "",
    ),
    (
        POST,
        (answer(headers={"Mcpgate-Error": "x", "Clear-Site-Data": "*", "Connection": "close, X-Hop", "X-Hop": "1"}),),
        "",
    ),
    (POST, (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", answer()), ""),
    (POST, (STREAM_HEAD, *EVENTS[1:], LAST_CHUNK), ""),
    (POST, (STREAM_HEAD, *EVENTS[1:]), RESET),
    (POST, (STREAM_HEAD,), ""),
    (STREAM, (STREAM_HEAD, *EVENTS), ""),
    (STREAM, (STREAM_HEAD, *EVENTS), RESET),
    (STREAM, (STREAM_HEAD, EVENTS[0][:9], EVENTS[0][9:], LAST_CHUNK), ""),
    (STREAM, (STREAM_HEAD, chunked(b"event: endpoint\ndata: http://other/m\n\n")), ""),
    (STREAM, (STREAM_HEAD,), RESET),
    (POST, (b"nonsense\r\n\r\n",), ""),
    (POST, (), RESET),
    (GET, (b"HTTP/1.1 101 Switching Protocols\r\n\r\n",), ""),
]


@pytest.mark.parametrize(("sent", "said", "end"), ANSWERS)
def test_the_client_gets_the_same_answer(doors: Doors, sent: bytes, said: tuple[bytes, ...], end: str) -> None:
    """Step by step: what has come so far, and whether it is finished; what is unfinished stays so."""
    doors.compare([sent], said, end)


@pytest.mark.parametrize(("sent", "said", "end"), [case for case in ANSWERS if case[1]])
def test_an_old_client_gets_the_same_answer(doors: Doors, sent: bytes, said: tuple[bytes, ...], end: str) -> None:
    """Without chunks, and told by a reset where the end is missing."""
    old = sent.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
    doors.compare([old], said, end)
    ends = []
    for gate in (doors.fast, doors.klein):
        client = gate.connect()
        client.send(old)
        gate.upstream().send(*said)
        if end:
            (gate.upstream().close if end == FIN else gate.upstream().reset)()
        ends.append(client.closed)
    assert ends[0] == ends[1]


def test_back_pressure_is_the_same(doors: Doors) -> None:
    """A client that stops reading stops the server through either door, and loses nothing."""
    for gate in (doors.fast, doors.klein):
        client = gate.connect()
        client.send(POST)
        peer = gate.upstream()
        client.stop_reading()
        peer.send(CHUNKED, *[chunked(b"x" * 50_000)] * 4)
        assert not peer.transport.reading
        client.read_on()
        assert answers(client.received, None, ["POST"])[0].body == b"x" * 200_000


def test_a_client_that_leaves_is_noticed_the_same(doors: Doors) -> None:
    """At once, and the server is told."""
    for gate in (doors.fast, doors.klein):
        for said in (b"", STREAM_HEAD + chunked(b"data: 1\n\n")):
            client = gate.connect()
            client.send(POST)
            if said:
                gate.upstream().send(said)
            client.reset()
            assert gate.upstream().closed == "reset"
            assert gate.records[-1].ended is not None
            assert gate.records[-1].ended.value == "client_gone"


# --- and anything else ----------------------------------------------------------------------------------------------

_names = st.text("abcXYZ019-!#$%&'*+.^|~", min_size=1, max_size=8).map(lambda name: f"Z{name}")
_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=12).map(
    lambda value: value.strip(" \xa0\x85")
)
_fields = st.dictionaries(_names, _values, max_size=4)
_targets = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#\\"), max_size=16)
_methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "REPORT"])
_payloads = st.lists(st.binary(min_size=1, max_size=40), max_size=4)
_statuses = st.sampled_from(
    ["200 OK", "201 Created", "202 Accepted", "400 Bad Request", "404 Not Found", "500 No", "503 X"]
)


@st.composite
def _exchanges(draw: st.DrawFn) -> tuple[list[bytes], list[bytes], str]:
    method, target = draw(_methods), "/mcp/x/" + draw(_targets)
    body = b"".join(draw(_payloads))
    sent = [request(method, target, body, draw(_fields))]
    status, fields, pieces = draw(_statuses), draw(_fields), draw(_payloads)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = f"HTTP/1.1 {status}\r\n{lines}".encode("latin-1")
    framing = draw(st.sampled_from(["counted", "chunked", "until close"]))
    end = draw(st.sampled_from([FIN, RESET])) if framing == "until close" else draw(st.sampled_from(["", FIN]))
    if method == "HEAD":
        return sent, [head + b"Content-Length: 5\r\n\r\n"], ""
    if framing == "counted":
        return sent, [head + b"Content-Length: %d\r\n\r\n" % len(b"".join(pieces)), *pieces], ""
    if framing == "chunked":
        finish = [] if end else [LAST_CHUNK]
        return sent, [head + b"Transfer-Encoding: chunked\r\n\r\n", *map(chunked, pieces), *finish], end
    return sent, [head + b"\r\n", *pieces], end


def test_any_exchange_is_the_same_through_both_doors() -> None:
    """Methods, targets, fields, bodies, statuses, framings and endings in any combination."""
    pair = Doors()

    @THROUGH_THE_GATEWAY
    @given(exchange=_exchanges())
    def holds(exchange: tuple[list[bytes], list[bytes], str]) -> None:
        sent, said, end = exchange
        refused = b"/." in sent[0] or b"%2" in sent[0].lower()  # perhaps a dot segment: no server is asked then
        pair.compare(sent, () if refused else said, "" if refused else end)

    holds()
