"""
HTTP/1.1 heads (RFC 9112), as strict toward upstreams as toward clients.

A caller cuts one head (`find_head_end`) and gives exactly those bytes to `parse_request` or `parse_answer`: a fresh
llhttp parser reads them, and the checks that llhttp leaves to its caller follow here. A reused parser would be 0.7 us
cheaper, but it fires the callbacks of everything pipelined and keeps state that can go wrong. Where a body ends is our
own count or `chunks.ChunkReader`: llhttp never says where a message ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

from mcpgate.errors import BadAnswer, BadRequest, GatewayError, HeadTooLarge, TargetTooLong
from mcpgate.wire import headers

CRLF = b"\r\n"
_VISIBLE = bytes(range(0x21, 0x7F))
#: A raw backslash is a slash to some readers of URLs, and ``#`` ends the path for others (WHATWG URL, section 4.4).
_TARGET = _VISIBLE.translate(None, b"\\#")
_PHRASE = b"\t " + _VISIBLE + bytes(range(0x80, 0x100))  # RFC 9112 section 4: reason-phrase
#: Of what was noted, that which is asked for after a stream has begun.
_RECORDED = (b"mcp-protocol-version", b"last-event-id")
#: `Content-Length` digits that are believed: more than any body has, and far below where int() complains.
LENGTH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bounds of one head: all its bytes, and its field lines."""

    max_bytes: int
    max_fields: int


@dataclass(slots=True)
class RequestHead:
    """
    One request head, checked.

    ``block`` holds the field lines that travel on (``b"Name: value\\r\\n"`` each); ``noted``, by lower-case name, the
    fields that we read. ``content_length`` is ``None`` without one; at most one of it and ``chunked`` is set. ``path``
    is the target without its query; ``has_body`` tells whether body bytes follow. ``decision`` is the pipeline's, to
    keep what depends on the head alone; ``shown``, likewise of the access log, what its last line said of it and how.
    """

    method: bytes
    target: bytes
    is_http11: bool
    block: bytes
    noted: dict[bytes, bytes]
    content_length: int | None = None
    chunked: bool = False
    keep_alive: bool = True
    upgrade: bytes = b""
    path: bytes = b""
    has_body: bool = False
    decision: object = None
    shown: tuple[tuple[object, ...], bytes] | None = None

    def with_length(self, content_length: int) -> RequestHead:
        """The same head with another body length."""
        return RequestHead(
            self.method, self.target, self.is_http11, self.block, self.noted, content_length, False,
            self.keep_alive, self.upgrade, self.path, content_length > 0, self.decision, self.shown,
        )  # fmt: skip

    def lighten(self) -> None:
        """Keep what the record of its exchange still needs; an open stream need not hold the rest (0.7 KiB)."""
        self.noted = {name: self.noted[name] for name in _RECORDED if name in self.noted}
        self.block, self.decision = b"", None

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits for ``100 Continue`` (HTTP/1.0 clients never get one, RFC 9110 section 10.1.1)."""
        return self.is_http11 and self.noted.get(b"expect", b"").lower() == b"100-continue"


@dataclass(slots=True)
class AnswerHead:
    """
    One answer head of an upstream, checked; fields as in `RequestHead`.

    ``answer`` is the relay's, to keep what it makes of a head that is the same for every client.
    """

    status: int
    phrase: bytes
    is_http11: bool
    block: bytes
    noted: dict[bytes, bytes]
    content_length: int | None = None
    chunked: bool = False
    keep_alive: bool = True
    cookies: list[bytes] = field(default_factory=list)
    is_event_stream: bool = False
    answer: object = None

    def with_length(self, content_length: int) -> AnswerHead:
        """The same head with another body length."""
        return AnswerHead(
            self.status, self.phrase, self.is_http11, self.block, self.noted, content_length,
            keep_alive=self.keep_alive, cookies=self.cookies, is_event_stream=self.is_event_stream,
        )  # fmt: skip


class _Fields:
    """
    What llhttp calls back with.

    The bound methods of list and dict are C: no Python frame per field (0.6 us less for ten fields than a method of
    ours). A dict forgets repeated names; the caller compares the counts and reads again with `_RepeatedFields`.
    """

    __slots__ = ("fields", "on_header", "on_status", "on_url", "url")

    def __init__(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.url: list[bytes] = []
        self.on_header: Callable[[bytes, bytes], object] = self.fields.setdefault
        self.on_url = self.on_status = self.url.append


class _RepeatedFields:
    """The slower collector, for heads in which one name stands several times in the same spelling."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self.on_header = lambda name, value: self.seen.append((name, value))


def carries_body(is_head: bool, status: int) -> bool:
    """Whether an answer may have a body at all (RFC 9112 section 6.3), whatever its fields say."""
    return not is_head and status not in (204, 304)


def find_head_end(buffer: bytes | bytearray, limits: HeadLimits, searched: int = 0) -> int:
    """
    Find where a head ends.

    :param searched: bytes that an earlier call has looked at, so that a head in many pieces is not searched anew.
    :returns: the index behind the empty line, or -1 while it is not there yet.
    :raises GatewayError: ``HeadTooLarge`` or ``TargetTooLong`` over the bound, ``BadRequest`` for what can never
        become a head (a line that ends in LF alone).
    """
    end = buffer.find(b"\r\n\r\n", max(0, searched - 3)) + 4
    if end > 3 and end <= limits.max_bytes:
        return end
    fresh = buffer[max(0, searched - 1) : limits.max_bytes]
    if searched and fresh[:1] == b"\n":
        fresh = fresh[1:]  # it was looked at with the byte before it
    if fresh.count(b"\n") != fresh.count(CRLF):
        raise BadRequest("a line ends in LF alone; HTTP/1.1 lines end in CRLF")
    if end > limits.max_bytes or len(buffer) > limits.max_bytes:
        if buffer.find(CRLF, 0, limits.max_bytes) < 0:
            raise TargetTooLong
        raise HeadTooLarge
    return -1


def parse_request(raw: bytes, limits: HeadLimits) -> RequestHead:
    """
    Read one request head.

    :param raw: exactly one head, from its first byte to its empty line.
    :raises GatewayError: with the status the client should see; the connection cannot go on after any of them.
    """
    seen = _Fields()
    parser = httptools.HttpRequestParser(seen)
    _feed(parser, raw, BadRequest)
    items = _items(seen, raw, limits, parser, BadRequest)
    line_end = raw.find(CRLF)
    version = raw[line_end - 9 : line_end]
    if version not in (b" HTTP/1.1", b" HTTP/1.0"):  # llhttp would take 0.9 and 2.0 too
        raise BadRequest("only HTTP/1.1 and HTTP/1.0 are spoken here")
    target = seen.url[0] if len(seen.url) == 1 else b"".join(seen.url)
    method = parser.get_method()
    if raw[:line_end] != b"%b %b%b" % (method, target, version):
        raise BadRequest("the request line has more than its three parts and two spaces")
    return request_of(method, target, version == b" HTTP/1.1", items)


def request_of(method: bytes, target: bytes, is_http11: bool, items: list[tuple[bytes, bytes]]) -> RequestHead:
    """
    Check and sort a request whose lines somebody has taken apart already (the other door).

    :raises BadRequest: as `parse_request`.
    """
    if not target or target.translate(None, _TARGET):
        raise BadRequest("the request target holds bytes that must be percent-encoded")
    noted: dict[bytes, bytes] = {}
    head = RequestHead(method, target, is_http11, _sift(items, headers.REQUEST, noted, BadRequest), noted)
    listed = noted.get(b"connection")
    if listed is not None:
        _settle_connection(head, listed)
    elif not is_http11:
        head.keep_alive = False
    _settle_framing(head, BadRequest)
    if target[:1] != b"/":
        _settle_target(head)
    if is_http11 and b"host" not in head.noted:
        raise BadRequest("an HTTP/1.1 request needs one Host field")
    head.path = head.target.partition(b"?")[0]
    head.has_body = head.chunked or bool(head.content_length)
    return head


def _settle_target(head: RequestHead) -> None:
    """Absolute form: the authority must be the Host's, and is taken off (RFC 9112 section 3.2.2)."""
    scheme, separator, rest = head.target.partition(b"://")
    if head.method == b"CONNECT" or head.target == b"*":
        return  # refused later, by method and by route
    authority, slash, path = rest.partition(b"/")
    same_host = authority.lower() == head.noted.get(b"host", b"").lower()
    if scheme.lower() not in (b"http", b"https") or not separator or not same_host:
        raise BadRequest("the request target must be a path, or an absolute URL of this very Host")
    head.target = slash + path or b"/"


def parse_answer(raw: bytes, limits: HeadLimits) -> AnswerHead:
    """
    Read one answer head of an upstream, an interim one too.

    :raises BadAnswer: for anything doubtful; the connection must not be used again.
    """
    if raw[:7] != b"HTTP/1." or not raw[9:12].isdigit() or raw[12:13] not in (b" ", b"\r"):
        raise BadAnswer(detail="no HTTP/1 status line")
    seen = _Fields()
    parser = httptools.HttpResponseParser(seen)
    _feed(parser, raw, BadAnswer)
    items = _items(seen, raw, limits, parser, BadAnswer)
    status = int(raw[9:12])
    if not 100 <= status <= 599:
        raise BadAnswer(detail=f"status {status}")
    noted: dict[bytes, bytes] = {}
    block = _sift(items, headers.ANSWER, noted, BadAnswer)
    phrase = raw[13 : raw.find(CRLF)]
    if phrase.translate(None, _PHRASE):
        raise BadAnswer(detail="control bytes in the status line")
    head = AnswerHead(status, phrase, raw[:8] == b"HTTP/1.1", block, noted)
    if b"set-cookie" in noted:
        head.cookies = [value for name, value in items if name.lower() == b"set-cookie"]
    options = headers.tokens(noted[b"connection"]) if b"connection" in noted else ()
    head.keep_alive = b"close" not in options and (head.is_http11 or b"keep-alive" in options)
    media_type = noted.get(b"content-type", b"").partition(b";")[0]
    head.is_event_stream = media_type.strip().lower() == b"text/event-stream"
    _settle_framing(head, BadAnswer)
    return head


def _feed(
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser, raw: bytes, fault: type[GatewayError]
) -> None:
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # the head is complete; what follows it is ours to read
    except httptools.HttpParserError as error:
        raise fault(detail=f"llhttp: {error}")


def _items(
    seen: _Fields,
    raw: bytes,
    limits: HeadLimits,
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser,
    fault: type[GatewayError],
) -> list[tuple[bytes, bytes]]:
    """
    The fields in order. There must be as many line ends as fields, and two more: so there is no folded line (RFC 9112
    section 5.2), no bare CR and no bare LF.
    """
    count = raw.count(b"\n") - 2
    if raw.count(b"\r") != count + 2:
        raise fault(detail="bare CR or LF in the head")
    if count > limits.max_fields:
        raise HeadTooLarge if fault is BadRequest else fault(detail="too many header fields")
    items = list(seen.fields.items())
    if len(items) == count:
        return items
    again = _RepeatedFields()
    _feed(type(parser)(again), raw, fault)
    if len(again.seen) != count:
        raise fault(detail="folded or broken header line")
    return again.seen


def _sift(
    items: list[tuple[bytes, bytes]], roles: headers.Roles, noted: dict[bytes, bytes], fault: type[GatewayError]
) -> bytes:
    """
    Sort the fields into those that travel on and those that we read, in one walk.

    :param noted: filled with the fields that we read.
    :returns: the lines that travel on, without those that `Connection` lists.
    """
    lines: list[bytes] = []
    usual, fate = roles.usual.get, roles.fate
    for name, value in items:
        travels, lower = usual(name) or fate(name)
        if travels:
            lines += (name, b": ", value, b"\r\n")
        if not lower:
            continue
        value = value.rstrip(b" \t")  # llhttp leaves what is no part of a value (RFC 9112 section 5)
        if lower in noted:
            if lower in headers.SINGLE:
                raise _told(fault, f"more than one {lower.decode('ascii', 'replace')} field")
            value = noted[lower] + b", " + value
        noted[lower] = value
    block = b"".join(lines)
    if b"connection" in noted:
        listed = noted[b"connection"].lower()
        if listed not in (b"", b"keep-alive", b"close", b"upgrade"):
            block = headers.without(block, {name for name in headers.tokens(listed) if headers.may_be_listed(name)})
    return block


def _told(fault: type[GatewayError], what: str) -> GatewayError:
    """A client reads what is wrong with its request; what is wrong with a server's answer is for the log."""
    return fault(what) if fault is BadRequest else fault(detail=what)


def _settle_connection(head: RequestHead, listed: bytes) -> None:
    """Keep-alive and upgrade (RFC 9112 section 9.3, RFC 9110 section 7.8)."""
    options = headers.tokens(listed)
    head.keep_alive = b"close" not in options and (head.is_http11 or b"keep-alive" in options)
    if b"upgrade" in options and head.is_http11:
        head.upgrade = head.noted.get(b"upgrade", b"").lower()


def _settle_framing(head: RequestHead | AnswerHead, fault: type[GatewayError]) -> None:
    """How the body ends (RFC 9112 section 6.3), refusing every form on which two readers could differ."""
    coding, length = head.noted.get(b"transfer-encoding"), head.noted.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise _told(fault, "Content-Length and Transfer-Encoding exclude each other")
        if coding.lower() != b"chunked" or not head.is_http11:
            raise _told(fault, "the only transfer coding is chunked, once, in HTTP/1.1")
        head.chunked = True
    elif length is not None:
        if not length.isdigit() or len(length) > LENGTH_DIGITS:
            raise _told(fault, "Content-Length must be one decimal number")
        head.content_length = int(length)
