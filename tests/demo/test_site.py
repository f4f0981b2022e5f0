"""The demo server over HTTP, in memory; one class of tests per era."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.demo.client import STATELESS, Demo, Json, notification, request

from mcpgate.demo.protocol import CAPABILITIES_KEY, SERVER_KEY, SUBSCRIPTION_KEY, VERSION_KEY
from mcpgate.demo.sessions import RING_EVENTS
from mcpgate.demo.site import MAX_BODY_BYTES
from mcpgate.demo.streams import KEEP_ALIVE_S


@pytest.fixture
def demo() -> Demo:
    return Demo()


def call(name: str, request_id: int | str = 1, /, **arguments: Any) -> Json:
    meta = {"progressToken": "p"}
    return request("tools/call", request_id, name=name, arguments=arguments, _meta=meta)


def counted(messages: list[Json]) -> list[int | str]:
    """What ``count`` said: the numbers of its progress, then its result."""
    return [
        message["params"]["progress"] if "method" in message else message["result"]["content"][0]["text"]
        for message in messages
    ]


class TestSse:
    """HTTP+SSE, 2024-11-05."""

    def test_endpoint_comes_first(self, demo: Demo) -> None:
        """The stream begins with the path to POST to, without a host."""
        stream = demo.send("GET", "/sse")
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
        assert stream.events == [{"event": "endpoint", "data": "/messages?session_id=s1"}]
        assert not stream.is_complete

    def test_answer_is_an_event(self, demo: Demo) -> None:
        """A POST is acknowledged with 202 and no body; its answer comes on the stream."""
        stream = demo.send("GET", "/sse")
        posted = demo.send("POST", "/messages?session_id=s1", call("add", 7, a=1, b=2))
        assert (posted.status, posted.body) == (202, b"")
        assert "content-type" not in posted.headers
        (answer,) = stream.read().messages
        assert (answer["id"], answer["result"]["content"][0]["text"]) == (7, "3")

    def test_progress_is_events(self, demo: Demo) -> None:
        """A tool that takes its time shows its progress on the same stream."""
        stream = demo.send("GET", "/sse")
        demo.send("POST", "/messages?session_id=s1", call("count", to=2, interval_s=1))
        demo.clock.pump([1, 1])
        assert counted(stream.read().messages) == [1, 2, "counted to 2"]

    def test_notification_cancels(self, demo: Demo) -> None:
        """After notifications/cancelled the call is neither continued nor answered."""
        stream = demo.send("GET", "/sse")
        demo.send("POST", "/messages?session_id=s1", call("count", 5, to=3, interval_s=1))
        cancelled = notification("notifications/cancelled", requestId=5)
        assert demo.send("POST", "/messages?session_id=s1", cancelled).status == 202
        demo.clock.pump([1] * 4)
        assert counted(stream.read().messages) == [1]

    def test_unknown_session(self, demo: Demo) -> None:
        """A POST to a session that is not there is 404."""
        assert demo.send("POST", "/messages?session_id=s1", request("ping")).status == 404
        assert demo.send("POST", "/messages", request("ping")).status == 404

    def test_session_ends_with_its_stream(self, demo: Demo) -> None:
        """When the client closes the stream, the session and everything under way in it is gone."""
        stream = demo.send("GET", "/sse")
        demo.send("POST", "/messages?session_id=s1", call("count", to=3, interval_s=1))
        stream.leave()
        assert demo.send("POST", "/messages?session_id=s1", request("ping")).status == 404
        assert demo.is_at_rest

    def test_keep_alive(self, demo: Demo) -> None:
        """A silent stream carries a comment every 15 s."""
        stream = demo.send("GET", "/sse")
        demo.clock.pump([KEEP_ALIVE_S, KEEP_ALIVE_S])
        assert stream.read().events[1:] == [{"": "keep-alive"}] * 2

    def test_other_methods(self, demo: Demo) -> None:
        """A POST to the stream's address, as clients probe for the newer transport, is 405."""
        refused = demo.send("POST", "/sse", request("initialize"))
        assert (refused.status, refused.headers["allow"]) == (405, "GET")


class TestSession:
    """Streamable HTTP with sessions, 2025-03-26 to 2025-11-25."""

    @pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
    def test_initialize(self, demo: Demo, version: str) -> None:
        """initialize answers in the client's version and opens a session."""
        opened = demo.send("POST", "/mcp", request("initialize", protocolVersion=version))
        assert (opened.status, opened.headers["mcp-session-id"]) == (200, "s1")
        assert opened.message["result"]["protocolVersion"] == version

    def test_request_is_answered_as_json(self, demo: Demo) -> None:
        """A call with an answer at once gets it as one JSON body."""
        answered = demo.in_session(demo.initialize(), call("echo", message="hé"))
        assert (answered.status, answered.headers["content-type"]) == (200, "application/json")
        assert answered.message["result"] == {"content": [{"type": "text", "text": "hé"}], "isError": False}

    def test_slow_request_is_answered_as_stream(self, demo: Demo) -> None:
        """A call that takes its time is answered as an event stream that ends behind the result."""
        answered = demo.in_session(demo.initialize(), call("count", to=2, interval_s=1))
        assert answered.headers["content-type"] == "text/event-stream"
        assert counted(answered.messages) == [1]
        demo.clock.pump([1, 1, 0])
        assert counted(answered.read().messages) == [1, 2, "counted to 2"]
        assert answered.is_complete

    def test_notification_is_accepted(self, demo: Demo) -> None:
        """Notifications, and responses to requests never sent, are 202 without a body."""
        session_id = demo.initialize()
        for message in (notification("notifications/initialized"), {"jsonrpc": "2.0", "id": 9, "result": {}}):
            accepted = demo.in_session(session_id, message)
            assert (accepted.status, accepted.body) == (202, b"")

    def test_unknown_method_is_no_lost_session(self, demo: Demo) -> None:
        """An unknown method is a JSON-RPC error with status 200; 404 would end the session."""
        answered = demo.in_session(demo.initialize(), request("server/discover"))
        assert (answered.status, answered.message["error"]["code"]) == (200, -32601)

    def test_session_missing_or_unknown(self, demo: Demo) -> None:
        """Without a session id a POST is 400, with an unknown one 404."""
        assert demo.send("POST", "/mcp", request("ping")).status == 400
        assert demo.in_session("never-issued", request("ping")).status == 404

    def test_delete_ends_the_session(self, demo: Demo) -> None:
        """DELETE ends the session, its streams and the calls under way; after it the id is unknown."""
        session_id = demo.initialize()
        counting = demo.in_session(session_id, call("count", to=9, interval_s=1))
        listening = demo.send("GET", "/mcp", Mcp_Session_Id=session_id)
        assert demo.send("DELETE", "/mcp", Mcp_Session_Id=session_id).status == 204
        assert counting.read().is_complete
        assert listening.read().is_complete
        assert demo.in_session(session_id, request("ping")).status == 404
        assert demo.is_at_rest

    def test_get_opens_a_primed_stream(self, demo: Demo) -> None:
        """A GET gets an id at once, so that it can come back, then keep-alives."""
        stream = demo.send("GET", "/mcp", Mcp_Session_Id=demo.initialize())
        assert stream.body == b"id: 0-0\nretry: 1000\ndata: \n\n"
        demo.clock.advance(KEEP_ALIVE_S)
        assert stream.read().body.endswith(b": keep-alive\n\n")

    def test_older_clients_are_not_primed(self, demo: Demo) -> None:
        """Before 2025-11-25 an event without a message was an error to some clients: they get none."""
        assert demo.send("GET", "/mcp", Mcp_Session_Id=demo.initialize("2025-06-18")).body == b""

    def test_second_get_takes_over(self, demo: Demo) -> None:
        """One stream at a time: a client that opens it again ends the one before."""
        session_id = demo.initialize()
        first = demo.send("GET", "/mcp", Mcp_Session_Id=session_id)
        second = demo.send("GET", "/mcp", Mcp_Session_Id=session_id)
        assert first.read().is_complete
        assert not second.is_complete

    def test_disconnect_is_no_cancellation(self, demo: Demo) -> None:
        """A client that lost its stream comes back, gets what it missed, and the rest as it happens."""
        session_id = demo.initialize()
        lost = demo.in_session(session_id, call("count", to=3, interval_s=1))
        seen = lost.events[-1]["id"]
        lost.leave()
        demo.clock.advance(1)
        resumed = demo.send("GET", "/mcp", Mcp_Session_Id=session_id, Last_Event_ID=seen)
        assert counted(resumed.messages) == [2]
        demo.clock.pump([1, 1, 0])
        assert counted(resumed.read().messages) == [2, 3, "counted to 3"]
        assert resumed.is_complete

    def test_replay_after_the_end(self, demo: Demo) -> None:
        """A stream that ended meanwhile is replayed, and only that stream, then ended."""
        session_id = demo.initialize()
        lost = demo.in_session(session_id, call("count", 1, to=1, interval_s=0))
        other = demo.in_session(session_id, call("count", 2, to=1, interval_s=0))
        demo.clock.pump([0, 0])
        assert other.read().is_complete
        resumed = demo.send("GET", "/mcp", Mcp_Session_Id=session_id, Last_Event_ID=lost.events[0]["id"])
        assert [message.get("id") for message in resumed.messages] == [None, 1]
        assert resumed.is_complete

    def test_ring_is_small(self, demo: Demo) -> None:
        """What is older than the ring cannot be replayed; the newest events can."""
        session_id = demo.initialize()
        demo.in_session(session_id, call("count", to=2 * RING_EVENTS, interval_s=0)).leave()
        demo.clock.pump([0] * (2 * RING_EVENTS + 2))
        resumed = demo.send("GET", "/mcp", Mcp_Session_Id=session_id, Last_Event_ID="1-0")
        assert len(resumed.messages) == RING_EVENTS
        assert counted(resumed.messages[-1:]) == [f"counted to {2 * RING_EVENTS}"]

    def test_foreign_event_id(self, demo: Demo) -> None:
        """A Last-Event-ID that cannot be from here is 400, and no stream."""
        refused = demo.send("GET", "/mcp", Mcp_Session_Id=demo.initialize(), Last_Event_ID="x")
        assert refused.status == 400

    def test_notification_cancels(self, demo: Demo) -> None:
        """notifications/cancelled ends the call's stream without an answer."""
        session_id = demo.initialize()
        counting = demo.in_session(session_id, call("count", "c", to=9, interval_s=1))
        demo.in_session(session_id, notification("notifications/cancelled", requestId="c"))
        assert counting.read().is_complete
        assert counted(counting.messages) == [1]
        assert demo.is_at_rest


class TestStateless:
    """Stateless 2026-07-28."""

    def test_discover(self, demo: Demo) -> None:
        """server/discover names version, capabilities and server, may be cached, and opens no session."""
        answered = demo.stateless("server/discover")
        result = answered.message["result"]
        assert result["supportedVersions"] == [STATELESS]
        assert set(result["capabilities"]) == {"tools", "resources", "prompts"}
        assert result["_meta"][SERVER_KEY]["name"] == "mcpgate-demo"
        assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 60_000, "public")
        assert "mcp-session-id" not in answered.headers

    def test_list_may_be_cached(self, demo: Demo) -> None:
        """tools/list says how long and by whom it may be kept."""
        result = demo.stateless("tools/list").message["result"]
        assert [tool["name"] for tool in result["tools"]] == ["echo", "add", "count", "whoami", "fail"]
        assert (result["ttlMs"], result["cacheScope"]) == (60_000, "public")

    def test_call(self, demo: Demo) -> None:
        """A tool call needs no session; its result is complete and must not be cached."""
        result = demo.stateless("tools/call", {"name": "fail"}).message["result"]
        assert (result["isError"], result["resultType"]) == (True, "complete")
        assert "ttlMs" not in result

    def test_body_alone_tells_the_era(self, demo: Demo) -> None:
        """A body that names the version is stateless; that its header is missing is a mismatch."""
        metadata = {VERSION_KEY: STATELESS, CAPABILITIES_KEY: {}}
        refused = demo.send("POST", "/mcp", request("tools/list", _meta=metadata))
        assert (refused.status, refused.message["error"]["code"]) == (400, -32020)

    @pytest.mark.parametrize("header", ["Mcp_Method", "Mcp_Name", "MCP_Protocol_Version"])
    def test_header_mismatch(self, demo: Demo, header: str) -> None:
        """Headers that do not say what the body says are refused with the request's id."""
        refused = demo.stateless("tools/call", {"name": "fail"}, **{header: "2027-01-01"})
        assert (refused.status, refused.message["error"]["code"]) == (400, -32020)
        assert refused.message["id"] == 1

    def test_unsupported_version(self, demo: Demo) -> None:
        """An unknown version is refused with the list of those that are served."""
        metadata = {VERSION_KEY: "2027-01-01", CAPABILITIES_KEY: {}}
        refused = demo.stateless("tools/list", {"_meta": metadata}, MCP_Protocol_Version="2027-01-01")
        error = refused.message["error"]
        assert (refused.status, error["code"]) == (400, -32022)
        assert error["data"] == {"supported": [STATELESS], "requested": "2027-01-01"}

    def test_missing_metadata(self, demo: Demo) -> None:
        """A request without its metadata is an invalid one."""
        refused = demo.stateless("tools/list", {"_meta": {}})
        assert (refused.status, refused.message["error"]["code"]) == (400, -32602)

    def test_unknown_method(self, demo: Demo) -> None:
        """Methods that are not of this era are 404."""
        refused = demo.stateless("ping")
        assert (refused.status, refused.message["error"]["code"]) == (404, -32601)

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_post_only(self, demo: Demo, method: str) -> None:
        """GET and DELETE are 405 without a session, and with one under a version that has none."""
        session_id = demo.initialize()
        assert demo.send(method, "/mcp").status == 405
        refused = demo.send(method, "/mcp", Mcp_Session_Id=session_id, MCP_Protocol_Version=STATELESS)
        assert (refused.status, refused.headers["allow"]) == (405, "POST")

    def test_closing_is_cancelling(self, demo: Demo) -> None:
        """When the client closes the response, the tool stops."""
        counting = demo.stateless("tools/call", {"name": "count", "arguments": {"to": 9}})
        assert counting.headers["content-type"] == "text/event-stream"
        counting.leave()
        assert demo.is_at_rest

    def test_notification_is_accepted(self, demo: Demo) -> None:
        """The era has no notifications from clients, but some send them: 202 and nothing done."""
        posted = notification("notifications/cancelled", requestId=1)
        assert demo.send("POST", "/mcp", posted, MCP_Protocol_Version=STATELESS).status == 202

    def test_listen(self, demo: Demo) -> None:
        """A subscription is acknowledged first, with what is honoured, then kept open and alive."""
        wanted = {"toolsListChanged": True, "promptsListChanged": False, "unheardOf": True}
        stream = demo.stateless("subscriptions/listen", {"notifications": wanted})
        (acknowledged,) = stream.messages
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        assert acknowledged["params"]["notifications"] == {"toolsListChanged": True}
        assert acknowledged["params"]["_meta"] == {SUBSCRIPTION_KEY: 1}
        demo.clock.advance(KEEP_ALIVE_S)
        assert stream.read().events[1:] == [{"": "keep-alive"}]
        assert not stream.is_complete

    def test_listen_ends_with_a_result(self, demo: Demo) -> None:
        """A server that stops ends a subscription with its result, so that the client knows it was meant."""
        stream = demo.stateless("subscriptions/listen", {"notifications": {}})
        demo.site.stopFactory()
        result = stream.read().messages[-1]["result"]
        assert result["resultType"] == "complete"
        assert result["_meta"][SUBSCRIPTION_KEY] == 1
        assert stream.is_complete

    def test_listener_may_leave(self, demo: Demo) -> None:
        """A subscriber that has left is forgotten: nothing waits for it and stopping is quiet."""
        demo.stateless("subscriptions/listen", {"notifications": {}}).leave()
        assert demo.is_at_rest
        assert not demo.site.mcp.playbacks
        demo.site.stopFactory()


class TestHttp:
    """What is the same in all eras."""

    def test_not_json(self, demo: Demo) -> None:
        """A body that is no JSON is 400 with the parse error, and id null."""
        refused = demo.send("POST", "/mcp", b"{")
        assert (refused.status, refused.message["error"]["code"]) == (400, -32700)
        assert refused.message["id"] is None

    def test_too_large(self, demo: Demo) -> None:
        """A body beyond 4 MiB is 413."""
        assert demo.send("POST", "/mcp", b" " * (MAX_BODY_BYTES + 1)).status == 413

    def test_whoami(self, demo: Demo) -> None:
        """whoami shows which headers arrived, and the values of those that a gateway sets."""
        told = {"X_Forwarded_For": "192.0.2.7", "Via": "1.1 gate", "Authorization": "Bearer secret"}
        answered = demo.stateless("tools/call", {"name": "whoami"}, **told)
        arrived = json.loads(answered.message["result"]["content"][0]["text"])
        assert arrived["values"] == {"host": "demo", "via": "1.1 gate", "x-forwarded-for": "192.0.2.7"}
        assert {"authorization", "mcp-method", "mcp-name"} <= set(arrived["headers"])
        assert "secret" not in json.dumps(arrived)

    def test_any_host(self, demo: Demo) -> None:
        """Every Host is served: the gateway in front replaces it and does the checking."""
        assert demo.stateless("tools/list", Host="rebound.example").status == 200

    def test_stream_head(self, demo: Demo) -> None:
        """Streams ask those on the way not to buffer or change them."""
        head = demo.send("GET", "/sse").headers
        assert (head["x-accel-buffering"], head["cache-control"]) == ("no", "no-cache, no-transform")
