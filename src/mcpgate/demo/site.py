# mypy: allow-untyped-calls
"""
A small MCP server that speaks all three eras on one listener, for a first run, for tests, and to read.

====================  ================  ==========================================================
``/sse``              GET               HTTP+SSE of 2024-11-05: the stream, ``endpoint`` event first
``/messages``         POST              its other half; answers come on the stream
``/mcp``              POST GET DELETE   streamable HTTP with sessions, 2025-03-26 to 2025-11-25
``/mcp``              POST              stateless 2026-07-28, told apart request by request
====================  ================  ==========================================================

This file is the HTTP half: which request goes where, and how an answer becomes a response. What is answered
is decided in ``protocol``, what tools there are in ``tools``; what outlives a request is in
``sessions`` and ``streams``. ``python -m mcpgate.demo --port 8790`` runs it alone.

It answers to every Host and Origin and knows no authentication: bind it to loopback, as ``__main__`` does, and
let the gateway in front of it do the checking.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import IO, Final, cast

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.server import Request as HttpRequest

from mcpgate.demo.messages import ErrorCode, Notice, Refused, Reply, Request, Stream, read_message
from mcpgate.demo.protocol import (
    SESSION_VERSIONS,
    answer_in_session,
    answer_stateless,
    is_stateless,
    negotiate,
)
from mcpgate.demo.sessions import Conversation, Session, Sessions, read_position
from mcpgate.demo.streams import EventStream, Playback
from mcpgate.demo.tools import Headers

#: What both official SDK servers accept.
MAX_BODY_BYTES: Final = 4 * 1024 * 1024

#: An action writes its response itself, now or later.
Action = Callable[[HttpRequest], None]


class Endpoint(Resource):
    """One address. ``actions`` says what each HTTP method does there; what is refused becomes JSON-RPC."""

    isLeaf = True

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self.clock = clock

    def actions(self) -> Mapping[bytes, Action]:
        raise NotImplementedError

    def render(self, request: HttpRequest) -> int:
        actions = self.actions()
        try:
            action = actions.get(request.method)
            if action is None:
                raise refused_method(request, b", ".join(actions))
            action(request)
        except Refused as refused:
            respond(request, refused.reply())
        return NOT_DONE_YET


class SseEndpoint(Endpoint):
    """``/sse``: a GET begins a conversation, and the conversation ends with it."""

    def __init__(self, clock: IReactorTime, session_ids: Callable[[], str]) -> None:
        super().__init__(clock)
        self._session_ids = session_ids
        self.open: dict[str, tuple[EventStream, Conversation]] = {}

    def actions(self) -> Mapping[bytes, Action]:
        return {b"GET": self._begin}

    def _begin(self, request: HttpRequest) -> None:
        session_id = self._session_ids()
        stream = EventStream(request, self.clock, left=lambda: self._forget(session_id))
        self.open[session_id] = (stream, Conversation(self.clock))
        # A path without a host, as all real servers send it: behind a gateway only the client knows the host.
        stream.announce(f"/messages?session_id={session_id}")

    def _forget(self, session_id: str) -> None:
        _, conversation = self.open.pop(session_id)
        conversation.close()


class MessagesEndpoint(Endpoint):
    """``/messages``: a POST is only acknowledged here; its answer is an event on the stream of ``/sse``."""

    def __init__(self, clock: IReactorTime, sse: SseEndpoint) -> None:
        super().__init__(clock)
        self._sse = sse

    def actions(self) -> Mapping[bytes, Action]:
        return {b"POST": self._post}

    def _post(self, request: HttpRequest) -> None:
        session_id = request.args.get(b"session_id", [b""])[0].decode("ascii", "replace")
        if session_id not in self._sse.open:
            raise Refused(ErrorCode.INVALID_REQUEST, "no such session: GET /sse first", status=404)
        stream, conversation = self._sse.open[session_id]
        message = read_message(body_of(request))
        accept(request)
        if isinstance(message, Notice):
            conversation.heed(message)
            return
        answer = answer_in_session(message, headers_of(request))
        if isinstance(answer, Stream):
            conversation.begin(message.id, answer, say=stream.send, over=lambda: None)
        else:
            stream.send(answer.message)


class McpEndpoint(Endpoint):
    """``/mcp``: two eras on one address. A POST says which it is of; GET and DELETE need a session."""

    def __init__(self, clock: IReactorTime, session_ids: Callable[[], str]) -> None:
        super().__init__(clock)
        self._sessions = Sessions(clock, session_ids)
        #: Streamed answers of the stateless era that are under way.
        self.playbacks: set[Playback] = set()

    def actions(self) -> Mapping[bytes, Action]:
        return {b"POST": self._post, b"GET": self._get, b"DELETE": self._delete}

    def part(self) -> None:
        """The server stops: end each subscription as the specification wants it, with its result."""
        for playback in list(self.playbacks):
            playback.part()

    def _post(self, request: HttpRequest) -> None:
        message = read_message(body_of(request))
        if is_stateless(message, request.getHeader("mcp-protocol-version")):
            self._post_stateless(request, message)
        else:
            self._post_in_session(request, message)

    # --- stateless: nothing is remembered, and the response stream is the request's life ---

    def _post_stateless(self, request: HttpRequest, message: Request | Notice) -> None:
        if isinstance(message, Notice):  # this era has none; some clients send them still
            accept(request)
            return
        answer = answer_stateless(message, headers_of(request))
        if isinstance(answer, Stream):
            self._play_stateless(request, answer)
        else:
            respond(request, answer)

    def _play_stateless(self, request: HttpRequest, answer: Stream) -> None:
        def over() -> None:
            self.playbacks.discard(playback)
            stream.end()

        stream = EventStream(request, self.clock, left=lambda: playback.stop())
        playback = Playback(self.clock, answer, stream.send, over)
        self.playbacks.add(playback)

    # --- with sessions ---

    def _post_in_session(self, request: HttpRequest, message: Request | Notice) -> None:
        if isinstance(message, Request) and message.method == "initialize":
            session = self._sessions.open(negotiate(message))
            request.setHeader("mcp-session-id", session.id)
        else:
            session = self._sessions.find(request.getHeader("mcp-session-id"))
        if isinstance(message, Notice):
            session.conversation.heed(message)
            accept(request)
            return
        answer = answer_in_session(message, headers_of(request))
        if isinstance(answer, Stream):
            session.tell(message.id, answer, EventStream(request, self.clock))
        else:
            respond(request, answer)

    def _get(self, request: HttpRequest) -> None:
        session = self._session_of(request)
        last_event_id = request.getHeader("last-event-id")
        if last_event_id is None:
            session.listen(EventStream(request, self.clock))
        else:
            position = read_position(last_event_id)
            session.resume(position, EventStream(request, self.clock))

    def _delete(self, request: HttpRequest) -> None:
        self._sessions.close(self._session_of(request).id)
        request.setResponseCode(204)
        request.finish()

    def _session_of(self, request: HttpRequest) -> Session:
        """:raises Refused: 405 where the era or the request has no session, 404 for one that is unknown."""
        session_id = request.getHeader("mcp-session-id")
        version = request.getHeader("mcp-protocol-version")
        if session_id is None or version not in (None, *SESSION_VERSIONS):
            raise refused_method(request, b"POST")
        return self._sessions.find(session_id)


def body_of(request: HttpRequest) -> bytes:
    """:raises Refused: 413 for a body beyond the limit."""
    body = cast(IO[bytes], request.content).read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise Refused(ErrorCode.INVALID_REQUEST, f"more than {MAX_BODY_BYTES} bytes", status=413)
    return body


def headers_of(request: HttpRequest) -> Headers:
    """Every header line, names in lower case, values as ISO 8859-1 (RFC 9110 section 5.5)."""
    return [
        (name.decode("latin-1").lower(), value.decode("latin-1"))
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]


def respond(request: HttpRequest, reply: Reply) -> None:
    """Answer with one JSON-RPC message."""
    body = json.dumps(reply.message).encode()
    request.setResponseCode(reply.status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"content-length", b"%d" % len(body))
    request.write(body)
    request.finish()


def accept(request: HttpRequest) -> None:
    """Answer 202 without a body: taken, and nothing more to say here."""
    request.setResponseCode(202)
    request.setHeader(b"content-length", b"0")
    request.finish()


def refused_method(request: HttpRequest, allowed: bytes) -> Refused:
    """What to raise for a method that is not for this address (RFC 9110 section 15.5.6 wants ``Allow``)."""
    request.setHeader(b"allow", allowed)
    return Refused(ErrorCode.INVALID_REQUEST, f"only {allowed.decode()} here", status=405)


class DemoSite(Site):
    """The factory of the listener. Writes no access log: it runs inside the gateway, which has one."""

    def __init__(self, clock: IReactorTime, session_ids: Callable[[], str]) -> None:
        sse = SseEndpoint(clock, session_ids)
        self.mcp = McpEndpoint(clock, session_ids)
        root = Resource()
        root.putChild(b"sse", sse)
        root.putChild(b"messages", MessagesEndpoint(clock, sse))
        root.putChild(b"mcp", self.mcp)
        super().__init__(root, reactor=clock)

    def stopFactory(self) -> None:
        self.mcp.part()
        super().stopFactory()

    def log(self, request: object) -> None:
        pass


def demo_site(reactor_or_clock: IReactorTime, session_ids: Callable[[], str]) -> DemoSite:
    """
    Make a demo server to listen with; each has its own sessions.

    :param reactor_or_clock: what all pauses, keep-alives and timeouts are measured by.
    :param session_ids: called for each new session; visible ASCII, not to be guessed.
    """
    return DemoSite(reactor_or_clock, session_ids)
