"""What Prometheus reads of a gateway: counted exactly, whatever clients send."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.ends import LAST_CHUNK, STREAM_HEAD, answer_at, asked, chunked, gateway

from mcpgate.exchange import Ended
from mcpgate.testing import GatewayUnderTest, answer, request

CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{}}}'
GOOD = b'{"jsonrpc":"2.0","id":7,"result":{}}'
FAILED_CALL = b'{"jsonrpc":"2.0","id":7,"result":{"content":[],"isError":true}}'
RPC_ERROR = b'{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown tool"}}'

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(gate: GatewayUnderTest) -> Series:
    """Every sample of a scrape, by name and labels."""
    client = gate.connect(admin=True)
    client.send(request("GET", "/metrics"))
    gate.advance(0.5)
    told = answer_at(client)
    assert told.status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(told.body.decode())
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    """The sum over all samples of a name that have these labels."""
    wanted = set(labels.items())
    return sum(number for (known, its), number in series.items() if known == name and wanted <= its)


def test_a_call_is_counted_once_by_everybody() -> None:
    """Requests, durations, bytes, the MCP message, who asked."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=CALL))
    gate.advance(0.25)
    peer.send(answer(b'{"jsonrpc":"2.0","id":7,"result":{}}'))
    answer_at(client, "POST")
    told = scraped(gate)
    assert value(told, "mcpgate_requests_total", server="x", method="POST", status="200") == 1
    assert value(told, "mcpgate_request_duration_seconds_count", server="x") == 1
    assert value(told, "mcpgate_request_duration_seconds_sum", server="x") == pytest.approx(0.25)
    assert value(told, "mcpgate_upstream_duration_seconds_sum", server="x") == pytest.approx(0.25)
    assert value(told, "mcpgate_bytes_total", server="x", direction="in") == len(CALL)
    assert value(told, "mcpgate_bytes_total", server="x", direction="out") == 36
    assert value(told, "mcp_server_operation_duration_seconds_count", mcp_method_name="tools/call", error_type="") == 1
    assert value(told, "mcpgate_auth_total", outcome="open") == 1
    assert value(told, "mcpgate_upstream_connects_total", server="x", outcome="ok") == 1
    assert value(told, "mcpgate_connections_total", outcome="accepted") == 1
    assert value(told, "mcpgate_open_requests", server="x") == 0


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "head first"])
@pytest.mark.parametrize(("body", "kind"), [(FAILED_CALL, "tool_error"), (RPC_ERROR, "-32602")])
def test_failures_inside_good_answers_are_seen(body: bytes, kind: str, in_pieces: bool) -> None:
    """A tool that failed, and an error of the protocol: both come with 200, in one piece or behind their head."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=CALL))
    whole = answer(body)
    peer.send(*((whole[: -len(body)], body) if in_pieces else (whole,)))
    assert answer_at(client, "POST").body == body
    told = scraped(gate)
    assert value(told, "mcp_server_operation_duration_seconds_count", error_type=kind) == 1
    assert value(told, "mcpgate_requests_total", server="x", status="200") == 1


def test_failures_inside_an_event_are_seen() -> None:
    """Servers answer calls with a stream of one event as well; the call's duration counts, and the stream."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=CALL))
    peer.send(STREAM_HEAD)
    gate.advance(0.25)
    peer.send(chunked(b"event: message\ndata: " + RPC_ERROR + b"\n\n"), LAST_CHUNK)
    answer_at(client, "POST")
    told = scraped(gate)
    assert value(told, "mcp_server_operation_duration_seconds_count", error_type="-32602") == 1
    assert value(told, "mcpgate_request_duration_seconds_count", server="x") == 1
    assert value(told, "mcpgate_time_to_first_event_seconds_sum", server="x") == pytest.approx(0.25)
    assert value(told, "mcpgate_streams_ended_total", server="x", ended="upstream_end") == 1


def test_a_body_behind_its_head_is_seen_too() -> None:
    """Clients send the two in two writes."""
    gate = GatewayUnderTest()
    client = gate.connect()
    whole = request(body=CALL)
    client.send(whole[: -len(CALL)], CALL)
    gate.upstream().send(answer())
    told = scraped(gate)
    assert value(told, "mcp_server_operation_duration_seconds_count", mcp_method_name="tools/call") == 1
    assert value(told, "mcpgate_bytes_total", server="x", direction="in") == len(CALL)


def test_a_stream_is_open_until_it_is_not() -> None:
    """Its bytes count while it runs, its first event once, its end with the reason."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET", headers={"Last-Event-ID": "7"}))
    peer.send(STREAM_HEAD)
    gate.advance(1)
    peer.send(chunked(b": ping\n\n"))
    gate.advance(1)
    peer.send(chunked(b"data: 1\n\n"))
    told = scraped(gate)
    assert value(told, "mcpgate_open_streams", server="x", transport="streamable-http") == 0  # era: no MCP header
    assert value(told, "mcpgate_open_streams", server="x") == 1
    assert value(told, "mcpgate_bytes_total", server="x", direction="out") == 17
    assert value(told, "mcpgate_stream_reopens_total", server="x") == 1
    assert value(told, "mcpgate_open_connections", listener="data", state="stream") == 1
    peer.send(*[chunked(b"data: 2\n\n")] * 3)
    assert value(scraped(gate), "mcpgate_bytes_total", server="x", direction="out") == 17 + 27
    client.reset()
    told = scraped(gate)
    assert value(told, "mcpgate_open_streams", server="x") == 0
    assert value(told, "mcpgate_streams_ended_total", server="x", ended="client_gone") == 1
    assert value(told, "mcpgate_time_to_first_event_seconds_sum", server="x") == pytest.approx(2)
    assert value(told, "mcpgate_bytes_total", server="x", direction="out") == 17 + 27
    assert value(told, "mcpgate_request_duration_seconds_count", server="x") == 0


def test_limits_count_what_they_decide() -> None:
    """Admitted, held, refused: by the name of the limit."""
    gate = gateway(top="limits: [{name: few, key: [address], rate: 1/s, burst: 2}]")
    client = gate.connect()
    for _ in range(5):
        client.send(request(body=CALL))
        if gate.peers and gate.upstream().take():
            gate.upstream().send(answer())
    told = scraped(gate)
    assert value(told, "mcpgate_limit_decisions_total", policy="few", outcome="admitted") == 2
    assert value(told, "mcpgate_limit_decisions_total", policy="few", outcome="refused") == 3
    assert value(told, "mcpgate_errors_total", server="x", reason="rate_limited") == 3


def test_a_reload_keeps_counting() -> None:
    """Counters go on, and a failed one is told."""
    gate = GatewayUnderTest()
    asked(gate, request("GET"))[1].send(answer())
    gate.advance(1)
    assert gate.gateway.reload()["success"]
    gate.config = "servers: 7"
    assert not gate.gateway.reload()["success"]
    told = scraped(gate)
    assert value(told, "mcpgate_requests_total", server="x") == 1
    assert value(told, "mcpgate_config_reloads_total", outcome="ok") == 1
    assert value(told, "mcpgate_config_reloads_total", outcome="refused") == 1
    assert value(told, "mcpgate_config_last_reload_successful") == 0
    assert value(told, "mcpgate_config_last_reload_success_timestamp_seconds") > 1_800_000_000


def test_a_server_that_is_gone_has_no_series_any_more() -> None:
    """When what was open on it has had its time."""
    gate = GatewayUnderTest("drain: {timeout: 5s}\nservers:\n  - {name: x, upstreams: [{url: 'http://127.0.0.1:1'}]}\n")
    asked(gate, request("GET"))[1].send(STREAM_HEAD, chunked(b"data: 1\n\n"))
    gate.config = gate.config.replace("name: x", "name: y")
    assert gate.gateway.reload()["success"]
    assert value(scraped(gate), "mcpgate_open_streams", server="x") == 1
    gate.advance(6)
    told = scraped(gate)
    assert not [labels for _, labels in told if ("server", "x") in labels]
    assert [labels for _, labels in told if ("server", "y") in labels]
    assert [record.ended for record in gate.records if record.server] == [Ended.DRAIN]


def test_tools_are_told_apart_if_that_is_asked_for() -> None:
    """By their first call that went well; inventions of clients, and what is too much, are `other`."""
    gate = gateway(top="metrics: {tools: 2}")
    client = gate.connect()
    for name, body in [("a", GOOD), ("nope", RPC_ERROR), ("b", GOOD), ("a", FAILED_CALL), ("c", GOOD), ("new", b"")]:
        client.send(request(body=CALL.replace(b"echo", name.encode())))
        gate.upstream().send(answer(body))
    told = scraped(gate)
    assert value(told, "mcpgate_tool_calls_total", tool="new") == 0
    assert value(told, "mcpgate_tool_calls_total", tool="a", outcome="ok") == 1
    assert value(told, "mcpgate_tool_calls_total", tool="a", outcome="error") == 1
    assert value(told, "mcpgate_tool_calls_total", tool="b") == 1
    assert value(told, "mcpgate_tool_calls_total", tool="other", outcome="ok") == 2
    assert value(told, "mcpgate_tool_calls_total", tool="other", outcome="error") == 1
    assert value(told, "mcpgate_tool_calls_total", tool="c") == value(told, "mcpgate_tool_calls_total", tool="nope") == 0


def test_an_answer_that_breaks_off_is_counted_with_its_reason() -> None:
    """A server that always does that must not look well."""
    gate = GatewayUnderTest()
    _, peer = asked(gate, request(body=CALL))
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{")
    peer.reset()
    told = scraped(gate)
    assert value(told, "mcpgate_errors_total", server="x", reason="bad_answer") == 1
    assert value(told, "mcp_server_operation_duration_seconds_count", error_type="bad_answer") == 1
    assert gate.records[0].ended is Ended.UPSTREAM_LOST


def test_bytes_that_were_held_are_not_taken_back() -> None:
    """A counter does not fall, though the client gets a refusal instead of what was held."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(request("GET", "/mcp/x/sse", headers={"Accept": "text/event-stream"}))
    peer = gate.upstream()
    peer.send(STREAM_HEAD, b"9c40\r\n" + b": " + b"x" * 39_998 + b"\r\n")
    before = value(scraped(gate), "mcpgate_bytes_total", server="x", direction="out")
    peer.reset()
    after = value(scraped(gate), "mcpgate_bytes_total", server="x", direction="out")
    assert answer_at(client).status == 502
    assert after >= before


def test_faults_of_own_addresses_are_counted(failures: list[str]) -> None:
    """They are ours as well, and an alert waits for them."""
    gate = GatewayUnderTest()
    gate.gateway.reload_state = None  # type: ignore[assignment]
    client = gate.connect(admin=True)
    client.send(request("GET", "/status"))
    assert answer_at(client).status == 500
    assert gate.gateway.telemetry.tallies.failures == 1
    assert len(gate.failures) == len(failures) == 1
    failures.clear()  # it was to happen


@pytest.mark.parametrize("path", ["/metrics", "/status", "/status.txt", "/status/events", "/admin/config", "/admin/reload", "/admin/log-levels"])
@pytest.mark.parametrize("before", ["/", "//", "/./", "/x/.."])
def test_no_second_way_leads_to_what_is_guarded(path: str, before: str) -> None:
    """A second slash, a dot: nothing that another reader would drop."""
    gate = GatewayUnderTest("admin: {listen: 'tcp:8701'}\nservers: []\n")
    for method in ("GET", "POST", "PUT"):
        client = gate.connect(admin=True)
        client.send(request(method, before + path))
        assert answer_at(client, method).status in (400, 401, 404)


def _random_request(dice: random.Random) -> bytes:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    word = "".join(dice.choices(letters, k=8))
    method = dice.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "PROPFIND", "M-SEARCH", "PURGE", "TRACE", word.upper()])
    path = dice.choice(["/mcp/x/mcp", f"/mcp/x/{word}", f"/{word}", f"/mcp/{word}/mcp", f"/mcp/x/../{word}"])
    if dice.random() < 0.02:  # twisted.web takes its time
        path = "/mcp/discovery"
    fields = {
        "Host": dice.choice(["localhost", f"{word}.example"]),
        "User-Agent": word,
        "Mcp-Session-Id": word,
        "MCP-Protocol-Version": dice.choice(["2025-06-18", "2026-07-28", word]),
        "Mcp-Method": word,
        "Authorization": f"Bearer {word}",
        "traceparent": f"00-{dice.getrandbits(128):032x}-{dice.getrandbits(64):016x}-01",
    }
    body = b""
    if method == "POST":
        body = b'{"jsonrpc":"2.0","id":"%b","method":"%b","params":{"name":"%b"}}' % (
            word.encode(),
            dice.choice([word.encode(), b"tools/call"]),
            word.encode(),
        )
    return request(method, path, body, fields)


def _play(gate: GatewayUnderTest, dice: random.Random, rounds: Iterable[int]) -> None:
    client = gate.connect()
    for _ in rounds:
        client.send(_random_request(dice))
        if client.closed is not None:
            client.reset()
            client = gate.connect()
        client.take()


def test_nothing_that_clients_send_makes_a_series() -> None:
    """A hundred thousand requests with random methods, paths, hosts, ids and messages."""
    gate = gateway(top="metrics: {tools: 5}\ngate: {connections: null}")
    gate.refusing = {3010}
    gate.records = _Forgetful()
    dice = random.Random(4)
    _play(gate, dice, range(20_000))
    before = scraped(gate)
    _play(gate, dice, range(80_000))
    after = scraped(gate)
    assert value(after, "mcpgate_requests_total") - value(before, "mcpgate_requests_total") == 80_001  # with the scrape
    assert len(after) - len(before) <= 50
    assert len(after) < 1500


class _Forgetful(list[object]):
    """Keeps nothing: the kit would keep every exchange."""

    def append(self, item: object) -> None:
        """Not this one either."""
