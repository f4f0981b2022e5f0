"""Hypothesis strategies that several tests share: splits, heads, broken bytes."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st

#: An example through the whole gateway takes about a millisecond; the budget of a test is a tenth of a second.
THROUGH_THE_GATEWAY = settings(max_examples=60, deadline=None)

cuts = st.lists(st.integers(0, 10_000), max_size=8)


def split(whole: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at places (taken modulo their length) into pieces that are not empty."""
    ends = [0, *sorted({place % len(whole) for place in places} - {0}), len(whole)]
    return [whole[start:end] for start, end in pairwise(ends)]


# --- heads --------------------------------------------------------------------------------------------------------

#: A parser takes some microseconds an example.
PURE = settings(max_examples=75, deadline=None)

_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: What a field value may hold between its blanks (RFC 9110 section 5.5).
_LETTERS = bytes([*range(0x21, 0x7F), *range(0x80, 0x100)])

Fields = tuple[tuple[bytes, bytes], ...]


class Spoken(NamedTuple):
    """A head as somebody wrote it: the start line, and names and values in order."""

    start: bytes
    fields: Fields

    @property
    def raw(self) -> bytes:
        """Its bytes, up to the empty line."""
        lines = b"".join(b"%b: %b\r\n" % pair for pair in self.fields)
        return b"%b\r\n%b\r\n" % (self.start, lines)


tokens = st.text(_TOKEN, min_size=1, max_size=10).map(str.encode)
#: Names that nothing in the gateway knows, and some that it does.
names = st.sampled_from(
    b"X-A|x-a|X.y!|Accept|Content-Type|User-Agent|Cookie|Mcp-Session-Id|MCP-Protocol-Version|Mcp-Param-x|Via|TE|Vary|"
    b"Forwarded|X-Forwarded-For|X-Real-IP|Mcpgate-Error|Expect|Last-Event-ID|Sec-WebSocket-Key|Authorization|Origin|"
    b"X_Y|Set-Cookie|Location|Clear-Site-Data|Server|Content-Encoding|WWW-Authenticate|traceparent".split(b"|")
)
values = st.sampled_from(
    [
        b"",
        b"a",
        b"a b",
        b"a\tb",
        b"a  b",
        b"Content-Length: 5",
        b"chunked",
        b"close",
        b"a, b",
        b'"x; y"',
        b":",
        _LETTERS,
    ]
)
_plain_fields = st.tuples(names, values)
#: Now and then a name and a value of any letters that are allowed.
fields = st.one_of(
    _plain_fields, _plain_fields, st.tuples(tokens, st.lists(st.sampled_from(_LETTERS), max_size=8).map(bytes))
)
_GOOD_FRAMINGS: list[Fields] = [
    (),
    ((b"Content-Length", b"0"),),
    ((b"Content-Length", b"5"),),
    ((b"content-length", b"007"),),
    ((b"CONTENT-LENGTH", b"1234567890123456"),),
    ((b"Transfer-Encoding", b"chunked"),),
    ((b"transfer-encoding", b"Chunked"),),
]
_BAD_FRAMINGS: list[Fields] = [
    ((b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"5")),
    ((b"Content-Length", b"5"), (b"Content-Length", b"5")),
    ((b"Content-Length", b"5, 5"),),
    ((b"Content-Length", b"+5"),),
    ((b"Content-Length", b"12345678901234567"),),
    ((b"Transfer-Encoding", b"gzip, chunked"),),
]
#: Ways to say where a body ends; some are not to be believed.
framings = st.sampled_from([*_GOOD_FRAMINGS * 3, *_BAD_FRAMINGS])
connections = st.sampled_from(
    [
        (),
        ((b"Connection", b"close"),),
        ((b"Connection", b"Keep-Alive"),),
        ((b"Connection", b"keep-alive, X-A"), (b"X-A", b"1")),
        ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")),
        ((b"Connection", b"keep-alive"), (b"connection", b"close")),
    ]
)
targets = st.one_of(
    st.lists(st.sampled_from(bytes(range(0x21, 0x7F)).translate(None, b"\\#")), max_size=12).map(
        lambda text: b"/" + bytes(text)
    ),
    st.sampled_from([b"/mcp/x/sse?session_id=1", b"/a%2fb;c?d=%00", b"//", b"/?", b"http://localhost/a?b", b"*"]),
)


@st.composite
def _among(draw: st.DrawFn, lines: Fields) -> Fields:
    """Fields of one's own and those of the framing, in any order."""
    others = (*draw(framings), *draw(st.lists(fields, max_size=4)))
    place = draw(st.integers(0, len(others)))
    return (*others[:place], *lines, *others[place:])


@st.composite
def request_heads(draw: st.DrawFn) -> Spoken:
    """Request heads: nearly all good, with a Host, in any order."""
    method = draw(st.sampled_from([b"GET", b"POST", b"DELETE", b"OPTIONS", b"HEAD", b"PUT", b"PROPFIND"]))
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
    lines = ((b"Host", b"localhost"), *draw(connections))
    return Spoken(b"%b %b %b" % (method, draw(targets), version), draw(_among(lines)))


@st.composite
def answer_heads(draw: st.DrawFn) -> Spoken:
    """Heads of answers: nearly all good."""
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
    status = draw(st.sampled_from([b"200 OK", b"202 Accepted", b"204 ", b"304 Not Modified", b"404 a\tb \xe9", b"500"]))
    return Spoken(b"%b %b" % (version, status), draw(_among(draw(connections))))


@st.composite
def broken(draw: st.DrawFn, wholes: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with one byte, or two, put in, taken out or exchanged: mostly such as mean something to some reader."""
    whole = draw(wholes)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(range(len(whole) + 1)))  # integers() would mostly break the start
        strange = bytes([draw(st.one_of(st.sampled_from(b"\0\t\n\v\r \x0c:;,+0aF\x7f\x80\xa0"), st.integers(0, 255)))])
        how = draw(st.sampled_from(["put in", "take out", "exchange"]))
        behind = whole[place:] if how == "put in" else whole[place + 1 :]
        whole = whole[:place] + (b"" if how == "take out" else strange) + behind
    return whole
