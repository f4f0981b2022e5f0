"""Traces with real processes: what a collector gets, what the server behind sees, and what happens without a collector."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.process.peers import Line, ask, call, events, length_of, talking, upstream
from tests.process.stage import Gate, Running, free_port, server, wait_until
from tests.process.test_start import daemon

from mcpgate.exchange import Ended, Exchange, Peer
from mcpgate.otel import Spans
from mcpgate.settings.observability import TracingSettings
from mcpgate.testing import answer, request
from mcpgate.wire.http1 import RequestHead
from mcpgate.wire.traceparent import Trace

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
TOKEN = "alice-0123456789abcdef"
SESSION = "raw-session-of-the-server"
ARGUMENT = "argument-nobody-may-see"
RESULT = "result-nobody-may-see"
CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "add", "arguments": {"a": ARGUMENT}}}
READ = {"jsonrpc": "2.0", "id": 8, "method": "resources/read", "params": {"uri": f"file:///{ARGUMENT}"}}
#: What is promised for the end of a process whose collector hangs, with what the rest of it takes on a loaded machine.
SOON_S = 4.0
#: No request may wait for a collector; one that did would wait for five seconds.
AT_ONCE_S = 1.0


class Collector:
    """
    A collector of OTLP over HTTP.

    :ivar spans: all that came, the ``heads`` of the requests that they came in, and the ``bodies``.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.resource: dict[str, str] = {}

    def talk(self, line: Line) -> None:
        """Take what comes on one connection."""
        while True:
            head = line.read_until(b"\r\n\r\n")
            body = line.read(length_of(head))
            sent = ExportTraceServiceRequest.FromString(body)
            self.heads.append(head)
            self.bodies.append(body)
            for resource in sent.resource_spans:
                self.resource = attributes(resource.resource)
                self.spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            # Whoever is answered may stop at once, and be asked what has come.
            line.send(answer(b"", headers={"Content-Type": "application/x-protobuf"}))

    def named(self, name: str) -> Span:
        """The one span of a name; waits until it is here."""
        wait_until(lambda: any(span.name == name for span in self.spans), f"a span {name!r}")
        (span,) = (span for span in self.spans if span.name == name)
        return span


def attributes(described: Any) -> dict[str, Any]:
    """Those of a span or a resource."""
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in described.attributes}


def told(line: Line, head: bytes) -> None:
    """Begin a session, and answer with the head that came as the result."""
    line.read(length_of(head))
    result = {"jsonrpc": "2.0", "id": 7, "result": {"content": [RESULT], "head": head.decode()}}
    line.send(answer(json.dumps(result).encode(), headers={"Mcp-Session-Id": SESSION}))


def hang(line: Line) -> None:
    """Take a connection and say nothing."""
    line.read_to_end()


def tracing(port: int, more: str = "") -> str:
    """The section that exports to a collector here."""
    return f"tracing: {{otlp_endpoint: 'http://127.0.0.1:{port}'{more}}}"


def post(message: dict[str, Any], target: str = "/mcp/a/told", **fields: str) -> bytes:
    """A message to the server ``a``."""
    headers = {"MCP-Protocol-Version": "2025-11-25", "Authorization": f"Bearer {TOKEN}", **fields}
    return request(target=target, body=json.dumps(message).encode(), headers=headers)


def head_in(body: bytes) -> str:
    """The request head that the server saw, lower case."""
    head = json.loads(body)["result"]["head"]
    assert isinstance(head, str)
    return head.lower()


def sent_on(body: bytes) -> tuple[str, str, str]:
    """The traceparent that the server saw: trace, parent and flags."""
    (found,) = re.findall(r"\r\ntraceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\r\n", head_in(body))
    return found[0], found[1], found[2]


def end(running: Running) -> float:
    """Ask it to stop, and see that it does; how many seconds that took."""
    began_s = time.monotonic()
    running.signal(signal.SIGTERM)
    assert running.exit_code() == 0, running.said
    return time.monotonic() - began_s


def test_a_collector_gets_the_spans_and_nothing_secret(gate: Gate) -> None:
    """
    A call's span lies between the caller's and the server's; a stream's tells when its first event came; no token,
    argument, result, session id and address of a resource is in any byte of it.
    """
    collector, digest = Collector(), sha256(TOKEN.encode()).hexdigest()
    with upstream(talking(told=told, events=events)) as peer, upstream(collector.talk) as listening:
        rest = f"auth: {{tokens: [{{id: alice, sha256: {digest}}}]}}\n"
        gate.write(server("a", peer.port), rest=rest + tracing(listening.port, ", otlp_headers: {Api-Key: key-1}"))
        with gate.running() as running:
            parent = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "tracestate": "vendor=opaque"}
            status, head, body = ask(gate.port, post(CALL, **parent))
            assert status == 200
            session = re.findall(r"(?i)\r\nmcp-session-id: (\S+)", head.decode())[0]
            assert ask(gate.port, post(READ, target="/mcp/a/told?secret", **{"Mcp-Session-Id": session}))[0] == 200
            with call(gate.port) as stream:
                fields = {"Accept": "text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
                stream.send(request("GET", "/mcp/a/events", headers=fields | {"Authorization": f"Bearer {TOKEN}"}))
                stream.read_until(b"data: 1\n\n\r\n")

            span = collector.named("tools/call add")
            assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
            assert sent_on(body) == (TRACE_ID, span.span_id.hex(), "01")
            assert "\r\ntracestate: vendor=opaque\r\n" in head_in(body)
            assert span.kind == Span.SPAN_KIND_SERVER
            assert 0 <= span.end_time_unix_nano - span.start_time_unix_nano < 30e9
            assert abs(span.end_time_unix_nano / 1e9 - time.time()) < 60
            found = attributes(span)
            assert (found["gen_ai.tool.name"], found["jsonrpc.request.id"], found["mcpgate.server"]) == (
                "add",
                "7",
                "a",
            )
            assert found["mcpgate.request_id"] in head_in(body)
            assert (found["client.address"], found["http.response.status_code"]) == ("127.0.0.1", 200)

            root = collector.named("resources/read")
            assert root.parent_span_id == b""
            assert root.trace_id.hex() != TRACE_ID
            moments = {event.name for event in collector.named("GET a").events}
            assert "mcpgate.first_event" in moments

            assert collector.resource["service.name"] == "mcpgate"
            assert all(b"api-key: key-1\r\n" in head.lower() for head in collector.heads)
            sent = b"".join(collector.bodies)
            for secret in (TOKEN, SESSION, session, ARGUMENT, RESULT, "secret", "alice"):
                assert secret.encode() not in sent, secret
            assert end(running) < SOON_S


def test_the_last_spans_are_sent_before_the_end(gate: Gate) -> None:
    """A process that is asked to stop sends what waits; who stops a gateway wants to see its last requests too."""
    collector = Collector()
    with upstream(talking(told=told)) as peer, upstream(collector.talk) as listening:
        gate.write(server("a", peer.port), rest=tracing(listening.port))
        with gate.running() as running:
            assert ask(gate.port, post(CALL))[0] == 200
            end(running)
            assert [span.name for span in collector.spans] == ["tools/call add"]


def test_what_is_sampled_out_stays_out(gate: Gate) -> None:
    """By the caller, whose trace then travels on as it is; and by the share that is configured, which is told too."""
    collector = Collector()
    with upstream(talking(told=told)) as peer, upstream(collector.talk) as listening:
        gate.write(server("a", peer.port), rest=tracing(listening.port, ", sample: 0.0"))
        with gate.running() as running:
            _, _, body = ask(gate.port, post(CALL, traceparent=f"00-{TRACE_ID}-{PARENT_ID}-00"))
            assert sent_on(body) == (TRACE_ID, PARENT_ID, "00")
            _, _, body = ask(gate.port, post(CALL, tracestate="of=nobody"))
            assert sent_on(body)[2] == "00"
            # Sampled by its caller: the one that is recorded.
            _, _, body = ask(gate.port, post(READ, traceparent=f"00-{TRACE_ID}-{PARENT_ID}-01"))
            assert sent_on(body)[1] != PARENT_ID
            end(running)
            assert [span.name for span in collector.spans] == ["resources/read"]


def test_what_cannot_be_read_does_not_travel_on(gate: Gate) -> None:
    """Without any configuration: a trace travels on as it is, what is none is dropped with its tracestate."""
    with upstream(talking(told=told)) as peer:
        gate.write(server("a", peer.port))
        with gate.running():
            _, _, body = ask(gate.port, post(CALL, traceparent=f"00-{TRACE_ID}-{PARENT_ID}-01", tracestate="a=b"))
            assert sent_on(body) == (TRACE_ID, PARENT_ID, "01")
            assert "\r\ntracestate: a=b\r\n" in head_in(body)
            for value in ("garbage", f"00-{TRACE_ID.upper()}-{PARENT_ID}-01", f"00-{'0' * 32}-{PARENT_ID}-01"):
                _, _, body = ask(gate.port, post(CALL, traceparent=value, tracestate="a=b"))
                assert "\r\ntrace" not in head_in(body)
            assert "\r\ntrace" not in head_in(ask(gate.port, post(CALL))[2])


@pytest.mark.parametrize("hangs", [False, True], ids=["nobody listens", "it hangs"])
def test_nothing_waits_for_a_collector(gate: Gate, hangs: bool) -> None:
    """Requests are answered at once and the process ends soon; the log has one line for all, and no traceback."""
    with upstream(talking(told=told)) as peer, upstream(hang) as listening:
        gate.write(server("a", peer.port), rest=tracing(listening.port if hangs else free_port()))
        with gate.running() as running:
            until_s = time.monotonic() + 2.5
            while time.monotonic() < until_s:
                began_s = time.monotonic()
                assert ask(gate.port, post(CALL))[0] == 200
                assert time.monotonic() - began_s < AT_ONCE_S
                time.sleep(0.02)
            assert end(running) < SOON_S
            assert len([line for line in running.said.splitlines() if "spans were lost" in line]) == 1
            assert "Traceback" not in running.said
            assert "opentelemetry" not in running.said


def test_a_daemon_exports_too(gate: Gate) -> None:
    """What sends is started in the process that serves, not in the one that it was forked from."""
    collector = Collector()
    with upstream(talking(told=told)) as peer, upstream(collector.talk) as listening:
        gate.write(server("a", peer.port), rest=tracing(listening.port))
        with daemon(gate):
            assert ask(gate.port, post(CALL))[0] == 200
            collector.named("tools/call add")


# --- the exporter alone ------------------------------------------------------------------------------------------------


def export(port: int) -> tuple[Spans, list[str]]:
    """Send one span and stop; the second is what the operator was told."""
    told_to = list[str]()
    settings = TracingSettings(otlp_endpoint=f"http://127.0.0.1:{port}", otlp_headers={"Api-Key": "key-1"})
    spans = Spans(settings, "1", told_to.append)
    spans.start()
    found = Exchange(RequestHead(b"GET", b"/", True, b"", {}), Peer(b"127.0.0.1", b"http", False), 0.0)
    found.trace, found.ended = Trace(TRACE_ID.encode(), b"", PARENT_ID.encode(), True), Ended.COMPLETE
    spans.record(found, time.time(), time.time())
    spans.stop(within_s=20.0)
    return spans, told_to


def test_a_redirect_is_a_failure() -> None:
    """Spans and credentials go where the configuration says, and nowhere else."""
    elsewhere = Collector()

    def redirect(line: Line) -> None:
        while True:
            line.read(length_of(line.read_until(b"\r\n\r\n")))
            line.send(answer(b"", "307 Temporary Redirect", {"Location": f"http://127.0.0.1:{target.port}/v1/traces"}))

    with upstream(elsewhere.talk) as target, upstream(redirect) as listening:
        spans, told_to = export(listening.port)
        assert spans.dropped == 1
        assert len(told_to) == 1
        assert "redirect (307)" in told_to[0]
        assert elsewhere.heads == []


def test_a_refusal_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Credentials that the collector does not take, for one; what they are is not repeated."""

    def refuse(line: Line) -> None:
        while True:
            line.read(length_of(line.read_until(b"\r\n\r\n")))
            line.send(answer(b"", "403 Forbidden"))

    with upstream(refuse) as listening:
        spans, told_to = export(listening.port)
        assert spans.dropped == 1
        assert "403" in told_to[0]
        assert "key-1" not in told_to[0]
        assert caplog.records == []


@contextlib.contextmanager
def _surrounded_by(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_the_environment_of_the_process_diverts_nothing(tmp_path: Path) -> None:
    """Neither a proxy in it nor passwords in the home of whoever started it are used."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password netrc-password\n")
    nobody = f"http://127.0.0.1:{free_port()}"
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), nobody)
    collector = Collector()
    with _surrounded_by({"HOME": str(tmp_path), **proxies}), upstream(collector.talk) as listening:
        spans, told_to = export(listening.port)
        assert (spans.dropped, told_to, len(collector.spans)) == (0, [], 1)
        assert collector.heads[0].startswith(b"POST /v1/traces HTTP/1.1\r\n")
        assert b"authorization" not in collector.heads[0].lower()
