"""Any twisted.web resource behind the pipeline: its answer is framed by our door, and disconnects reach it."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.ends import Message, answer_at, behind
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from mcpgate.downstream.local import LocalSite
from mcpgate.testing import Client, GatewayUnderTest, request

Render = Callable[[Any], Any]


class Page(Resource):
    """A resource that does what a test says, and notes its requests and their ends."""

    isLeaf = True

    def __init__(self, render: Render) -> None:
        super().__init__()
        self._render = render
        self.requests: list[Request] = []
        self.ends: list[str] = []

    def render(self, request: Any) -> Any:
        self.requests.append(request)
        request.notifyFinish().addCallbacks(lambda _: self.ends.append("done"), lambda _: self.ends.append("lost"))
        return self._render(request)


def _behind_a_door(page: Page) -> GatewayUnderTest:
    gate = GatewayUnderTest()
    behind(gate, LocalSite(Site(page, reactor=gate.reactor, parsePOSTFormSubmission=False)), b"/own")
    return gate


def _visit(render: Render, sent: bytes = request("GET", "/own")) -> tuple[Page, GatewayUnderTest, Client]:
    page = Page(render)
    gate = _behind_a_door(page)
    client = gate.connect()
    client.send(sent)
    return page, gate, client


def _ended(gate: GatewayUnderTest) -> list[tuple[int, str]]:
    return [(each.status, each.ended.value if each.ended else "") for each in gate.records]


# --- what the resource sees ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["counted", "chunked", "later"])
def test_the_request_arrives_whole(framing: str) -> None:
    """Method, raw target, fields and body, however it was framed."""
    seen: dict[str, Any] = {}

    def look(request: Any) -> bytes:
        seen.update(method=request.method, uri=request.uri, body=request.content.read(), path=request.path)
        seen["fields"] = {name: request.getHeader(name) for name in ("host", "authorization", "x-a", "origin")}
        return b"ok"

    fields = {"Authorization": "Bearer t", "X-A": "1", "Content-Type": "application/json", "Origin": "http://localhost"}
    body = b"x" * 150_000
    framed = {"Transfer-Encoding": "chunked"} if framing == "chunked" else {"Content-Length": str(len(body))}
    page = Page(look)
    gate = _behind_a_door(page)
    client = gate.connect()
    client.send(request("POST", "/own/a%2fb?c=%20", headers=fields | framed))
    if framing == "chunked":
        client.send(b"%x\r\n%b\r\n" % (len(body), body), b"0\r\n\r\n")
    else:
        client.send(*([body] if framing == "counted" else [body[:70_000], body[70_000:]]))
    assert answer_at(client, "POST").body == b"ok"
    assert seen == {
        "method": b"POST",
        "uri": b"/own/a%2fb?c=%20",
        "path": b"/own/a%2fb",
        "body": body,
        "fields": {"host": "localhost", "authorization": "Bearer t", "x-a": "1", "origin": "http://localhost"},
    }


def test_the_request_knows_its_client_and_its_exchange() -> None:
    """As the pipeline knows them."""
    page, gate, _ = _visit(lambda request: b"")
    (asked,) = page.requests
    assert asked.getClientAddress().host == "127.0.0.1"
    assert not asked.isSecure()
    assert asked.exchange is gate.records[0]  # type: ignore[attr-defined]


# --- what the client gets -----------------------------------------------------------------------------------------


def _told(client: Client, method: str = "GET") -> Message:
    return answer_at(client, method)


def test_a_short_answer_leaves_in_one_write() -> None:
    """Head and body together."""
    writes: list[bytes] = []
    page = Page(lambda request: b"hello")
    gate = _behind_a_door(page)
    client = gate.connect()
    client.transport.write = writes.append  # type: ignore[method-assign,assignment]
    client.send(request("GET", "/own"))
    assert len(writes) == 1
    assert writes[0].endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("length", [None, b"6"])
@pytest.mark.parametrize("old", [False, True])
def test_an_answer_in_pieces_is_framed_by_the_door(length: bytes | None, old: bool) -> None:
    """With a length if the resource knows it, else in chunks, or until close for an old client."""

    def later(request: Any) -> Any:
        if length is not None:
            request.setHeader(b"content-length", length)
        request.write(b"abc")
        return NOT_DONE_YET

    sent = request("GET", "/own")
    page, gate, client = _visit(later, sent.replace(b"HTTP/1.1", b"HTTP/1.0") if old else sent)
    page.requests[0].write(b"def")
    page.requests[0].finish()
    gate.settle()
    told = _told(client)
    assert (told.body, told.complete) == (b"abcdef", True)
    assert page.ends == ["done"]
    assert _ended(gate) == [(200, "complete")]


def test_pieces_of_unknown_length_arrive_as_they_are_written() -> None:
    """So an event feed works."""

    def begin(request: Any) -> Any:
        request.write(b"one")
        return NOT_DONE_YET

    page, _, client = _visit(begin)
    assert _told(client).body == b"one"
    page.requests[0].write(b"two")
    assert _told(client).body == b"onetwo"
    assert not _told(client).complete


def test_status_fields_and_phrase_are_the_resources() -> None:
    """But for what belongs to the framing, and the name of the software."""

    def render(request: Any) -> bytes:
        request.setResponseCode(418, b"Short And Stout")
        request.responseHeaders.addRawHeader(b"X-A", b"1")
        request.responseHeaders.addRawHeader(b"X-A", b"2")
        request.setHeader(b"connection", b"close")
        return b""

    _, gate, client = _visit(render)
    told = _told(client)
    assert (told.status, told.phrase, told["x-a"]) == (418, b"Short And Stout", b"1, 2")
    assert not {"server", "connection"} & {name.decode() for name, _ in told.fields}
    assert client.closed is None
    assert _ended(gate) == [(418, "complete")]


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(status: int) -> None:
    """Have none."""

    def render(request: Any) -> bytes:
        request.setResponseCode(status)
        return b""

    _, _, client = _visit(render)
    assert (_told(client).status, _told(client).complete, client.received[-4:]) == (status, True, b"\r\n\r\n")


def test_a_head_request_gets_the_head() -> None:
    """With the length that a GET would be told."""
    _, _, client = _visit(lambda request: b"hello", request("HEAD", "/own"))
    told = _told(client, "HEAD")
    assert (told.body, told["content-length"], told.complete) == (b"", b"5", True)


def test_one_visit_after_the_other_on_one_connection() -> None:
    """Pipelined, in order."""
    page, _, client = _visit(lambda request: request.uri, request("GET", "/own/1") + request("GET", "/own/2"))
    assert client.received.count(b"HTTP/1.1 200 ") == 2
    assert client.received.index(b"/own/1") < client.received.index(b"/own/2")
    assert page.ends == ["done", "done"]


# --- producers ----------------------------------------------------------------------------------------------------


@implementer(IPushProducer)
class Pushing:
    """Writes until it is paused."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self.paused = False
        self.stopped = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        self.stopped = True


@implementer(IPullProducer)
class Pulling(Pushing):
    """Writes one piece each time it is asked."""

    def __init__(self, request: Any) -> None:
        super().__init__(request)
        self.left = 5

    def resumeProducing(self) -> None:
        self.left -= 1
        self._request.write(b"x" * 10)
        if not self.left:
            self._request.unregisterProducer()
            self._request.finish()


def test_a_slow_client_pauses_a_push_producer() -> None:
    """And resumes it."""
    made: list[Pushing] = []

    def begin(request: Any) -> Any:
        made.append(Pushing(request))
        request.registerProducer(made[0], True)
        return NOT_DONE_YET

    page, _, client = _visit(begin)
    client.stop_reading()
    page.requests[0].write(b"x" * 100_000)
    assert made[0].paused
    client.read_on()
    assert not made[0].paused


def test_a_pull_producer_is_pulled_to_its_end() -> None:
    """Such as twisted.web's own files."""

    def begin(request: Any) -> Any:
        request.registerProducer(Pulling(request), False)
        return NOT_DONE_YET

    page, gate, client = _visit(begin)
    gate.settle()
    assert (_told(client).body, _told(client).complete) == (b"x" * 50, True)
    assert page.ends == ["done"]


# --- endings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrote", [b"", b"abc"])
def test_a_client_that_leaves_is_told_to_the_resource(wrote: bytes) -> None:
    """At once; what it still does is harmless."""

    def begin(request: Any) -> Any:
        if wrote:
            request.write(wrote)
        return NOT_DONE_YET

    page, gate, client = _visit(begin)
    client.reset()
    assert page.ends == ["lost"]
    page.requests[0].write(b"late")
    assert _ended(gate) == [(200 if wrote else 0, "client_gone")]


def test_a_resource_that_raises_is_a_500(failures: list[str]) -> None:
    """In our form, without the traceback."""

    def render(request: Any) -> bytes:
        raise RuntimeError("secret detail")

    _, gate, client = _visit(render)
    told = _told(client)
    assert (told.status, told["content-type"]) == (500, b"application/json")
    assert b"secret detail" not in client.received
    assert len(gate.records) == 1
    assert failures


def test_a_resource_that_gives_up_in_the_middle_leaves_it_unfinished() -> None:
    """Not as if it had ended."""

    def begin(request: Any) -> Any:
        request.write(b"abc")
        return NOT_DONE_YET

    page, gate, client = _visit(begin)
    page.requests[0].loseConnection()
    gate.settle()
    assert (_told(client).body, _told(client).complete) == (b"abc", False)
    assert client.closed is not None
    assert len(gate.records) == 1


@pytest.mark.parametrize("sent", [request("POST", "/own", headers={"Content-Length": "10"}) + b"abc"])
def test_a_body_that_never_ends_is_refused(sent: bytes) -> None:
    """The resource is never asked."""
    page, gate, client = _visit(lambda request: b"", sent)
    gate.advance(62)
    assert _told(client, "POST").status == 408
    assert page.requests == []
    assert len(gate.records) == 1


def test_a_body_over_the_bound_is_refused_while_it_comes() -> None:
    """In chunks nobody knows before."""
    chunk = b"c350\r\n" + b"x" * 50_000 + b"\r\n"
    page, _, client = _visit(lambda request: b"", request("POST", "/own", headers={"Transfer-Encoding": "chunked"}))
    client.send(*[chunk] * 5)
    assert _told(client, "POST").status == 413
    assert page.requests == []
