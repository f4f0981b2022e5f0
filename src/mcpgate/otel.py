"""
Spans for a collector: the one door to OpenTelemetry, for which the extra ``mcpgate[otel]`` must be installed.

A span is made by hand when its exchange is over, from what the record says; nothing here knows a current span or a
context. It is named and described as the semantic conventions for MCP say, and holds what an operator may show around:
never arguments, results, addresses of resources, paths as they came, tokens, session ids, nor who asked; that stands
in the access log, under the same request id.

The SDK sends them from a thread of its own. Nothing waits for it: not requests, and not the end of the process for
longer than `stop` says.
"""

from __future__ import annotations

import contextlib
import http
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from mcpgate.exchange import UNIX_PEER, Exchange
from mcpgate.settings.observability import TracingSettings
from mcpgate.wire.operation import Operation
from mcpgate.wire.traceparent import Trace

try:
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
except ImportError:
    raise ImportError("tracing.otlp_endpoint needs the extra: pip install 'mcpgate[otel]'") from None

#: The SDK's own default; about 6 MB of spans.
_QUEUE_SPANS = 2048
_BATCH_SPANS = 512
#: How long a span waits for company. The SDK's 5 s are long for whoever watches a request.
_DELAY_MS = 1000.0
#: For one batch, with what the SDK tries again meanwhile.
_EXPORT_S = 5.0
#: An operator is told again after so long that spans are lost.
_TOLD_EVERY_S = 60.0
_REASON_LETTERS = 200
#: What a collector says of spans that it does not take; more is not read.
_ANSWER_BYTES = 64 * 1024
#: Names of tools have at most 128 characters (MCP 2025-11-25, server/tools).
_TEXT_LETTERS = 128
#: Whose messages about an export are replaced by ours; the handlers of these loggers are those of the whole process.
_LOGGERS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "urllib3.connectionpool")

#: RFC 9110 section 9, and PATCH; any other may be anything.
_METHODS = frozenset(method.value.encode("ascii") for method in http.HTTPMethod)
_MOMENTS = {"mcpgate.sent": "sent_s", "mcpgate.first_byte": "first_byte_s", "mcpgate.first_event": "first_event_s"}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_OK, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)

Attributes = dict[str, str | int]


class Spans:
    """
    Takes the spans of exchanges and has them sent.

    :param version: of the gateway.
    :param warn: told now and then, in the thread that calls, that spans were lost, and why.
    :param exporter: makes what sends a batch, in the thread that sends.
    """

    def __init__(
        self,
        settings: TracingSettings,
        version: str,
        warn: Callable[[str], object],
        exporter: Callable[[TracingSettings], SpanExporter] | None = None,
    ) -> None:
        self._settings = settings
        self._scope = InstrumentationScope("mcpgate", version)
        self._resource = Resource.get_empty()
        self._warn = warn
        self._make_exporter = exporter or otlp_exporter
        self._outbox: _Outbox | None = None
        self._processor: BatchSpanProcessor | None = None
        self._taken = self._refused = self._told = 0
        self._told_s = 0.0

    @property
    def dropped(self) -> int:
        """How many spans were lost so far: no room in the queue, or not taken by the collector."""
        return self._refused + (0 if self._outbox is None else self._outbox.lost)

    def start(self) -> None:
        """Begin to send. Only in the process that serves: the thread that is started here does not survive a fork."""
        self._resource = Resource.create(
            {"service.name": self._settings.service_name, "service.version": self._scope.version}
        )
        self._outbox = _Outbox(self._make_exporter(self._settings))
        self._processor = BatchSpanProcessor(self._outbox, _QUEUE_SPANS, _DELAY_MS, _BATCH_SPANS)

    def record(self, exchange: Exchange, started_wall_s: float, ended_wall_s: float) -> None:
        """
        Take the span of an exchange that is over. One that has no span of ours, or is not sampled, has none.

        :param started_wall_s: seconds since 1970.
        """
        trace = exchange.trace
        if trace is None or not trace.is_recorded:
            return
        if self._processor is None or self._outbox is None or self._taken - self._outbox.done >= _QUEUE_SPANS:
            self._refused += 1
        else:
            self._taken += 1
            times_s = (started_wall_s, ended_wall_s)
            self._processor.on_end(_span(exchange, trace, times_s, (self._resource, self._scope)))
        self._tell(ended_wall_s)

    def stop(self, within_s: float = 1.5) -> None:
        """Send what waits, and send no more; blocks until that is done, at most for so long."""
        processor, self._processor = self._processor, None
        if processor is None or self._outbox is None:
            return
        # The SDK's own shutdown would wait for a collector that hangs.
        ending = threading.Thread(target=processor.shutdown, name="mcpgate-last-spans", daemon=True)
        ending.start()
        ending.join(within_s)
        self._refused += self._taken - self._outbox.done
        self._tell(self._told_s + _TOLD_EVERY_S)

    def _tell(self, now_s: float) -> None:
        # Not in the thread that sends: whoever is told need not be ready for threads.
        dropped = self.dropped
        if dropped == self._told or abs(now_s - self._told_s) < _TOLD_EVERY_S:
            return
        why = self._outbox.why if self._outbox is not None else ""
        self._warn(f"{dropped - self._told} spans were lost: {why or 'the collector does not take them in time'}")
        self._told, self._told_s = dropped, now_s


class _Outbox(SpanExporter):
    """
    Counts what is sent, and keeps quiet about what is not.

    :ivar done: how many spans were sent or lost; ``lost`` those of them that were lost, ``why`` for what reason.
        Written by the thread that sends, read by others.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self.done = self.lost = 0
        self.why = ""
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        with _overheard() as said:
            try:
                result = self._exporter.export(spans)
            except Exception as failed:
                result, said[:0] = SpanExportResult.FAILURE, [repr(failed)]
        if result is not SpanExportResult.SUCCESS:
            self.why = said[0][:_REASON_LETTERS] if said else "the collector did not take them"
            self.lost += len(spans)
        self.done += len(spans)
        return result

    def shutdown(self) -> None:
        """Let go of the connection; a batch that is tried again is given up."""
        self._exporter.shutdown()


class _Overheard(logging.Filter):
    """Keeps back what the thread that made it says: an outage would fill the log, with tracebacks."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether others may hear it."""
        if record.thread != self._thread or record.levelno < logging.WARNING:
            return True
        self.said.append(record.getMessage())
        return False


@contextlib.contextmanager
def _overheard() -> Iterator[list[str]]:
    """What the exporter says meanwhile."""
    listener = _Overheard()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(listener)
    try:
        yield listener.said
    finally:
        for logger in loggers:
            logger.removeFilter(listener)


def otlp_exporter(settings: TracingSettings) -> SpanExporter:
    """
    What sends spans as OTLP over HTTP.

    The URL is that of the configuration: no redirect is followed, no proxy of the environment asked, no password of
    ``~/.netrc`` sent. The rest (compression, certificates) is as the variables ``OTEL_EXPORTER_OTLP_*`` say.
    """
    session = requests.Session()
    session.trust_env = False
    session.hooks["response"].append(_take_answer)
    return OTLPSpanExporter(
        settings.otlp_endpoint, headers=dict(settings.otlp_headers), timeout=_EXPORT_S, session=session
    )


def _take_answer(answer: requests.Response, *_: object, **__: object) -> None:
    """Read so much of an answer as a collector has to say, in bounded time; the library would read on for ever."""
    # The exporter takes every status below 400 for a success.
    if answer.is_redirect:
        answer.close()
        raise ValueError(f"the collector answers with a redirect ({answer.status_code})")
    until_s, read = time.monotonic() + _EXPORT_S, b""
    while len(read) < _ANSWER_BYTES and time.monotonic() < until_s:
        piece = answer.raw.read1(_ANSWER_BYTES - len(read), decode_content=False)
        if not piece:
            break
        read += piece
    answer._content, answer._content_consumed = read, True
    answer.close()


# --- one span ------------------------------------------------------------------------------------------------------


def _span(
    exchange: Exchange, trace: Trace, times_s: tuple[float, float], origin: tuple[Resource, InstrumentationScope]
) -> ReadableSpan:
    """The span of an exchange that is over; takes 12 us, and 100 of the thread that sends it."""
    trace_id, (started_s, ended_s), (resource, scope) = int(trace.trace_id, 16), times_s, origin
    parent = SpanContext(trace_id, int(trace.parent_id, 16), True, _SAMPLED) if trace.parent_id else None
    attributes = _attributes(exchange)
    return ReadableSpan(
        _name(exchange),
        SpanContext(trace_id, int(trace.span_id, 16), False, _SAMPLED),
        parent,
        resource,
        attributes,
        [
            Event(name, timestamp=_ns(started_s + moment_s - exchange.started_s))
            for name, moment in _MOMENTS.items()
            if (moment_s := getattr(exchange, moment))
        ],
        kind=SpanKind.SERVER,
        status=_ERROR if "error.type" in attributes else _OK,
        start_time=_ns(started_s),
        end_time=_ns(ended_s),
        instrumentation_scope=scope,
    )


def _name(exchange: Exchange) -> str:
    """Of few different ones: what a message is called and names, else the HTTP method and the server."""
    operation = exchange.operation
    if operation is not None:
        return _text(f"{operation.method} {operation.name}" if operation.name else operation.method)
    method = _method(exchange)
    return f"{'HTTP' if method == '_OTHER' else method} {exchange.server}".rstrip()


def _attributes(exchange: Exchange) -> Attributes:
    head, peer = exchange.head, exchange.peer
    told: Attributes = {
        "http.request.method": _method(exchange),
        "network.transport": "unix" if peer.address == UNIX_PEER else "tcp",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1" if head.is_http11 else "1.0",
        # Of a proxy's clients only the proxy is known for certain.
        "network.peer.address" if peer.is_trusted else "client.address": _text(peer.address.decode("latin-1")),
        "mcpgate.request_id": exchange.request_id.decode("latin-1"),
        "mcpgate.era": exchange.era.value,
    }
    optional = {
        "mcpgate.server": exchange.server,
        "mcpgate.replica": exchange.replica,
        "mcpgate.transport": exchange.transport,
        "mcpgate.ended": "" if exchange.ended is None else exchange.ended.value,
        "mcp.protocol.version": _text(head.noted.get(b"mcp-protocol-version", b"").decode("latin-1")),
        "error.type": _error_type(exchange),
    }
    told.update((name, value) for name, value in optional.items() if value)
    if exchange.status:
        told["http.response.status_code"] = exchange.status
    if exchange.operation is not None:
        _describe(told, exchange.operation)
    if exchange.result is not None and exchange.result.rpc_code:
        told["rpc.response.status_code"] = str(exchange.result.rpc_code)
    return told


def _describe(told: Attributes, operation: Operation) -> None:
    """What the message is (semantic conventions for MCP, "Server")."""
    told["mcp.method.name"] = _text(operation.method)
    if operation.request is not None:
        told["jsonrpc.request.id"] = _text(str(operation.request))
    if operation.method == "tools/call":
        told["gen_ai.operation.name"] = "execute_tool"
        told["gen_ai.tool.name"] = _text(operation.name)
    elif operation.method == "prompts/get":
        told["gen_ai.prompt.name"] = _text(operation.name)


def _error_type(exchange: Exchange) -> str:
    """The reason of a refusal; else the code of a JSON-RPC error, ``tool_error``, or the status of a failure."""
    result = exchange.result
    if exchange.error is not None:
        return exchange.error.reason
    if result is not None and result.rpc_code:
        return str(result.rpc_code)
    if result is not None and result.is_tool_error:
        return "tool_error"
    failed = exchange.status >= (500 if exchange.operation is None else 400)
    return str(exchange.status) if failed else ""


def _method(exchange: Exchange) -> str:
    method = exchange.head.method
    return method.decode("ascii") if method in _METHODS else "_OTHER"


def _text(text: str) -> str:
    """What a client has chosen, bounded; one span that cannot be encoded would take its whole batch with it."""
    text = text[:_TEXT_LETTERS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _ns(seconds: float) -> int:
    # A float that counts from 1970 is no finer than a quarter of a microsecond.
    return round(seconds * 1e6) * 1000
