"""An operator says which tools may be called: nothing else gets through, however the call is written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tests.ends import LAST_CHUNK, answer_at, answers, asked, chunked, request_at, requests, server
from tests.guests import HANDSHAKE, SWITCHING, bearer, call, entries, known, message, post, reload, served, visit
from tests.policy.signers import document, signer

from mcpgate.exchange import Ended
from mcpgate.testing import GatewayUnderTest, answer, request

DENIES = "tools: {deny: [rm, 'drop_*']}"
ADD, RM = call("add"), call("rm", 7)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
STATELESS = {"MCP-Protocol-Version": "2026-07-28"}


def _gate(more: str = DENIES, top: str = "") -> GatewayUnderTest:
    """A gateway with one server ``x``, by default open to all, with two rules."""
    return GatewayUnderTest(f"{top}\n{server(more)}")


def _is_denied(gate: GatewayUnderTest, sent: bytes) -> bool:
    """Whether a call is answered as that of an unknown tool, and goes nowhere; else it must have arrived."""
    seen = visit(gate, sent)
    assert seen.status == 200
    if seen.arrived is not None:
        return False
    assert seen.answer.json["error"]["code"] == -32602
    return True


# --- who may call what --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id_", [7, "seven", 0, -3, 1.5, ""])
def test_a_denied_tool_is_answered_as_an_unknown_one(id_: int | str | float) -> None:
    """The answer is the protocol's own, to this call, and nothing in it tells that a gateway spoke."""
    gate = _gate()
    seen = visit(gate, post(call("rm", id_)))
    assert seen.arrived is None
    assert seen.status == 200
    assert seen.answer["content-type"] == b"application/json"
    assert seen.answer.json == {
        "jsonrpc": "2.0",
        "id": id_,
        "error": {"code": -32602, "message": "Unknown tool: rm"},
    }
    assert [name for name, _ in seen.answer.fields if name.startswith((b"mcpgate", b"retry", b"ratelimit"))] == []
    assert gate.peers == []


def test_the_log_knows_better() -> None:
    """There the call stands as refused, with the reason."""
    gate = _gate()
    visit(gate, post(RM))
    record = gate.records[-1]
    assert (record.ended, record.error and record.error.reason) == (Ended.REFUSED, "tool_denied")


def test_an_admitted_call_arrives_as_it_was_written() -> None:
    """Byte for byte, whatever its form."""
    body = b' {"method" :"tools/call",\n"id":1.50,"params":{"arguments":{"a":"\\u00e9"},"name":"add"}}\n'
    seen = visit(_gate(), post(body))
    assert seen.arrived is not None
    assert seen.arrived.body == body
    assert seen.arrived["content-length"] == b"%d" % len(body)


@pytest.mark.parametrize(
    ("of_server", "of_token", "admitted", "denied"),
    [
        ("deny: [rm]", "", {"add", "rmdir", "RM"}, {"rm"}),
        ("deny: ['drop_*']", "", {"add", "drop"}, {"drop_", "drop_all"}),
        ("allow: [add]", "", {"add"}, {"rm", "adder"}),
        ("allow: []", "", set(), {"add", "rm"}),
        ("allow: ['a*'], deny: [add]", "", {"aid"}, {"add", "rm"}),
        ("", "allow: [add]", {"add"}, {"rm"}),
        ("", "deny: [rm]", {"add"}, {"rm"}),
        ("", "allow: ['x:add']", {"add"}, {"rm"}),
        ("", "allow: ['*:add']", {"add"}, {"rm"}),
        ("", "allow: ['y:*']", set(), {"add", "rm"}),
        ("", "deny: ['y:*', 'x:rm']", {"add"}, {"rm"}),
        ("", "allow: ['*'], deny: ['x:*']", set(), {"add", "rm"}),
        ("allow: [add]", "allow: [rm]", set(), {"add", "rm"}),
        ("deny: [rm]", "allow: ['*']", {"add"}, {"rm"}),
        ("allow: ['*']", "deny: [rm]", {"add"}, {"rm"}),
    ],
)
def test_server_and_token_must_both_admit_a_tool(
    of_server: str, of_token: str, admitted: set[str], denied: set[str]
) -> None:
    """What one of them denies stays denied, whatever the other says."""
    gate = _gate(f"tools: {{{of_server}}}", known(alice=f"tools: {{{of_token}}}"))
    for name in admitted | denied:
        assert _is_denied(gate, post(call(name), "alice")) is (name in denied), name


def test_the_rights_of_one_guest_are_not_those_of_another() -> None:
    """Also on servers that they share, and one after the other."""
    gate = _gate("", known(alice="tools: {allow: [add]}", bob="tools: {allow: [rm]}", carol=""))
    for _ in range(2):
        told = [_is_denied(gate, post(body, guest)) for guest in ("alice", "bob", "carol") for body in (ADD, RM)]
        assert told == [False, True, True, False, False, False]


def test_the_rules_of_one_server_are_not_those_of_another() -> None:
    """Each has its own list."""
    two = server("tools: {deny: [rm]}") + '  - {name: y, upstreams: [{url: "http://127.0.0.1:3011"}]}\n'
    gate = GatewayUnderTest(two)
    assert _is_denied(gate, post(RM))
    assert not _is_denied(gate, post(RM, target="/mcp/y/mcp"))


@pytest.mark.parametrize(
    ("claim", "admitted"),
    [
        (["x:add"], {"add"}),
        (["add", "rm"], {"add"}),
        (["*"], {"add"}),
        ([], set()),
        (None, set()),
        ({"add": True}, set()),
        ([1, None], set()),
        ("y:add", set()),
    ],
)
def test_a_claim_says_which_tools_the_holder_may_call(claim: object, admitted: set[str], tmp_path: Path) -> None:
    """With the rules of server and issuer on top; without the claim, or with one that is no list, none at all."""
    keys = tmp_path / "keys.json"
    keys.write_bytes(document(signer().jwk()))
    issuer = (
        "auth:\n  jwt:\n    - {issuer: 'https://as.example', audience: 'https://gate.example', tools_claim: mcp_tools,\n"
        f"       tools: {{deny: [sub]}}, jwks_file: '{keys}'}}\n"
    )
    gate = _gate(top=issuer)
    bearing = signer().token({"mcp_tools": claim}).decode()
    for name in ("add", "sub", "rm"):
        sent = post(call(name), Authorization=f"Bearer {bearing}")
        assert _is_denied(gate, sent) is (name not in admitted), name


# --- however it is sent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["/mcp/x", "/mcp/x/", "/mcp/x/mcp?a=b", "/mcp/x/message?sessionId=1", "/mcp/x/any/%2e"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET", "OPTIONS", "REPORT"])
def test_no_path_and_no_method_leads_around_the_rules(method: str, target: str) -> None:
    """A server may take messages anywhere, so every body is looked at."""
    seen = visit(_gate(), request(method, target, RM))
    assert seen.arrived is None
    assert seen.status in (200, 400)


@pytest.mark.parametrize(
    "batch",
    [[RM], [ADD, RM], [RM, ADD], [message("ping"), ADD, call("drop_all"), ADD], [call("rm", None)]],
)
def test_a_batch_with_a_denied_call_goes_nowhere(batch: list[bytes]) -> None:
    """Not even the rest of it."""
    seen = visit(_gate(), post(b"[%b]" % b",".join(batch)))
    assert (seen.status, seen.arrived) == (200, None)
    assert seen.answer.json["error"]["code"] == -32602


def test_a_batch_of_admitted_calls_passes_as_it_is() -> None:
    """As every other message."""
    body = b"[ %b, %b ,%b]" % (ADD, message("tools/list", "a"), message("notifications/initialized", None))
    seen = visit(_gate(), post(body))
    assert seen.arrived is not None
    assert seen.arrived.body == body


def test_a_denied_call_without_an_id_goes_nowhere_either() -> None:
    """Some servers act on notifications."""
    assert _is_denied(_gate(), post(call("rm", None)))


@pytest.mark.parametrize(
    "body",
    [
        message("tools/list"),
        message("ping"),
        message("prompts/get", name="rm"),
        message("resources/read", uri="rm"),
        message("notifications/progress", None, name="rm"),
        message("initialize", clientInfo={"name": "rm"}),
        b'{"jsonrpc":"2.0","id":1,"result":{"name":"rm"}}',
        call("add").replace(b"{}", b'{"name": "rm", "method": "tools/call"}'),
    ],
)
def test_other_messages_are_not_held_back(body: bytes) -> None:
    """A name that is denied as a tool may stand everywhere else."""
    seen = visit(_gate("tools: {allow: [add]}"), post(body))
    assert seen.arrived is not None
    assert seen.arrived.body == body


@pytest.mark.parametrize("sent", [request("GET"), request("DELETE"), request("POST"), request("HEAD")])
def test_requests_without_a_body_pass(sent: bytes) -> None:
    """There is nothing in them to look at."""
    assert visit(_gate(), sent, answer(b"")).arrived is not None


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"grant_type=refresh_token&name=rm"),
        ("text/plain", b"tools/call rm"),
        ("application/octet-stream", bytes(range(0x80, 0x100))),
    ],
)
def test_what_is_no_message_to_anybody_passes(media_type: str, body: bytes) -> None:
    """A server's own forms and files are none of our business."""
    seen = visit(_gate(), post(body, Content_Type=media_type))
    assert seen.arrived is not None
    assert seen.arrived.body == body


# --- bodies that two readers could read differently ----------------------------------------------------------------

AMBIGUOUS = [
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","name":"rm"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"},"params":{"name":"rm"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"rm"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":{"b":1,"b":2}}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","\\u006eame":"rm"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","Name":"rm"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"rm"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","Params":{"name":"rm"},"params":{"name":"add"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["rm"]}}',
    b'{"jsonrpc":"2.0","id":1,"method":["tools/call"],"params":{"name":"rm"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm "}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["rm"]}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm"}} x',
    b'{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm"}}',
    b'{"jsonrpc":"2.0","id":NaN,"method":"tools/call","params":{"name":"rm"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"r\\ud800m"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"r\xffm"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm"},}',
    b"{'jsonrpc':'2.0','id':1,'method':'tools/call','params':{'name':'rm'}}",
    b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm"}}',
    RM.decode().encode("utf-16"),
    RM.decode().encode("utf-16-le"),
    RM.decode().encode("utf-32"),
    b"/* */" + RM,
    b"[]",
    b"[[%b]]" % RM,
    b"[%b, 1]" % RM,
    b"[" * 100_000,
    b'{"a":' * 40_000,
    json.dumps(RM.decode()).encode(),
]  # fmt: skip


@pytest.mark.parametrize("body", AMBIGUOUS)
def test_a_body_that_has_two_meanings_is_refused_where_a_right_depends_on_it(body: bytes) -> None:
    """With 400 and the reason, never forwarded; where no right depends on it, it passes as it is."""
    seen = visit(_gate(), post(body))
    assert (seen.status, seen.reason, seen.arrived) == (400, "ambiguous_body", None)
    assert b"rm" not in seen.answer.json["error"]["message"].encode()
    plain = visit(_gate(""), post(body))
    assert plain.arrived is not None
    assert plain.arrived.body == body


def _nested(levels: int) -> bytes:
    """An admitted call with that many levels of objects and arrays."""
    inner = b"[" * (levels - 2) + b"]" * (levels - 2)
    return b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":%b}}' % inner


def test_sixty_five_levels_are_one_too_many() -> None:
    """Readers give up at different depths."""
    assert visit(_gate(), post(_nested(64))).arrived is not None
    seen = visit(_gate(), post(_nested(65)))
    assert (seen.status, seen.reason, seen.arrived) == (400, "ambiguous_body", None)


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"Content_Encoding": "gzip"}, gzip.compress(RM, mtime=0)),
        ({"Content_Encoding": "gzip"}, RM),
        ({"Content_Encoding": "br"}, b"grant_type=x"),
        ({"Content_Type": "application/json; charset=utf-7"}, RM.replace(b"rm", b"r+AG0-")),
        ({"Content_Type": "application/json;charset=utf-16"}, ADD),
        ({"Content_Type": "application/json; charset=utf-8; charset=utf-16"}, ADD),
    ],
)
def test_a_body_in_other_bytes_or_letters_is_refused(fields: dict[str, str], body: bytes) -> None:
    """What a server would decode and we cannot read is 415; where no right depends on it, it passes."""
    seen = visit(_gate(), post(body, **fields))
    assert (seen.status, seen.reason, seen.arrived) == (415, "encoded_body", None)
    assert visit(_gate(""), post(body, **fields)).arrived is not None


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"'])
def test_utf8_may_be_said(charset: str) -> None:
    """Many clients do."""
    assert visit(_gate(), post(ADD, Content_Type=f"application/json; charset={charset}")).arrived is not None


# --- header and body ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"Mcp_Method": "tools/call", "Mcp_Name": "rm"},
        {"Mcp_Method": "ping", "Mcp_Name": "add"},
        {"Mcp_Name": "ADD"},
        {"Mcp_Name": "=?base64?cm0=?="},
        {"Mcp_Name": "=?base64?!!?="},
        {"Mcp_Method": ""},
    ],
)
def test_headers_that_say_something_else_than_the_body_are_refused(fields: dict[str, str]) -> None:
    """A server that trusts them, and one that trusts the body, must act on the same thing (2026-07-28)."""
    seen = visit(_gate(), post(ADD, **STATELESS, **fields))
    assert (seen.status, seen.reason, seen.arrived) == (400, "header_mismatch", None)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Mcp_Method": "tools/call"},
        {"Mcp_Method": "tools/call", "Mcp_Name": "add"},
        {"Mcp_Name": "=?base64?YWRk?="},
    ],
)
def test_headers_that_agree_pass(fields: dict[str, str]) -> None:
    """Wrapped or not; what is not there contradicts nothing."""
    assert visit(_gate(), post(ADD, **STATELESS, **fields)).arrived is not None


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
def test_headers_alone_open_nothing(version: str) -> None:
    """What counts is the body, also for clients that say they are old."""
    seen = visit(_gate(), post(RM, Mcp_Method="tools/call", Mcp_Name="add", MCP_Protocol_Version=version))
    assert seen.arrived is None


# --- bodies that come slowly, or are too large ------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["counted", "chunked"])
def test_nothing_is_forwarded_before_the_body_is_whole(framing: str) -> None:
    """Then it goes in one piece, with its length, however it came."""
    gate = _gate()
    client = gate.connect()
    pieces = [ADD[:9], ADD[9:30], ADD[30:]]
    if framing == "counted":
        client.send(request(headers={"Content-Length": str(len(ADD)), "Content-Type": "application/json"}))
    else:
        client.send(request(headers=CHUNKED))
        pieces = [chunked(piece) for piece in pieces] + [LAST_CHUNK]
    for piece in pieces:
        assert gate.peers == []
        client.send(piece)
    seen = request_at(gate.upstream())
    assert (seen.body, seen.complete, seen["content-length"]) == (ADD, True, b"%d" % len(ADD))
    assert "transfer-encoding" not in seen
    gate.upstream().send(answer(b"sum"))
    assert answer_at(client, "POST").body == b"sum"
    assert gate.records[-1].bytes_in == len(ADD)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_denied_call_in_pieces_is_denied(size: int) -> None:
    """Segments and chunks hide nothing."""
    gate = _gate()
    whole = request(headers=CHUNKED) + chunked(*(RM[at : at + 3] for at in range(0, len(RM), 3))) + LAST_CHUNK
    client = gate.connect()
    client.send(*(whole[at : at + size] for at in range(0, len(whole), size)))
    told = answer_at(client, "POST")
    assert (told.status, told.json["id"], gate.peers) == (200, 7, [])
    assert client.closed is None


def test_a_body_that_never_ends_is_given_up() -> None:
    """As everywhere else."""
    gate = _gate(top="http: {body_timeout: 2s}")
    client = gate.connect()
    client.send(request(headers={"Content-Length": "50"}), b'{"jso')
    gate.advance(3)
    assert answer_at(client, "POST").status == 408
    assert gate.peers == []
    assert client.closed is not None


def test_a_body_that_ends_too_early_is_refused() -> None:
    """A prefix of a body is not a body."""
    gate = _gate()
    client = gate.connect()
    client.send(request(headers={"Content-Length": str(len(ADD) + 1)}) + ADD)
    client.close()
    assert answer_at(client, "POST").status == 400
    assert gate.peers == []


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_a_client_that_leaves_within_its_body_leaves_nothing_behind(leave: str) -> None:
    """No call is made, and the exchange is recorded once."""
    gate = _gate()
    client = gate.connect()
    client.send(request(headers=CHUNKED) + b"5\r\n{")
    getattr(client, leave)()
    gate.advance(70)
    assert gate.peers == []
    assert len(gate.records) == 1
    assert not gate.gateway.door.connections


LARGE = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":"%b"}}}' % (b"x" * 3000)


def test_what_is_too_large_to_look_at_is_refused_by_its_head() -> None:
    """Before a byte of the body is read, and without an invitation to send it."""
    gate = _gate(top="http: {max_inspect_bytes: 1KiB}")
    client = gate.connect()
    client.send(request(headers={"Content-Length": "1025", "Expect": "100-continue"}))
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"], told.interim) == (413, b"body_too_large_to_check", [])
    assert client.closed is not None
    assert gate.peers == []


def test_a_chunked_body_is_refused_where_it_becomes_too_large() -> None:
    """Its length is not known before."""
    gate = _gate(top="http: {max_inspect_bytes: 1KiB}")
    client = gate.connect()
    client.send(request(headers=CHUNKED), chunked(LARGE[:1024]))
    assert client.received == b""
    client.send(chunked(LARGE[1024:1025]))
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"]) == (413, b"body_too_large_to_check")
    assert client.closed is not None
    assert gate.peers == []


@pytest.mark.parametrize("together", [True, False])
def test_the_bound_is_the_same_whether_the_body_comes_with_its_head_or_later(together: bool) -> None:
    """How the bytes were cut on their way decides nothing."""
    gate = _gate(top="http: {max_inspect_bytes: 1KiB}")
    head, _, body = post(LARGE).partition(b"\r\n\r\n")
    client = gate.connect()
    client.send(*([head + b"\r\n\r\n" + body] if together else [head + b"\r\n\r\n", body]))
    assert answer_at(client, "POST").status == 413
    assert gate.peers == []


def test_a_body_of_exactly_the_bound_is_looked_at() -> None:
    """Counted and in chunks."""
    gate = _gate(top=f"http: {{max_inspect_bytes: {len(LARGE)}}}")
    assert visit(gate, post(LARGE)).arrived is not None
    assert visit(gate, request(headers=CHUNKED) + chunked(LARGE) + LAST_CHUNK).arrived is not None


def test_large_bodies_pass_where_nothing_depends_on_them() -> None:
    """The bound is for those that are looked at; there they stream."""
    gate = _gate("", top="http: {max_inspect_bytes: 1KiB}")
    client, peer = asked(gate, request(headers={"Content-Length": "100000"}))
    client.send(b"x" * 50_000)
    assert peer.received.endswith(b"x" * 50_000)


def test_a_servers_own_bound_comes_first() -> None:
    """What it does not admit is never looked at."""
    seen = visit(_gate(DENIES + "\nmax_body_bytes: 100"), post(LARGE))
    assert (seen.status, seen.reason) == (413, "body_too_large")


def test_requests_behind_a_call_wait_for_its_end() -> None:
    """A body that is held back, or refused, is taken out of the stream to its last byte."""
    gate = _gate()
    client = gate.connect()
    in_chunks = request(headers=CHUNKED) + chunked(ADD[:5], ADD[5:]) + LAST_CHUNK
    client.send(in_chunks + post(RM) + post(call("add", 3)))
    assert [json.loads(seen.body)["id"] for seen in requests(gate.upstream().received)] == [1]
    gate.upstream().send(answer(b"1"))
    gate.upstream().send(answer(b"3"))
    told = answers(client.received, None, ["POST"] * 3)
    assert [(each.status, each.body[:1]) for each in told] == [(200, b"1"), (200, b"{"), (200, b"3")]
    assert [json.loads(seen.body)["id"] for peer in gate.peers for seen in requests(peer.received)] == [1, 3]


# --- Expect ---------------------------------------------------------------------------------------------------------


def test_a_client_is_asked_for_its_body_only_when_it_may_send_one() -> None:
    """Whoever has no token is refused without a 100 Continue."""
    gate = _gate(top=known(alice=""))
    head = {"Expect": "100-continue", "Content-Length": str(len(ADD)), "Content-Type": "application/json"}
    stranger = gate.connect()
    stranger.send(request(headers=head))
    assert answer_at(stranger, "POST").status == 401
    assert CONTINUE not in stranger.received
    guest = gate.connect()
    guest.send(request(headers=head | bearer("alice")))
    assert guest.received == CONTINUE
    assert gate.peers == []
    guest.send(ADD)
    seen = request_at(gate.upstream())
    assert (seen.body, "expect" in seen) == (ADD, False)
    gate.upstream().send(answer())
    told = answer_at(guest, "POST")
    assert (told.status, told.interim) == (200, [100])


# --- WebSocket ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "right"),
    [(DENIES, ""), ("tool_scopes: {rm: [admin]}", ""), ("", "tools: {deny: [rm]}"), ("", "tools: {allow: ['r*']}")],
)
def test_a_websocket_is_refused_where_tools_are_restricted(more: str, right: str) -> None:
    """Nobody reads what goes through it."""
    gate = _gate(more, known(alice=right, bob=""))
    seen = visit(gate, request("GET", "/mcp/x/ws", headers=HANDSHAKE | bearer("alice")))
    assert (seen.status, seen.reason, seen.arrived) == (403, "tunnel_rights", None)


def test_a_websocket_opens_where_no_tool_is_restricted() -> None:
    """For this guest and this server."""
    gate = _gate("", known(alice="tools: {deny: ['rm']}", bob=""))
    client, peer = asked(gate, request("GET", "/mcp/x/ws", headers=HANDSHAKE | bearer("bob")))
    peer.send(SWITCHING)
    assert client.received.startswith(b"HTTP/1.1 101 ")


# --- scopes ---------------------------------------------------------------------------------------------------------

SCOPED = "scopes: [use]\ntool_scopes: {'rm': [admin, write], 'w*': [write]}"


@pytest.mark.parametrize(
    ("held", "body", "needed"),
    [
        ("use", ADD, None),
        ("use", message("tools/list"), None),
        ("use", RM, ["admin", "use", "write"]),
        ("use, admin", RM, ["admin", "use", "write"]),
        ("use, admin, write", RM, None),
        ("'*'", RM, None),
        ("use", call("wipe"), ["use", "write"]),
        ("admin, write", RM, ["use"]),
        ("", message("ping"), ["use"]),
        ("use", b"[%b,%b]" % (ADD, call("wipe")), ["use", "write"]),
        ("use, write", b"[%b,%b]" % (call("wipe"), RM), ["admin", "use", "write"]),
    ],
)
def test_a_tool_may_need_scopes_of_its_own(held: str, body: bytes, needed: list[str] | None) -> None:
    """Who lacks one is told all that the call needs, so that a client can ask for them and come again."""
    seen = visit(_gate(SCOPED, known(alice=f"scopes: [{held}]")), post(body, "alice"))
    if needed is None:
        assert seen.arrived is not None
        return
    assert (seen.status, seen.reason, seen.arrived) == (403, "insufficient_scope", None)
    assert b'error="insufficient_scope"' in seen.answer["www-authenticate"]
    assert b'scope="%b"' % " ".join(needed).encode() in seen.answer["www-authenticate"]
    assert seen.answer.json["error"]["data"]["scopes"] == needed
    assert seen.answer.json["id"] == (None if body.startswith(b"[") else json.loads(body)["id"])


def test_a_denied_tool_is_not_given_away_by_its_scope() -> None:
    """Who may not know of a tool does not hear what it would need."""
    gate = _gate("tools: {deny: [rm]}\ntool_scopes: {rm: [admin]}", known(alice=""))
    assert _is_denied(gate, post(RM, "alice"))


# --- reload ---------------------------------------------------------------------------------------------------------


def test_rights_change_for_connections_that_are_open() -> None:
    """The next call of the same client, on the same connection, meets the new rules."""
    gate = _gate("", known(alice=""))
    client = gate.connect()
    for tools in ("", "allow: [add]", "", "deny: [rm]"):
        reload(gate, known(alice=f"tools: {{{tools}}}") + server())
        client.take()
        assert (served(gate, client, post(RM, "alice")) is None) is bool(tools)
        assert answer_at(client, "POST").status == 200


def test_a_call_that_waits_for_its_turn_meets_the_rules_of_the_moment_in_which_it_goes() -> None:
    """What is denied while it waits does not go."""
    limits = "limits: [{name: slow, key: [principal], rate: 1/s, burst: 1, wait: 5s}]\n"
    gate = GatewayUnderTest(limits + known(alice="") + server())
    visit(gate, post(ADD, "alice"))
    waiting = gate.connect()
    waiting.send(post(RM, "alice"))
    reload(gate, limits + "auth:\n" + entries(alice="tools: {deny: [rm]}") + server())
    before = len(gate.upstream().received)
    gate.advance(2)
    assert [len(peer.received) for peer in gate.peers] == [before]
    assert answer_at(waiting, "POST").json["error"]["code"] == -32602
