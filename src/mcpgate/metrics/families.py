"""
Every series that the gateway tells, in one table, and what may stand in their labels.

Label values come from the configuration or from the fixed lists here: whatever a client or a server writes is mapped
to one of them, so nobody outside can make a series.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from mcpgate.exchange import Ended, Exchange
from mcpgate.metrics.tallies import OTHER
from mcpgate.wire.operation import LISTEN

#: The gateway's own addresses, and requests that found no server: no configured name begins like this.
GATEWAY: Final = "_gateway"


class Kind(enum.Enum):
    """What can be done with a series; the names are those of both formats."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """
    Series of one name.

    :ivar help: one line that says what the number is, and what 0 means where that is not plain.
    :ivar labels: their names, in the order of the values.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The name without the suffix that counters have: OpenMetrics calls that the family."""
        return self.name.removesuffix("_total") if self.kind is Kind.COUNTER else self.name

    @property
    def unit(self) -> str:
        """``seconds`` or ``bytes``; empty for what is simply counted."""
        suffix = self.stem.rpartition("_")[2]
        return suffix if suffix in ("seconds", "bytes") else ""


def _counter(name: str, help: str, *labels: str) -> Family:
    return Family(f"{name}_total", Kind.COUNTER, help, labels)


def _gauge(name: str, help: str, *labels: str) -> Family:
    return Family(name, Kind.GAUGE, help, labels)


def _histogram(name: str, help: str, *labels: str) -> Family:
    return Family(name, Kind.HISTOGRAM, help, labels)


#: In the order of a scrape.
FAMILIES: Final = (
    # What is asked of the gateway.
    _counter(
        "mcpgate_requests", "Exchanges that ended; status 0: the client left before an answer.",
        "server", "method", "status", "era",
    ),
    _counter("mcpgate_errors", "Exchanges that the gateway refused or cut, by the reason told.", "server", "reason"),
    _counter("mcpgate_bytes", "Bytes of bodies, from clients (in) and to them (out).", "server", "direction"),
    _histogram(
        "mcpgate_request_duration_seconds",
        "From a request's head to the end of its answer; lasting streams are not in it.", "server",
    ),
    _histogram(
        "mcpgate_upstream_duration_seconds", "From sending a request to the head of the server's answer.", "server"
    ),
    _histogram(
        "mcp_server_operation_duration_seconds", "MCP messages by method, as OpenTelemetry names it; no error: empty.",
        "mcp_method_name", "error_type", "mcp_protocol_version",
    ),
    _counter("mcpgate_tool_calls", "Calls by tool, if metrics.tools asks for it.", "server", "tool", "outcome"),
    _gauge("mcpgate_open_requests", "Exchanges with a server under way, streams not counted.", "server"),
    # Streams.
    _counter("mcpgate_streams", "Streams that were opened.", "server", "transport"),
    _gauge("mcpgate_open_streams", "Streams that are open.", "server", "transport"),
    _counter("mcpgate_streams_ended", "Streams that ended, by why they did.", "server", "ended"),
    _counter("mcpgate_stream_reopens", "Streams that clients asked to go on (Last-Event-ID).", "server"),
    _histogram("mcpgate_stream_duration_seconds", "How long streams were open.", "server"),
    _histogram("mcpgate_time_to_first_event_seconds", "From a request's head to its stream's first event.", "server"),
    # Who may, and how often.
    _counter("mcpgate_auth", "Requests to servers by who asked: open, granted, or why not.", "outcome"),
    _counter("mcpgate_limit_decisions", "What each limit decided: admitted, waited, refused.", "policy", "outcome"),
    # Toward servers.
    _gauge("mcpgate_upstream_up", "0 if no replica could be connected to when last tried, else 1.", "server"),
    _gauge("mcpgate_replicas", "Replicas by what the last attempt to connect showed.", "server", "state"),
    _gauge("mcpgate_upstream_connections", "Connections to replicas, idle or busy.", "server", "state"),
    _counter("mcpgate_upstream_connects", "Attempts to connect to a replica.", "server", "outcome"),
    # Who joins, and who is told of it.
    _gauge("mcpgate_registry_replicas", "Replicas that registered or are listed, by state.", "origin", "state"),
    _gauge("mcpgate_registry_held", "Leases that are over and kept, since most would be over at once."),
    _counter("mcpgate_registry_expired", "Replicas that are gone because their lease was over."),
    _gauge("mcpgate_registry_writable", "0 if the last registration could not be kept, else 1."),
    _gauge("mcpgate_source_up", "0 if a polled list could not be read last time, else 1.", "source"),
    _gauge(
        "mcpgate_source_last_success_timestamp_seconds",
        "When a polled list was last read, since 1970; 0: never.", "source",
    ),
    _gauge("mcpgate_discovery_subscribers", "Readers of discovery's events."),
    _counter("mcpgate_discovery_events", "Events of discovery, each told to all its readers."),
    _counter("mcpgate_discovery_cut", "Readers of these events that were cut because they did not read."),
    # Toward clients.
    _counter("mcpgate_connections", "Connections of clients, accepted or turned away.", "outcome"),
    _gauge("mcpgate_open_connections", "Connections of clients by what they do.", "listener", "state"),
    _gauge("mcpgate_max_connections", "How many connections clients may open together."),
    _gauge("mcpgate_buffered_bytes", "Bytes that clients have not taken yet."),
    _gauge("mcpgate_held_exchanges", "Exchanges that wait for a body, for keys or for their turn."),
    _gauge("mcpgate_held_bytes", "Bytes of bodies that wait to be looked into."),
    # The gateway itself.
    _gauge("mcpgate_ready", "1 if the gateway is ready for requests, 0 if not."),
    _gauge("mcpgate_config_last_reload_successful", "1 if the configuration last read was taken over, 0 if refused."),
    _gauge(
        "mcpgate_config_last_reload_success_timestamp_seconds",
        "When a configuration was last taken over, since 1970.",
    ),
    _counter("mcpgate_config_reloads", "Configurations read anew: ok or refused.", "outcome"),
    _counter("mcpgate_log_dropped_lines", "Log lines not written: a slow sink, or a flood.", "log", "cause"),
    _counter("mcpgate_unexpected_failures", "Faults of the gateway itself; each has a traceback in the event log."),
    _counter("mcpgate_spans", "Spans given to the exporter of traces."),
    _gauge("mcpgate_build_info", "Always 1; the labels say what runs.", "version", "python", "twisted"),
    _gauge("mcpgate_last_scrape_seconds", "Reactor time that the scrape before this one took; 0: there was none."),
    _histogram("mcpgate_reactor_lag_seconds", "How late the reactor comes to what is due; looked at twice a second."),
    _histogram("mcpgate_gc_pause_seconds", "Pauses of the garbage collector.", "generation"),
    # The process, under the names that all clients of Prometheus use.
    _counter("process_cpu_seconds", "Processor time, user and system."),
    _gauge("process_resident_memory_bytes", "Memory in use (RSS)."),
    _gauge("process_virtual_memory_bytes", "Address space."),
    _gauge("process_start_time_seconds", "When the process started, since 1970."),
    _gauge("process_open_fds", "Open file descriptors."),
    _gauge("process_max_fds", "How many file descriptors may be open."),
    _gauge(
        "python_info", "Always 1; the labels say which Python.",
        "implementation", "major", "minor", "patchlevel", "version",
    ),
    _counter("python_gc_objects_collected", "Objects that the garbage collector freed.", "generation"),
    _counter("python_gc_objects_uncollectable", "Objects that it could not free.", "generation"),
    _counter("python_gc_collections", "How often it ran.", "generation"),
)  # fmt: skip


# --- what may stand in labels ---------------------------------------------------------------------------------------

_METHODS: Final[dict[bytes, str]] = {
    name.encode(): name for name in re.findall(r"\w+", "GET POST PUT PATCH DELETE HEAD OPTIONS")
}
_STATUSES: Final = {0: "0", **{status.value: str(status.value) for status in HTTPStatus}}
#: Every message that a client may send in any version from 2024-11-05 to 2026-07-28.
_MCP_METHODS: Final[frozenset[str]] = frozenset(
    re.findall(
        r"\S+",
        """
        initialize ping server/discover subscriptions/listen completion/complete logging/setLevel
        tools/list tools/call prompts/list prompts/get
        resources/list resources/templates/list resources/read resources/subscribe resources/unsubscribe
        tasks/get tasks/result tasks/list tasks/update tasks/cancel
        sampling/createMessage elicitation/create roots/list
        notifications/initialized notifications/cancelled notifications/progress notifications/message
        notifications/roots/list_changed notifications/tools/list_changed notifications/prompts/list_changed
        notifications/resources/list_changed notifications/resources/updated notifications/elicitation/complete
        notifications/tasks/status notifications/subscriptions/acknowledged
        """,
    )
)
_VERSIONS: Final = {
    version.encode(): version
    for version in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
}  # fmt: skip
_GOOD_ENDS: Final = (Ended.COMPLETE, Ended.UPSTREAM_END, Ended.REFUSED, None)
#: JSON-RPC 2.0 section 5.1; the codes that it leaves to servers share one value.
_RPC_CODES: Final = frozenset({-32700, -32600, -32601, -32602, -32603})
_SERVER_CODES: Final = range(-32099, -31999)


def folded(method: bytes, status: int) -> tuple[bytes, int]:
    """The two as keys of a count: any method or status that is not usual is one of few."""
    return method if method in _METHODS else b"", status if status in _STATUSES else status // 100 * 100 + 99


def status_label(status: int) -> str:
    """A status that HTTP knows as it is, ``0`` for no answer, another by its class (``2xx``)."""
    known = _STATUSES.get(status)
    return f"{min(max(status // 100, 1), 5)}xx" if known is None else known


def method_label(method: bytes) -> str:
    """An HTTP method of the usual seven, else `OTHER`."""
    return _METHODS.get(method, OTHER)


def mcp_method_label(method: str) -> str:
    """A method of the specification, else `OTHER`."""
    return method if method in _MCP_METHODS else OTHER


def version_label(version: bytes) -> str:
    """A published version of MCP, else nothing."""
    return _VERSIONS.get(version, "")


def operation_key(exchange: Exchange) -> tuple[str, str, str]:
    """
    Method, kind of failure and protocol version of an exchange that carried an MCP message.

    The version is the one that the head tells: there is none before 2025-06-18, nor with ``initialize``. Of what was
    refused before it reached a server only the reason is told: whoever is let in nowhere has no say in the series.
    """
    if exchange.error is not None and not exchange.replica:
        return OTHER, exchange.error.reason, ""
    method = OTHER if exchange.operation is None else mcp_method_label(exchange.operation.method)
    return method, error_type(exchange), version_label(exchange.head.noted.get(b"mcp-protocol-version", b""))


def error_type(exchange: Exchange) -> str:
    """
    The gateway's reason, ``client_gone``, ``tool_error``, a JSON-RPC code or a status of 400 and more; empty if it went
    well. Who ends a subscription has had what it wanted.
    """
    if exchange.error is not None:
        return exchange.error.reason
    if exchange.ended not in _GOOD_ENDS and not (exchange.operation and exchange.operation.method == LISTEN):
        return str(exchange.ended.value)
    result = exchange.result
    if result is not None and result.is_tool_error:
        return "tool_error"
    if result is not None and result.rpc_code:
        return _rpc_label(result.rpc_code)
    return status_label(exchange.status) if exchange.status >= 400 else ""


def _rpc_label(code: int) -> str:
    if code in _RPC_CODES:
        return str(code)
    return "-32xxx" if code in _SERVER_CODES else OTHER
