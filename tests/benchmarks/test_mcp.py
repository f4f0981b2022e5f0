"""benchmarks.mcp_*: the MCP server of the benchmark keeps to its eras, and no wrong answer passes for a right one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import mcp_answers, mcp_load, mcp_server, mcp_upstream
from benchmarks.answers import BrokenAnswer
from benchmarks.kits import KITS
from benchmarks.peers.contextforge import ContextForge
from benchmarks.peers.fastmcp_proxy import FastmcpProxy
from benchmarks.peers.gateway import FULL
from benchmarks.peers.ground import SESSION_FIELD, Ground, McpPeer
from benchmarks.peers.mcp_proxy import McpProxy
from benchmarks.peers.nginx import Nginx
from benchmarks.peers.passing_mcp import Passing

GROUND = Ground(Path("/nowhere"), 8000, 8001, 9000, 1000)
ENDING = (ContextForge(), FastmcpProxy(), McpProxy())

_META: dict[str, Any] = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
_MODERN = b"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo"


def _post(server: mcp_server.Server, message: object, fields: bytes = b"Accept: */*") -> mcp_server.Answer:
    return server.respond(b"POST /mcp HTTP/1.1\r\n" + fields, json.dumps(message).encode())


def _message(method: str, params: dict[str, Any] | None = None, number: int | None = 1) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
    return message if number is None else {**message, "id": number}


def _call(text: str = "hi", **more: Any) -> dict[str, Any]:
    return _message("tools/call", {"name": "echo", "arguments": {"t": text}, **more})


def _greeted() -> tuple[mcp_server.Server, bytes]:
    server = mcp_server.Server()
    answer = _post(server, _message("initialize", {"protocolVersion": "2025-11-25"}))
    return server, answer.fields.strip()


def test_a_session_lasts_from_initialize_to_delete() -> None:
    """A client that has a session is answered with it; afterwards its session is not found."""
    server, session = _greeted()
    assert _post(server, _message("notifications/initialized", number=None), session).status == 202
    said = _post(server, _call("again"), session)
    assert said.message is not None
    assert said.message["result"] == {"content": [{"type": "text", "text": "again"}], "isError": False}
    assert server.respond(b"DELETE /mcp HTTP/1.1\r\n" + session, b"").status == 200
    assert _post(server, _call(), session).status == 404


def test_two_clients_have_two_sessions() -> None:
    """No session is given twice."""
    server, session = _greeted()
    assert _post(server, _message("initialize")).fields.strip() != session


def test_without_a_session_a_call_is_a_bad_request() -> None:
    """A client of the era of sessions that names none is told so, and one that makes one up is not found."""
    server, _ = _greeted()
    assert _post(server, _call()).status == 400
    assert _post(server, _call(), b"Mcp-Session-Id: mine").status == 404


def test_an_unknown_version_is_answered_with_the_newest_of_its_era() -> None:
    """A client that asks for what nobody speaks is offered what the server does speak."""
    answer = mcp_server.answer_to(_message("initialize", {"protocolVersion": "1999-01-01"}))
    assert answer["result"]["protocolVersion"] == "2025-11-25"


def test_the_stateless_era_needs_no_session() -> None:
    """A request that says everything itself is answered in the form of its era."""
    answer = _post(mcp_server.Server(), _call("again", **_META), _MODERN)
    assert answer.message is not None
    assert answer.message["result"]["resultType"] == "complete"
    assert answer.message["result"]["content"] == [{"type": "text", "text": "again"}]


@pytest.mark.parametrize(
    "fields",
    [
        _MODERN.replace(b"echo", b"rm"),
        _MODERN.replace(b"tools/call", b"tools/list"),
        b"MCP-Protocol-Version: 2026-07-28",
    ],
)
def test_a_head_that_contradicts_its_body_is_refused(fields: bytes) -> None:
    """Nobody can call one tool in the head and another in the body, nor leave the head out."""
    answer = _post(mcp_server.Server(), _call(**_META), fields)
    assert answer.message is not None
    assert (answer.status, answer.message["error"]["code"]) == (400, mcp_server.HEADER_MISMATCH)


def test_methods_of_one_era_are_unknown_in_the_other() -> None:
    """Without sessions nobody says initialize or ping, with them nobody discovers."""
    for method, stateless in (("initialize", True), ("ping", True), ("server/discover", False)):
        assert mcp_server.answer_to(_message(method), stateless)["error"]["code"] == mcp_server.METHOD_NOT_FOUND


def test_what_is_no_message_is_refused_not_answered() -> None:
    """Neither broken JSON nor a batch nor another address is taken for a call; a stream is not offered."""
    server, session = _greeted()
    assert server.respond(b"POST /mcp HTTP/1.1\r\n" + session, b"{").status == 400
    assert _post(server, [_call()], session).status == 400
    assert server.respond(b"POST /other HTTP/1.1\r\n" + session, b"{}").status == 404
    assert server.respond(b"GET /mcp HTTP/1.1\r\n" + session, b"").status == 405


def test_over_stdio_only_requests_are_answered() -> None:
    """One line in, one line out; a notification is taken in silence."""
    lines = [mcp_server.packed(each) for each in (_message("initialized", number=None), _call("a", x=1), _message("ping"))]
    first, second = mcp_upstream.spoken(lines)
    assert first.endswith(b"\n")
    assert json.loads(first)["result"]["content"][0]["text"] == "a"
    assert json.loads(second)["result"] == {}


def test_requests_are_cut_where_their_bodies_end() -> None:
    """Half a body is waited for, and what follows a whole one is the next request."""
    request = b"POST /mcp HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
    assert mcp_upstream.split_request(request[:-1]) is None
    assert mcp_upstream.split_request(request + b"GET") == (request[:-6], b"{}", b"GET")


_RESULT = {"content": [{"type": "text", "text": "hi"}]}
_JSON = json.dumps({"jsonrpc": "2.0", "id": 7, "result": _RESULT}).encode()
_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_JSON) + _JSON


def _stream(*events: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events) + b"0\r\n\r\n"


_STREAMED = _stream(
    b"id: 1\r\ndata:\r\n\r\n",
    b'event: message\r\ndata: {"jsonrpc":"2.0","method":"notifications/progress"}\r\n\r\n: ping\r\n\r\n',
    b"event: message\r\ndata: " + _JSON + b"\r\n\r\n",
)


@pytest.mark.parametrize("received", [_PLAIN, _STREAMED])
def test_an_answer_is_found_in_both_forms(received: bytes) -> None:
    """A peer may answer as JSON or as a stream, which may hold notifications and events without words before it."""
    reply = mcp_answers.read_reply(received)
    assert reply is not None
    assert reply.answer_to(7) == _RESULT


@given(st.sampled_from([_PLAIN, _STREAMED]).flatmap(lambda text: st.tuples(st.just(text), st.integers(0, len(text) - 1))))
def test_a_part_of_an_answer_is_none(cut: tuple[bytes, int]) -> None:
    """Wherever an answer is cut, the rest of it is waited for."""
    text, length = cut
    assert mcp_answers.read_reply(text[:length]) is None


@pytest.mark.parametrize(
    "received",
    [
        _PLAIN + b"H",
        _STREAMED + b"H",
        _PLAIN.replace(b"Content-Length", b"Content-Longth"),
        b"SSH-2.0\r\n\r\n",
        _STREAMED.replace(b"\r\n0\r\n\r\n", b"\r\nxyz\r\n\r\n"),
    ],
)
def test_what_is_no_single_answer_is_broken(received: bytes) -> None:
    """More than was asked for, an end nobody can know, or something else is never a figure."""
    with pytest.raises(BrokenAnswer):
        mcp_answers.read_reply(received)


@pytest.mark.parametrize(
    "received",
    [
        _PLAIN.replace(b'"id": 7', b'"id": 8'),
        _PLAIN.replace(b"result", b"errors"),
        _PLAIN.replace(b"200 OK", b"404 OK"),
        _PLAIN.replace(b'{"jsonrpc', b'["jsonrpc'),
        _stream(b"data: " + _JSON + b"\n\n", b'data: {"jsonrpc":"2.0","method":"notifications/late"}\n\n'),
        _stream(b"data: " + _JSON + b"\n\ndata: " + _JSON + b"\n\n"),
        _stream(b": nothing\n\n"),
    ],
)
def test_an_answer_to_something_else_is_broken(received: bytes) -> None:
    """Another id, an error, another status, no JSON, two answers or none: each ends the question."""
    reply = mcp_answers.read_reply(received)
    assert reply is not None
    with pytest.raises(BrokenAnswer):
        reply.answer_to(7)


def test_a_session_is_read_from_the_head() -> None:
    """However the field is written, its value is the client's session; an answer without one has none."""
    reply = mcp_answers.read_reply(b"HTTP/1.1 202 Accepted\r\nmcp-session-id: a.b-c\r\nContent-Length: 0\r\n\r\n")
    assert reply is not None
    assert reply.session == b"a.b-c"
    plain = mcp_answers.read_reply(_PLAIN)
    assert plain is not None
    assert plain.session is None


@pytest.mark.parametrize(
    "result",
    [
        {"content": [{"type": "text", "text": "ho"}]},
        {"content": [{"type": "text", "text": "hi"}], "isError": True},
        {"content": [{"type": "text", "text": "hi"}] * 2},
        {},
    ],
)
def test_only_what_was_said_may_be_said_again(result: dict[str, Any]) -> None:
    """A text of another call, an error that carries the text, or more than the text is a broken answer."""
    mcp_load.check_echo(_RESULT, "hi")
    with pytest.raises(BrokenAnswer):
        mcp_load.check_echo(result, "hi")


def test_who_passes_mcp_is_asked_as_ever_but_without_the_shared_session() -> None:
    """The gateway's clients bring their token; their session the server gives to each."""
    fields = Passing(FULL).endpoint(GROUND).fields
    assert fields.startswith(b"Authorization: Bearer ")
    assert b"session" not in fields.lower()
    assert SESSION_FIELD not in Passing(Nginx()).endpoint(GROUND).fields


def test_only_peers_that_bring_their_own_server_are_asked_with_mcp() -> None:
    """The harness tells them from those that pass any bytes."""
    assert all(isinstance(peer, McpPeer) for peer in (*ENDING, Passing(Nginx())))
    assert not isinstance(Nginx(), McpPeer)


def test_each_peer_that_ends_mcp_has_a_pinned_kit() -> None:
    """Whoever lacks one is told the command that installs it, and gets what the report was made with."""
    for peer in ENDING:
        assert all("==" in pin for pin in KITS[peer.name].pins)


def test_nothing_of_this_run_leaks_into_their_environments() -> None:
    """Neither our packages nor the certificates of this machine change what they cost."""
    for peer in ENDING:
        assert dict(peer.environment()).items() >= {"PYTHONPATH": "", "SSL_CERT_FILE": ""}.items()
