"""A real Prometheus at a real gateway: what it is told is exact, and its alerts fire when something is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from tests.interop.callers import SESSION, Caller, announced, request
from tests.interop.conftest import STAGES
from tests.interop.install import CHECKOUT
from tests.interop.visits import CLIENT_MODES, Plan, Visitor
from tests.interop.watched import TIGHT_BURST, Sums, WatchedStage, promtool

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
KEY = ("server", "method", "status", "era")
REQUESTS = f'sum by ({", ".join(KEY)}) (mcpgate_requests_total{{server!="_gateway"}})'
OPEN_STREAMS = "sum by (server, transport) (mcpgate_open_streams) > 0"
VISITORS = ("python-2.3-sse", "typescript-1.32-sse", "python-1.30-http", "typescript-2.4-auto")
#: Series that may only rise.
COUNTED = ("_total", "_count", "_sum", "_bucket")


@pytest.fixture(scope="module")
def watched(
    home: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[WatchedStage]:
    """Servers, gateway and Prometheus for the tests of this file."""
    stage = WatchedStage(home, tmp_path_factory.mktemp("watched"))
    pytestconfig.stash[STAGES].append(stage)
    try:
        stage.begin("fixture", "fixture-sse")
        yield stage
    finally:
        stage.close()


# --- the shipped files ----------------------------------------------------------------------------------------------


def test_shipped_files_are_in_order() -> None:
    """promtool finds no fault with the configuration and the rules in it."""
    said = promtool("check", "config", "prometheus.yml")
    assert said.count("SUCCESS") == 4, said
    promtool("check", "rules", "alerts.yml", "recording.yml")


def test_alerts_fire_on_made_series_and_not_on_healthy_ones() -> None:
    """The unit tests of the alerts hold."""
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_scrape_reads_well(watched: WatchedStage, tmp_path: Path) -> None:
    """promtool has nothing to say about the text form, and both forms hold the same series."""
    before, openmetrics, after = (watched.scraped(accept) for accept in ("text/plain", OPENMETRICS, "text/plain"))
    (tmp_path / "body").write_text(before)
    assert promtool("check", "metrics", given=tmp_path / "body") == ""
    # Between two scrapes something may happen for the first time.
    assert series(read_text(before)) <= series(read_openmetrics(openmetrics)) <= series(read_text(after))
    assert len(series(read_text(before))) > 100


def series(families: Iterable[Metric]) -> set[tuple[object, ...]]:
    """Names and labels of everything in a scrape."""
    return {(sample.name, *sorted(sample.labels.items())) for family in families for sample in family.samples}


def test_prometheus_takes_every_line(watched: WatchedStage) -> None:
    """All targets are up, nothing of a scrape was refused, and all rules work."""
    (target,) = watched.told("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    taken = 'scrape_samples_scraped{job="mcpgate"} - scrape_samples_post_metric_relabeling{job="mcpgate"}'
    assert watched.freshly(taken) == {(): 0}
    found = [rule for group in watched.told("rules")["groups"] for rule in group["rules"]]
    assert len(found) > 60
    assert {(rule["health"], rule.get("lastError", "")) for rule in found} == {("ok", "")}
    said = (watched.folder / "prometheus.log").read_text()
    assert [line for line in said.splitlines() if "level=warn" in line or "level=error" in line] == []


# --- what is counted ------------------------------------------------------------------------------------------------


def test_made_load_is_counted_exactly(watched: WatchedStage) -> None:
    """Every request stands where it belongs: by server, method, status and era."""
    before = watched.freshly(REQUESTS, *KEY)
    elsewhere = 'mcpgate_errors_total{server="_gateway", reason="no_route"}'
    lost = watched.freshly(f"sum({elsewhere}) or vector(0)")[()]
    fixture, gone = (Caller(watched.at_gateway(name, "http", "/mcp")) for name in ("fixture", "gone"))
    for _ in range(7):
        assert fixture.call_stateless("tools/list").status == 200
    fixture.initialize()
    for _ in range(3):
        assert fixture.send("DELETE", headers={SESSION: "made-up"}).status == 404
        assert gone.call("tools/list").status == 502
    for _ in range(2):
        assert Caller(watched.at_gateway("nobody", "http", "/mcp")).send("GET").status == 404
    made: Sums = {
        ("fixture", "POST", "200", "stateless"): 7,
        ("fixture", "POST", "200", "session"): 1,
        ("fixture", "POST", "202", "session"): 1,
        ("fixture", "DELETE", "404", "session"): 3,
        ("gone", "POST", "502", "session"): 3,
    }
    watched.settles(REQUESTS, KEY, {key: before.get(key, 0) + made.get(key, 0) for key in before.keys() | made.keys()})
    watched.settles(f"sum({elsewhere})", (), {(): lost + 2})


def test_streams_are_counted_while_they_are_open(watched: WatchedStage) -> None:
    """Each one that is open, no more and no less, and none once everybody has left."""
    legacy, fixture = (
        Caller(watched.at_gateway(*place)) for place in (("fixture-sse", "sse", "/sse"), ("fixture", "http", "/mcp"))
    )
    left = 'sum(mcpgate_streams_ended_total{ended="client_gone"}) or vector(0)'
    before = watched.freshly(left)[()]
    with contextlib.ExitStack() as others, contextlib.ExitStack() as stays:
        announced(stays.enter_context(legacy.opened("GET")))
        for _ in range(4):
            announced(others.enter_context(legacy.opened("GET")))
        for _ in range(2):
            session = {**fixture.initialize(), "MCP-Protocol-Version": "2025-11-25"}
            assert others.enter_context(fixture.opened("GET", headers=session)).status == 200
        everybody: Sums = {("fixture-sse", "sse"): 5.0, ("fixture", "streamable-http"): 2.0}
        watched.settles(OPEN_STREAMS, ("server", "transport"), everybody)
        others.close()
        watched.settles(OPEN_STREAMS, ("server", "transport"), {("fixture-sse", "sse"): 1.0})
    watched.settles("sum(mcpgate_open_streams)", (), {(): 0.0})
    watched.settles(left, (), {(): before + 7})


def test_real_clients_leave_nothing_open(watched: WatchedStage, visitor: Visitor) -> None:
    """After visits of real SDKs the counts agree with the access log to the request, and with each other."""

    def visit(client: str) -> int:
        server = "fixture-sse" if CLIENT_MODES[client].transport == "sse" else "fixture"
        url = watched.public(server, CLIENT_MODES[client].transport)
        return len(
            visitor.visit(client, url, Plan(calls=(("test_simple_text", {}), ("test_tool_with_progress", {}))))["calls"]
        )

    with ThreadPoolExecutor(max_workers=2) as pool:
        assert list(pool.map(visit, VISITORS)) == [2] * len(VISITORS)
    watched.settles("sum(mcpgate_open_streams) + sum(mcpgate_open_requests)", (), {(): 0.0})
    assert watched.value("max(max_over_time(mcpgate_open_streams[1m]))") >= 1
    assert watched.value('sum(mcpgate_open_connections{listener="data", state=~"stream|exchange"})') == 0
    # The log is written in batches.
    watched.wait(lambda: watched.asked(REQUESTS, *KEY) == watched.logged(), "as many lines as requests")
    opened = watched.freshly("sum by (server) (mcpgate_streams_total)", "server")
    assert opened
    ended = "sum by (server) ({}) > 0"
    assert watched.asked(ended.format("mcpgate_streams_ended_total"), "server") == positive(opened)
    assert watched.asked(ended.format("mcpgate_stream_duration_seconds_count"), "server") == positive(opened)
    calls = 'sum(mcp_server_operation_duration_seconds_count{mcp_method_name="tools/call"})'
    assert watched.value(calls) >= 2 * len(VISITORS)


def positive(sums: Sums) -> Sums:
    """Without those that are zero."""
    return {key: value for key, value in sums.items() if value}


def test_counts_outlive_a_reload(watched: WatchedStage) -> None:
    """A reload with a new server takes nothing back, and the new one is seen at once."""
    fixture = Caller(watched.at_gateway("fixture", "http", "/mcp"))
    fixture.call_stateless("tools/list")
    before = watched.freshly(REQUESTS, *KEY)
    reloads = watched.value('mcpgate_config_reloads_total{outcome="ok"}')
    watched.added.append("newcomer")
    reload(watched)
    watched.settles('mcpgate_config_reloads_total{outcome="ok"}', (), {(): reloads + 1})
    watched.settles('mcpgate_open_requests{server="newcomer"}', (), {(): 0})
    assert fixture.call_stateless("tools/list").status == 200
    key = ("fixture", "POST", "200", "stateless")
    watched.settles(REQUESTS, KEY, {**before, key: before[key] + 1})
    counters = [name for name in watched.told("label/__name__/values") if name.endswith(COUNTED)]
    assert len(counters) > 30
    assert {name: watched.value(f"sum(resets({name}[5m]))") for name in counters} == dict.fromkeys(counters, 0)


def reload(watched: WatchedStage) -> None:
    """Write the configuration anew and have it read."""
    watched.write_config()
    os.kill(watched.running["gateway"].pid, signal.SIGHUP)


def test_panels_of_the_dashboard_show_something(watched: WatchedStage) -> None:
    """Prometheus understands every expression of the dashboard and has an answer, as Grafana would ask it."""
    watched.register("joined")
    for _ in range(2):
        trouble(watched)
        with Caller(watched.at_gateway("fixture-sse", "sse", "/sse")).opened("GET") as stream:
            announced(stream)
        # A counter that is new has not risen yet.
        watched.settles("sum(mcpgate_open_streams)", (), {(): 0.0})
    dashboard = json.loads((CHECKOUT / "etc" / "grafana" / "mcpgate.json").read_text("utf-8"))
    expressions = [
        (panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]
    assert len(expressions) > 50
    assert {title for title, expression in expressions if not watched.query(filled(expression))} == set()


def filled(expression: str) -> str:
    """An expression of the dashboard with everything chosen."""
    for name, value in (("$__rate_interval", "1m"), ("$job", "mcpgate"), ("$instance", ".*"), ("$server", ".*")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


# --- alerts ---------------------------------------------------------------------------------------------------------


def test_troubled_servers_and_clients_fire_their_alerts(watched: WatchedStage) -> None:
    """A server that is gone, a limit that is hit, and bad tokens: each fires its alerts, and what is well fires none."""
    firing = watched.fires(
        "McpgateServerUnreachable",
        "McpgateReplicaDown",
        "McpgateHighErrorRatio",
        "McpgateLimitRefusesMuch",
        "McpgateAuthenticationFailures",
        meanwhile=lambda: trouble(watched),
    )
    for name in ("McpgateServerUnreachable", "McpgateReplicaDown", "McpgateHighErrorRatio"):
        assert {alert["labels"]["server"] for alert in firing[name]} == {"gone"}, name
    assert [alert["labels"]["policy"] for alert in firing["McpgateLimitRefusesMuch"]] == ["tight"]
    wrong = {"McpgateDown", "McpgateAbsent", "McpgateNotReady", "McpgateReloadFailed", "McpgateUnexpectedFailures"}
    assert not wrong & set(firing)
    texts = [text for alerts in firing.values() for alert in alerts for text in alert["annotations"].values()]
    assert [text for text in texts if "error expanding" in text or "%!" in text or "<no value>" in text] == []


def trouble(watched: WatchedStage) -> None:
    """What goes wrong in a fraction of a second."""
    gone, tight, guarded = (Caller(watched.at_gateway(name, "http", "/mcp")) for name in ("gone", "tight", "guarded"))
    assert gone.call("tools/list").status == 502
    for _ in range(TIGHT_BURST + 1):
        status = tight.call_stateless("tools/call", {"name": "test_simple_text", "arguments": {}}).status
    assert status == 429
    for _ in range(5):
        assert guarded.send("POST", request("tools/list"), {"Authorization": "Bearer wrong"}).status in (401, 429)


def test_refused_reload_fires_its_alert_until_the_next_good_one(watched: WatchedStage) -> None:
    """A broken file: the gateway says that it runs on the old one, and takes it back when the file is mended."""
    config = watched.write_config()
    config.write_text("servers: [")
    os.kill(watched.running["gateway"].pid, signal.SIGHUP)
    watched.fires("McpgateReloadFailed")
    reload(watched)
    watched.wait(lambda: "McpgateReloadFailed" not in watched.firing(), "the alert ends")


def test_leaving_and_lost_gateway_fires_its_alerts(home: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """One that drains says so and can still be scraped; one that was killed is missed."""
    stage = WatchedStage(home, tmp_path, lingers="30s")
    pytestconfig.stash[STAGES].append(stage)
    try:
        stage.begin()
        stage.wait(lambda: not {"McpgateAbsent", "McpgateDown", "McpgateNotReady"} & set(stage.firing()), "all well")
        gateway = stage.running["gateway"]
        os.kill(gateway.pid, signal.SIGTERM)
        assert "McpgateDown" not in stage.fires("McpgateNotReady")
        os.kill(gateway.pid, signal.SIGKILL)
        stage.fires("McpgateDown")
        del stage.running["gateway"]
        assert gateway.stop() == -signal.SIGKILL
    finally:
        stage.close()
