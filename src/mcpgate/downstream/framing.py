"""How the body of an answer ends at the fast door (RFC 9112 section 6): a length, chunks, or the close."""

from __future__ import annotations

from typing import NamedTuple

from mcpgate.exchange import Answer


class FramedHead(NamedTuple):
    """The bytes of a head, and what they promise about the body and the connection."""

    data: bytes
    chunked: bool
    closes: bool


def lines_around_id(answer: Answer) -> tuple[bytes, bytes]:
    """
    What stands before and behind the request id in the head of an answer with a length, for an HTTP/1.1 client that
    stays. Kept with the answer, which may be given again: 0.2 us against 0.8.
    """
    before, _, behind = frame(answer, True, False, b"\0").data.partition(b"\0")
    answer.lines = before, behind
    return answer.lines


def frame(answer: Answer, is_http11: bool, closes: bool, request_id: bytes) -> FramedHead:
    """
    Write the head of an answer.

    :param request_id: by which this answer is found in the log.
    :param closes: the connection ends after this answer anyway. An HTTP/1.0 client, which knows no chunks, is told the
        end of a body without a length by the close.
    """
    chunked = False
    framing = b""
    if answer.length is not None:
        if answer.status != 204:
            framing = b"Content-Length: %d\r\n" % answer.length
    elif answer.has_body:
        chunked = is_http11
        closes = closes or not is_http11
        framing = b"Transfer-Encoding: chunked\r\n" if is_http11 else b""
    if closes:
        framing += b"Connection: close\r\n"
    elif not is_http11:
        framing += b"Connection: keep-alive\r\n"
    data = b"HTTP/1.1 %d %b\r\n%bX-Request-Id: %b\r\n%b\r\n" % (
        answer.status,
        answer.phrase,
        answer.block,
        request_id,
        framing,
    )
    return FramedHead(data, chunked, closes)
