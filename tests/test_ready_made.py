"""The ready-made monitoring in etc/: whether rules and dashboard are whole, and know the series that the gateway tells."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from tests.error_table import all_errors
from tests.source import ROOT

from mcpgate.exchange import Ended, Era
from mcpgate.metrics.families import FAMILIES, Family, Kind
from mcpgate.settings.listeners import AdminSettings

PROMETHEUS = ROOT / "etc" / "prometheus"
ALERTS = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))
RECORDING = yaml.safe_load((PROMETHEUS / "recording.yml").read_text("utf-8"))
DASHBOARD = json.loads((ROOT / "etc" / "grafana" / "mcpgate.json").read_text("utf-8"))

#: What Prometheus adds to every series.
TARGET_LABELS = {"job", "instance"}
#: What Prometheus itself makes; the second one while it evaluates rules.
OWN_SERIES = {"up": TARGET_LABELS, "ALERTS": {"alertname", "alertstate"}}
#: Variables that Grafana knows without being told.
GRAFANA_VARIABLES = {"__rate_interval", "__all"}
GRID_COLUMNS = 24

REASONS = {kind.reason for kind in all_errors()}
#: Labels whose values come from a list of ours.
VALUES = {
    "reason": REASONS,
    "ended": {each.value for each in Ended},
    "era": {each.value for each in Era},
    "outcome": REASONS
    | {"open", "granted", "admitted", "waited", "refused", "accepted", "turned_away", "ok", "failed", "error"},
    "state": {"idle", "exchange", "stream", "tunnel", "closing", "up", "down", "unknown", "busy"},
    "listener": {"data", "admin"},
    "method": {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "_OTHER"},
}

_TEXT = re.compile(r'"[^"]*"')
_SELECTOR = re.compile(r'([a-zA-Z_:][\w:]*)\s*\{((?:"[^"]*"|[^}"])*)\}')
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*("[^"]*")')
_GROUPING = re.compile(r"\b(by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_NAME = re.compile(r"(?<![\w:$.])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])")
_OPERATORS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@cache
def series() -> dict[str, set[str]]:
    """Every series there is, by name, with its labels."""
    found = dict(OWN_SERIES)
    for family in FAMILIES:
        for name, more in told_as(family):
            found[name] = {*family.labels, *more, *TARGET_LABELS}
    for rule in rules(RECORDING):
        level = rule["record"].split(":")[0]
        # The level names the labels: job_instance_server; `le` is short enough to stand there too.
        found[rule["record"]] = set(level.split("_"))
    return found


def told_as(family: Family) -> Iterator[tuple[str, set[str]]]:
    """The names under which a family is stored, and the labels that come with them."""
    if family.kind is not Kind.HISTOGRAM:
        yield family.name, set()
        return
    yield f"{family.name}_bucket", {"le"}
    yield f"{family.name}_sum", set()
    yield f"{family.name}_count", set()


def rules(document: Any) -> list[dict[str, Any]]:
    """All rules of a file."""
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """All panels but the rows."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@cache
def expressions() -> dict[str, str]:
    """Every PromQL expression that is shipped, by where it stands."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in rules(ALERTS)}
    found |= {f"record {rule['record']}": rule["expr"] for rule in rules(RECORDING)}
    for panel in panels():
        found |= {f"panel {panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    for note in DASHBOARD["annotations"]["list"]:
        if "expr" in note:
            found[f"note {note['name']}"] = note["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            inside = re.fullmatch(r"label_values\((.*), \w+\)", variable["definition"])
            assert inside, variable["definition"]
            found[f"variable {variable['name']}"] = inside[1]
    return found


def named(expression: str) -> dict[str, set[str]]:
    """The series of an expression with the labels that it selects by."""
    found: dict[str, set[str]] = {}
    for name, matchers in _SELECTOR.findall(expression):
        found.setdefault(name, set()).update(label for label, _ in _MATCHER.findall(matchers))
    bare = _SELECTOR.sub(" ", _GROUPING.sub(" ", _TEXT.sub('""', expression)))
    bare = re.sub(r"\[[^\]]*\]", " ", bare)
    for name in set(_NAME.findall(bare)) - _OPERATORS:
        found.setdefault(name, set())
    return found


def grouped(expression: str) -> set[str]:
    """The labels by which an expression sums or joins."""
    lists = [labels for _, labels in _GROUPING.findall(expression)]
    return {label.strip() for label in itertools.chain(*(labels.split(",") for labels in lists)) if label.strip()}


def test_names_and_labels_are_found_in_an_expression() -> None:
    """The reader of expressions, on which the tests below stand, sees what is there and nothing else."""
    expression = 'sum by (a, le) (rate(x_bucket{b="{c}", d=~"$e"}[5m])) / on (f) (y offset 5m > 0.5) and absent(z)'
    assert named(expression) == {"x_bucket": {"b", "d"}, "y": set(), "z": set()}
    assert grouped(expression) == {"a", "le", "f"}


@pytest.mark.parametrize("place", expressions())
def test_expression_knows_what_the_gateway_tells(place: str) -> None:
    """Every series in rules and dashboard exists, with the labels and the fixed values that are asked of it."""
    expression, known = expressions()[place], series()
    asked = named(expression)
    assert asked, "an expression without a series"
    assert set(asked) <= set(known)
    for name, labels in asked.items():
        assert labels <= known[name], name
    assert grouped(expression) <= set().union(*(known[name] for name in asked))
    for label, value in _MATCHER.findall(expression):
        wanted = set(value.strip('"').split("|")) if label in VALUES else set()
        assert wanted <= VALUES.get(label, set()), label


@pytest.mark.parametrize("rule", rules(ALERTS), ids=lambda rule: str(rule["alert"]))
def test_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    """A severity, one line, what to do, and a paragraph in the manual; nothing that the series do not tell."""
    assert rule["labels"]["severity"] in ("critical", "warning")
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert len(notes["description"]) > 100
    assert "\n" not in notes["summary"]
    page, _, anchor = notes["runbook_url"].partition("#")
    assert anchor == rule["alert"].lower()
    assert re.search(rf"^#+ {rule['alert']}$", (ROOT / page).read_text("utf-8"), re.M), "no paragraph in the manual"
    asked, known = named(rule["expr"]), series()
    told = grouped(rule["expr"]) or set().union(*(known[name] for name in asked))
    assert set(re.findall(r"\$labels\.(\w+)", str(notes))) <= told | TARGET_LABELS


def test_every_alert_has_a_test_where_it_fires() -> None:
    """alerts_test.yml shows each one firing, and one test where none does."""
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text("utf-8"))["tests"]
    samples = [sample for test in tests for case in test["promql_expr_test"] for sample in case["exp_samples"]]
    fired = {name for sample in samples for name in re.findall(r'alertname="(\w+)"', sample["labels"])}
    assert fired == {rule["alert"] for rule in rules(ALERTS)}
    healthy = [case for case in tests[-1]["promql_expr_test"] if case["expr"] == "ALERTS"]
    assert len(healthy) > 1
    assert all(case["exp_samples"] == [] for case in healthy)


def test_alerts_do_without_recorded_series() -> None:
    """Whoever takes over alerts.yml alone has alerts that fire."""
    recorded = {rule["record"] for rule in rules(RECORDING)}
    assert not recorded & {name for rule in rules(ALERTS) for name in named(rule["expr"])}


def test_recorded_series_are_named_by_their_level() -> None:
    """level:metric:operations, and the level is what the expression sums by."""
    names = [rule["record"] for rule in rules(RECORDING)]
    assert len(set(names)) == len(names)
    for rule in rules(RECORDING):
        parts = rule["record"].split(":")
        assert len(parts) == 3
        by = grouped(rule["expr"])
        assert by <= {*parts[0].split("_"), "le"}, rule["record"]


def test_quick_start_scrapes_the_gateway_as_it_comes() -> None:
    """prometheus.yml finds the rule files beside it, and the admin listener where it is by default."""
    document = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    assert all((PROMETHEUS / name).is_file() for name in document["rule_files"])
    job = document["scrape_configs"][0]
    assert job["job_name"] == "mcpgate"
    host, _, port = job["static_configs"][0]["targets"][0].partition(":")
    assert AdminSettings().listen == (f"tcp:{port}:interface={host}",)
    jobs = set(re.findall(r'job="([^"]*)"', (PROMETHEUS / "alerts.yml").read_text("utf-8")))
    assert jobs == {job["job_name"]}


# --- the dashboard --------------------------------------------------------------------------------------------------


def test_dashboard_can_be_imported() -> None:
    """It brings a fixed address and no number of its own, and asks which Prometheus is meant."""
    assert DASHBOARD["uid"] == "mcpgate-overview"
    assert DASHBOARD["id"] is None
    assert 39 <= DASHBOARD["schemaVersion"] <= 41
    asked = {each["name"] for each in DASHBOARD["__inputs"]}
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["current"]["value"] == f"${{{asked.pop()}}}"
    assert list(variables) == ["datasource", "job", "instance", "server"]
    needed = {each["id"] for each in DASHBOARD["__requires"] if each["type"] == "panel"}
    assert needed == {panel["type"] for panel in panels()}


def test_dashboard_has_its_rows() -> None:
    """Six of them, each with something in it, from the top down."""
    kinds = [panel["type"] == "row" for panel in DASHBOARD["panels"]]
    titles = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert titles == ["Overview", "Servers", "Streams", "Limits", "Registry", "Process"]
    assert (True, True) not in set(itertools.pairwise([*kinds, True]))
    tops = [panel["gridPos"]["y"] for panel in DASHBOARD["panels"]]
    assert tops == sorted(tops)


def test_panels_are_apart() -> None:
    """Numbers are unique, and no two panels lie over each other or stick out."""
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < GRID_COLUMNS


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_panel_is_readable(panel: dict[str, Any]) -> None:
    """A title, a sentence, a unit, a legend for each line, and the Prometheus that was chosen."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        assert target["legendFormat"]
        told = set().union(*(series()[name] for name in named(target["expr"])))
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= told
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert sources == [{"type": "prometheus", "uid": "${datasource}"}] * len(sources)


def test_variables_exist_and_are_used() -> None:
    """Every $name in the dashboard is a variable of it or of Grafana, and none is there for nothing."""
    text = json.dumps([DASHBOARD["panels"], DASHBOARD["annotations"], DASHBOARD["templating"]])
    used = set(re.findall(r"\$\{?(\w+)", text))
    own = {each["name"] for each in DASHBOARD["templating"]["list"]}
    assert used - GRAFANA_VARIABLES - {each["name"] for each in DASHBOARD["__inputs"]} == own
    assert all("$job" in expression for expression in dashboard_expressions())


def dashboard_expressions() -> list[str]:
    """What the panels ask."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_dashboard_shows_everything_of_the_gateway() -> None:
    """A series of ours that stands in no panel is one that nobody looks at; the few exceptions have a reason."""
    shown = {name for expression in dashboard_expressions() for name in named(expression)}
    ours = [family for family in FAMILIES if family.name.startswith("mcp")]
    unseen = {family.name for family in ours if not {name for name, _ in told_as(family)} & shown}
    # What a scrape costs is the concern of whoever works on the gateway.
    assert unseen == {"mcpgate_last_scrape_seconds"}
