"""Spans: how they are called, what they hold and what never, and that nothing waits for a collector."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from mcpgate import otel
from mcpgate.errors import RateLimited, ToolDenied
from mcpgate.exchange import Ended, Era, Exchange, Peer
from mcpgate.otel import Spans
from mcpgate.settings.observability import TracingSettings
from mcpgate.wire.http1 import RequestHead
from mcpgate.wire.operation import Operation, Result
from mcpgate.wire.traceparent import Trace

PATIENCE_S = 10.0
TRACE_ID, PARENT_ID, SPAN_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, 0xB7AD6B7169203331
TRACE = Trace(b"%032x" % TRACE_ID, b"%016x" % PARENT_ID, b"%016x" % SPAN_ID, True)
NOW_S = 1_800_000_000.0
CALL = Operation("tools/call", "add", 7)


class Kept(SpanExporter):
    """Takes every span, or fails as it is told."""

    def __init__(self, outcome: SpanExportResult | Exception = SpanExportResult.SUCCESS) -> None:
        self.spans: list[ReadableSpan] = []
        self.outcome = outcome
        self.is_shut = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take a batch."""
        logging.getLogger(otel._LOGGERS[0]).error("no route to %s", "collector")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        self.spans.extend(spans)
        return self.outcome

    def shutdown(self) -> None:
        """The end."""
        self.is_shut = True


class Hanging(Kept):
    """Takes a batch and does not come back before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.let_go = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hang."""
        self.began.set()
        self.let_go.wait(PATIENCE_S)
        return super().export(spans)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """A collector that hangs until the test is over."""
    exporter = Hanging()
    yield exporter
    exporter.let_go.set()


def exchange(method: bytes = b"POST", **noted: Any) -> Exchange:
    """A call that went well, with some of its record changed."""
    fields = {b"mcp-protocol-version": b"2025-11-25", b"mcp-session-id": b"secret-session", b"authorization": b"secret"}
    head = RequestHead(method, b"/mcp/a/secret?secret", True, b"Cookie: secret\r\n", fields, path=b"/mcp/a/secret")
    found = Exchange(head, Peer(b"192.0.2.7", b"http", noted.pop("is_trusted", False)), 100.0)
    found.body, found.principal = b'{"params":{"arguments":"secret"}}', "secret-alice"
    found.server, found.replica, found.request_id = "a", "127.0.0.1:3010", b"req-1"
    found.era, found.status, found.ended, found.trace = Era.SESSION, 200, Ended.COMPLETE, TRACE
    for name, value in noted.items():
        setattr(found, name, value)
    return found


def spans_of(*exchanges: Exchange) -> list[ReadableSpan]:
    """What is sent of exchanges that each took two seconds."""
    exporter, said = Kept(), list[str]()
    spans = Spans(TracingSettings(), "1.2.3", said.append, lambda _: exporter)
    spans.start()
    for each in exchanges:
        spans.record(each, NOW_S - 2, NOW_S)
    spans.stop()
    assert said == []
    assert exporter.is_shut
    return exporter.spans


def span_of(noted: Exchange) -> ReadableSpan:
    """The one span of an exchange."""
    (span,) = spans_of(noted)
    return span


def told(noted: Exchange) -> dict[str, Any]:
    """The attributes of its span."""
    return dict(span_of(noted).attributes or {})


def test_a_span_has_its_place_in_the_trace() -> None:
    """It is ours, its parent the caller's, and it says when and by whom."""
    span = span_of(exchange(operation=CALL))
    assert (span.context.trace_id, span.context.span_id) == (TRACE_ID, SPAN_ID)
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id, span.parent.is_remote) == (TRACE_ID, PARENT_ID, True)
    assert (span.start_time, span.end_time) == (int((NOW_S - 2) * 1e9), int(NOW_S * 1e9))
    assert span.kind is SpanKind.SERVER
    assert span.resource.attributes["service.name"] == "mcpgate"
    assert span.resource.attributes["service.version"] == "1.2.3"
    assert span_of(exchange(trace=TRACE._replace(parent_id=b""))).parent is None


@pytest.mark.parametrize(
    ("trace", "why"),
    [
        (None, "no trace"),
        (TRACE._replace(is_sampled=False), "sampled out"),
        (TRACE._replace(span_id=b""), "only passed on"),
    ],
)
def test_what_is_not_recorded_has_no_span(trace: Trace | None, why: str) -> None:
    """Sampled out, only passed on, or without a trace."""
    assert spans_of(exchange(trace=trace)) == [], why


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (CALL, "tools/call add"),
        (Operation("prompts/get", "greet", 1), "prompts/get greet"),
        (Operation("resources/read", "", 1), "resources/read"),
        (Operation("initialize"), "initialize"),
        (None, "POST a"),
    ],
)
def test_a_span_is_named_after_the_message(operation: Operation | None, name: str) -> None:
    """As the semantic conventions for MCP say; without a message after method and server."""
    assert span_of(exchange(operation=operation)).name == name


@pytest.mark.parametrize(
    ("method", "server", "name", "told_method"),
    [
        (b"GET", "a", "GET a", "GET"),
        (b"GET", "", "GET", "GET"),
        (b"BREW", "a", "HTTP a", "_OTHER"),
        (b"get", "", "HTTP", "_OTHER"),
    ],
)
def test_methods_that_clients_invent_are_one(method: bytes, server: str, name: str, told_method: str) -> None:
    """Names of spans are few."""
    span = span_of(exchange(method, server=server))
    assert (span.name, (span.attributes or {})["http.request.method"]) == (name, told_method)


def test_a_tool_call_is_described() -> None:
    """With the attributes that the conventions know, and ours."""
    noted = exchange(operation=CALL, result=Result(0, False), transport="streamable-http")
    assert told(noted) == {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "jsonrpc.request.id": "7",
        "mcp.protocol.version": "2025-11-25",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "client.address": "192.0.2.7",
        "mcpgate.server": "a",
        "mcpgate.replica": "127.0.0.1:3010",
        "mcpgate.request_id": "req-1",
        "mcpgate.era": "session",
        "mcpgate.transport": "streamable-http",
        "mcpgate.ended": "complete",
    }


def test_only_calls_of_tools_are_operations_of_a_model() -> None:
    """A prompt has its name; a notification has no id."""
    prompt = told(exchange(operation=Operation("prompts/get", "greet", "x")))
    assert (prompt["gen_ai.prompt.name"], prompt["jsonrpc.request.id"]) == ("greet", "x")
    assert not {"gen_ai.operation.name", "gen_ai.tool.name"} & prompt.keys()
    assert "jsonrpc.request.id" not in told(exchange(operation=Operation("notifications/initialized")))


def test_the_address_of_a_proxy_is_not_taken_for_a_clients() -> None:
    """It is the peer's; who stands behind it is in the access log."""
    found = told(exchange(is_trusted=True))
    assert found["network.peer.address"] == "192.0.2.7"
    assert "client.address" not in found


@pytest.mark.parametrize(
    ("noted", "error_type"),
    [
        ({"operation": CALL, "result": Result(0, True)}, "tool_error"),
        ({"operation": CALL, "result": Result(-32602, False)}, "-32602"),
        ({"operation": CALL, "error": ToolDenied()}, "tool_denied"),
        ({"error": RateLimited(), "status": 429}, "rate_limited"),
        ({"status": 503}, "503"),
        ({"operation": CALL, "status": 404}, "404"),
        ({"status": 404}, None),
        ({"status": 0, "ended": Ended.CLIENT_GONE}, None),
        ({"operation": CALL, "result": Result(0, False)}, None),
    ],
)
def test_what_went_wrong_has_a_type(noted: dict[str, Any], error_type: str | None) -> None:
    """And then, only then, the span has failed. A page that is not there is no failure of the gateway."""
    span = span_of(exchange(**noted))
    assert (span.attributes or {}).get("error.type") == error_type
    assert span.status.status_code is (StatusCode.UNSET if error_type is None else StatusCode.ERROR)


def test_the_code_of_a_json_rpc_error_is_told_as_text() -> None:
    """As the conventions want it, beside the status of the HTTP answer."""
    found = told(exchange(operation=CALL, result=Result(-32602, False)))
    assert (found["rpc.response.status_code"], found["http.response.status_code"]) == ("-32602", 200)
    assert "http.response.status_code" not in told(exchange(status=0))


def test_the_moments_of_a_stream_are_events() -> None:
    """When the request went on, when the answer began, when the first event came."""
    span = span_of(exchange(sent_s=100.25, first_byte_s=100.5, first_event_s=101.0))
    start = span.start_time or 0
    assert {event.name: event.timestamp - start for event in span.events} == {
        "mcpgate.sent": 250_000_000,
        "mcpgate.first_byte": 500_000_000,
        "mcpgate.first_event": 1_000_000_000,
    }
    assert span_of(exchange()).events == ()


def test_nothing_secret_is_in_a_span() -> None:
    """No path, query, header, session id, body and principal; not even in the bytes that are sent."""
    sent = encode_spans(spans_of(exchange(operation=CALL), exchange(b"GET"))).SerializeToString()
    assert b"tools/call add" in sent
    assert b"secret" not in sent


def test_what_a_client_chose_is_bounded_and_can_be_sent() -> None:
    """Half a character in a name would otherwise take the whole batch with it."""
    hostile = "n\ud800\u00e9" * 1000
    noted = exchange(operation=Operation(hostile, hostile, hostile))
    noted.head.noted[b"mcp-protocol-version"] = b"\xff" * 9000
    sent = encode_spans(spans_of(noted)).SerializeToString()
    assert len(sent) < 3000


def test_spans_that_are_lost_are_counted_and_told_of_once_in_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """What the exporter itself says about each attempt is kept back."""
    said = list[str]()
    exporter = Kept(SpanExportResult.FAILURE)
    spans = Spans(TracingSettings(), "1", said.append, lambda _: exporter)
    spans.start()
    for _ in range(3):
        spans.record(exchange(), NOW_S, NOW_S)
    spans.stop()
    assert spans.dropped == 3
    assert said == ["3 spans were lost: no route to collector"]
    assert caplog.records == []
    logging.getLogger(otel._LOGGERS[0]).error("of somebody else")
    assert [record.getMessage() for record in caplog.records] == ["of somebody else"]


def test_what_others_say_meanwhile_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    """A program around the gateway may export spans of its own, in threads of its own."""

    class Company(Kept):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            other = threading.Thread(target=logging.getLogger(otel._LOGGERS[0]).error, args=("of somebody else",))
            other.start()
            other.join(PATIENCE_S)
            return super().export(spans)

    spans = Spans(TracingSettings(), "1", str, lambda _: Company())
    spans.start()
    spans.record(exchange(), NOW_S, NOW_S)
    spans.stop()
    assert [record.getMessage() for record in caplog.records] == ["of somebody else"]


def test_an_exporter_that_breaks_loses_its_batch_and_nothing_else() -> None:
    """The reason is told; the thread goes on."""
    said = list[str]()
    spans = Spans(TracingSettings(), "1", said.append, lambda _: Kept(KeyError("odd")))
    spans.start()
    spans.record(exchange(), NOW_S, NOW_S)
    spans.stop()
    assert (spans.dropped, said) == (1, ["1 spans were lost: KeyError('odd')"])


def test_a_collector_that_hangs_costs_neither_memory_nor_time(hanging: Hanging) -> None:
    """The queue has an end, what is above it is counted, and stopping does not wait for longer than it is told."""
    said = list[str]()
    spans = Spans(TracingSettings(), "1", said.append, lambda _: hanging)
    spans.start()
    for _ in range(otel._BATCH_SPANS):
        spans.record(exchange(), NOW_S, NOW_S)
    assert hanging.began.wait(PATIENCE_S)
    for index in range(otel._QUEUE_SPANS - otel._BATCH_SPANS + 100):
        spans.record(exchange(), NOW_S + index / 100, NOW_S + index / 100)
    assert spans.dropped == 100
    assert said == ["1 spans were lost: the collector does not take them in time"]
    spans.stop(within_s=0.01)
    assert spans.dropped == otel._QUEUE_SPANS + 100
    assert len(said) == 2


def test_nothing_is_taken_before_the_start_and_after_the_end() -> None:
    """It is counted as lost; stopping twice is stopping."""
    exporter = Kept()
    spans = Spans(TracingSettings(), "1", str, lambda _: exporter)
    spans.record(exchange(), NOW_S, NOW_S)
    spans.stop()
    spans.start()
    spans.stop()
    spans.stop()
    spans.record(exchange(), NOW_S, NOW_S)
    assert (spans.dropped, exporter.spans) == (2, [])


def test_without_the_extra_it_is_said_how_to_get_it() -> None:
    """Whoever configures a collector reads one line, not a traceback."""
    absent = "import sys; sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None; import mcpgate.otel"
    done = subprocess.run([sys.executable, "-c", absent], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "needs the extra: pip install 'mcpgate[otel]'" in done.stderr.splitlines()[-1]
