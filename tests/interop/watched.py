"""A stage that a real Prometheus watches: servers with their troubles, and the answers to what PromQL asks about them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.interop.install import CHECKOUT, COMMAND
from tests.interop.processes import POLL_S, Command, free_port, run_to_end
from tests.interop.stage import Stage
from tests.interop.upstreams import UPSTREAMS, Upstream, python_sdk

RULES = CHECKOUT / "etc" / "prometheus"
SCRAPE_INTERVAL = "250ms"
#: What stands for minutes in the shortened alerts: a rate needs several scrapes.
SHORT_WINDOW = "6s"
PATIENCE_S = 20.0
PROMTOOL_TIMEOUT_S = 30.0
#: Calls at once on the server `tight`; there is one more a minute.
TIGHT_BURST = 2
TOKEN = "interop-watch-" + "t" * 40

#: Sums of series, by the values of their labels in the order asked for.
Sums = dict[tuple[str, ...], float]


def program(name: str) -> str:
    """Find a program of Debian's package `prometheus`; without it the tests fail: skipped ones would prove nothing."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed; run: {COMMAND}", pytrace=False)
    return found


def promtool(*arguments: str, given: Path | None = None) -> str:
    """
    Run promtool and return all that it printed.

    :param given: a file for its input.
    :raises AssertionError: if it finds fault.
    """
    done = run_to_end(Command([program("promtool"), *arguments], RULES, {}), given, PROMTOOL_TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def shortened(alerts: str) -> str:
    """The same alerts, in seconds instead of minutes; a label tells them from those that stand beside them."""
    quick = re.sub(r"(?<=for: )\d+m", "500ms", re.sub(r"\[\d+m\]", f"[{SHORT_WINDOW}]", alerts))
    return quick.replace("labels: {", "labels: {pace: short, ")


class WatchedStage(Stage):
    """
    As `Stage`, with a few servers and a Prometheus beside the gateway.

    The servers: `fixture` and `fixture-sse`, which are well; `gone`, where nobody listens; `tight`, which few may call;
    `guarded`, which wants a token.

    :param lingers: how long a gateway that was told to leave still serves.
    """

    def __init__(self, home: Path, folder: Path, lingers: str = "0s") -> None:
        self._lingers = lingers
        nobody = Upstream(python_sdk("v2", "fixture_server.py"), {"http": "/mcp"})
        upstreams = {name: UPSTREAMS[name] for name in ("fixture", "fixture-sse")}
        super().__init__(home, folder, {**upstreams, "gone": nobody})
        self._prometheus_port = free_port(set(self._ports.values()))
        #: Servers that a reload adds.
        self.added: list[str] = []

    def begin(self, *upstreams: str) -> None:
        """Start these, the gateway and Prometheus, and wait until the first scrape is in."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: self.direct(name, "sse" if name.endswith("-sse") else "http"), upstreams))
        self.at_gateway("fixture", "http", "")
        self._start("prometheus", self._prometheus_command(), self._is_watching)

    def settings(self) -> dict[str, Any]:
        """Return what the configuration says beside the listeners."""
        behind = {"fixture": "fixture", "fixture-sse": "fixture-sse", "gone": "gone", "tight": "fixture"}
        endpoints = {"streamable-http": "/mcp", "sse": "/sse"}
        servers = [
            {
                "name": name,
                "auth": "none",
                "upstreams": [self.replica(behind.get(name, "fixture"))],
                "endpoints": endpoints,
            }
            for name in (*behind, *self.added)
        ]
        guarded = {"name": "guarded", "auth": "required", "upstreams": [self.replica("fixture")]}
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        limit = {"name": "tight", "key": ["address"], "match": {"servers": ["tight"], "methods": ["tools/call"]}}
        return {
            "servers": [*servers, guarded],
            "auth": {"tokens": [{"id": "alice", "sha256": digest, "servers": ["*"]}]},
            "limits": [{**limit, "rate": "1/m", "burst": TIGHT_BURST}],
            "logging": {"access": "file:access.log", "format": "json"},
            "metrics": {"tools": 5},
            "drain": {"delay": self._lingers, "timeout": "5s"},
            # A list that is there; what it says, this gateway has said itself.
            "registry": {
                "allow_networks": ["127.0.0.0/8"],
                "store": "none",
                "sources": [{"name": "own", "url": f"http://127.0.0.1:{self._ports['gateway']}/mcp/discovery"}],
            },
        }

    def register(self, name: str) -> None:
        """Let the fixture join under a name of its own, which somebody who has no lease keeps."""
        url = f"http://127.0.0.1:{self._ports['admin']}/v1/servers/{name}/replicas/a"
        token = (self.folder / "var" / "admin.token").read_text("ascii").strip()
        body = json.dumps({"url": self.replica("fixture")["url"], "ttl": 0}).encode()
        fields = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, body, fields, method="PUT"), timeout=5) as reply:
            assert reply.status in (200, 201)

    # --- what the gateway tells ---------------------------------------------------------------------------------------

    def scraped(self, accept: str) -> str:
        """The metrics as the gateway sends them to who accepts this."""
        url = f"http://127.0.0.1:{self._ports['admin']}/metrics"
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=5) as reply:
            return str(reply.read().decode())

    def logged(self) -> Sums:
        """How many lines the access log has for each server, method, status and era."""
        found: Sums = {}
        for line in (self.folder / "access.log").read_text("utf-8").splitlines():
            entry = json.loads(line)
            if entry.get("server"):
                key = (entry["server"], entry["method"], str(entry["status"]), entry["era"])
                found[key] = found.get(key, 0) + 1
        return found

    # --- what Prometheus tells ----------------------------------------------------------------------------------------

    def told(self, path: str, **query: str) -> Any:
        """What its HTTP API answers at a path."""
        url = f"http://127.0.0.1:{self._prometheus_port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                answer = json.load(reply)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from None
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """What an expression gives now: labels and value of each series."""
        data = self.told("query", query=expression)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(each["metric"], float(each["value"][1])) for each in data["result"]]

    def asked(self, expression: str, *labels: str) -> Sums:
        """What an expression gives, by the values of some labels."""
        return {tuple(metric.get(label, "") for label in labels): value for metric, value in self.query(expression)}

    def value(self, expression: str) -> float:
        """The value of an expression that has one."""
        ((_, value),) = self.query(expression)
        return value

    def freshly(self, expression: str, *labels: str) -> Sums:
        """As `asked`, by a scrape that began after this call."""
        began_s = time.time()
        self.wait(lambda: self.value('timestamp(up{job="mcpgate"})') > began_s, "a fresh scrape")
        return self.asked(expression, *labels)

    def settles(self, expression: str, labels: tuple[str, ...], expected: Sums) -> None:
        """
        Wait until an expression gives what is expected, and still does after the next scrape.

        :raises AssertionError: with what it gives instead.
        """
        seen: list[Sums] = []

        def is_so() -> bool:
            seen[:] = [self.asked(expression, *labels)]
            return seen[0] == expected

        with contextlib.suppress(AssertionError):
            self.wait(is_so, expression)
        assert seen == [expected]
        assert self.freshly(expression, *labels) == expected

    def wait(self, happened: Callable[[], bool], what: str) -> None:
        """
        Poll until something is so.

        :raises AssertionError: naming ``what`` if it is not in time.
        """
        end_s = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < end_s, f"{what}: not within {PATIENCE_S} s"
            time.sleep(POLL_S)

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """The shortened alerts that fire, by name, each with its instances."""
        found: dict[str, list[dict[str, Any]]] = {}
        for group in self.told("rules", type="alert")["groups"]:
            for rule in group["rules"] if group["file"].endswith("short.yml") else ():
                if firing := [alert for alert in rule["alerts"] if alert["state"] == "firing"]:
                    found[rule["name"]] = firing
        return found

    def fires(self, *names: str, meanwhile: Callable[[], object] = lambda: None) -> dict[str, list[dict[str, Any]]]:
        """
        Wait until all these alerts fire, and return all that do.

        :param meanwhile: called again and again until then.
        :raises AssertionError: naming those that do not.
        """
        seen: dict[str, list[dict[str, Any]]] = {}

        def all_fire() -> bool:
            meanwhile()
            seen.clear()
            seen.update(self.firing())
            return set(names) <= set(seen)

        with contextlib.suppress(AssertionError):
            self.wait(all_fire, "alerts")
        assert set(names) <= set(seen)
        return seen

    def _is_watching(self) -> bool:
        with contextlib.suppress(OSError, AssertionError, ValueError):
            return self.value('up{job="mcpgate"}') == 1
        return False

    def _prometheus_command(self) -> Command:
        """The shipped configuration with another address, often; the shipped rules, and their shortened twins."""
        (self.folder / "short.yml").write_text(shortened((RULES / "alerts.yml").read_text("utf-8")))
        files = json.dumps([str(RULES / "recording.yml"), str(RULES / "alerts.yml"), "short.yml"])
        config = (RULES / "prometheus.yml").read_text("utf-8")
        config = re.sub(r"(_interval:) 5s", rf"\1 {SCRAPE_INTERVAL}", config)
        config = re.sub(r"rule_files:\n(?:  - .*\n)+", f"rule_files: {files}\n", config)
        (self.folder / "prometheus.yml").write_text(
            config.replace("127.0.0.1:8701", f"127.0.0.1:{self._ports['admin']}")
        )
        argv = [program("prometheus"), f"--config.file={self.folder / 'prometheus.yml'}"]
        argv += [f"--storage.tsdb.path={self.folder / 'tsdb'}", "--query.lookback-delta=2s"]
        argv += [f"--web.listen-address=127.0.0.1:{self._prometheus_port}"]
        return Command(argv, self.folder, {})
