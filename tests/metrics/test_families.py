"""mcpgate.metrics.families: every series has one plain line, and nothing from outside makes a label."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import metric_table
from tests.metrics.gate import exchange_of

from mcpgate.errors import ConnectFailed
from mcpgate.metrics import families
from mcpgate.metrics.families import FAMILIES, Family, Kind
from mcpgate.metrics.tallies import OTHER
from mcpgate.wire.operation import Result


def test_the_manual_has_a_line_for_every_series() -> None:
    """docs/observability.md has the table that the code makes; if not: ``python -m tests.metric_table``."""
    assert metric_table.PAGE.read_text("utf-8") == metric_table.page()


def test_a_name_means_one_thing() -> None:
    """In OpenMetrics, where a counter loses its suffix, too."""
    assert len({family.stem for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_is_named_as_prometheus_advises(family: Family) -> None:
    """Base units, ``_total`` for counters and for nothing else, plain labels, a sentence that says what it is."""
    assert re.fullmatch(r"(mcpgate|mcp_server|process|python)_[a-z_]+[a-z]", family.name)
    assert family.name.endswith("_total") is (family.kind is Kind.COUNTER)
    assert (family.kind is Kind.HISTOGRAM) <= (family.unit == "seconds")
    assert all(re.fullmatch(r"[a-z_]+", label) and label != "le" for label in family.labels)
    assert re.fullmatch(r"[A-Z01][^\n\\\"|]+\.", family.help)
    assert len(family.help) <= 100


@given(st.binary(max_size=20) | st.sampled_from([b"GET", b"get", b"PROPFIND"]))
def test_a_method_is_of_a_fixed_list(method: bytes) -> None:
    """Whatever llhttp lets in, or a bug lets through."""
    known = {b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS"}
    assert families.method_label(method) == (method.decode() if method in known else OTHER)


@pytest.mark.parametrize(
    ("status", "label"),
    [
        (0, "0"),
        (200, "200"),
        (429, "429"),
        (511, "511"),
        (299, "2xx"),
        (599, "5xx"),
        (104, "1xx"),
        (999, "5xx"),
        (7, "1xx"),
    ],
)
def test_a_status_that_http_does_not_know_is_told_by_its_class(status: int, label: str) -> None:
    """A server may answer with any three digits."""
    assert families.status_label(status) == label


@pytest.mark.parametrize(
    "method", ["server/discover", "subscriptions/listen", "tasks/update", "notifications/cancelled"]
)
def test_methods_of_the_specification_are_told(method: str) -> None:
    """Of all its versions."""
    assert families.operation_key(exchange_of(method)) == (method, "", "")


@given(st.text())
def test_other_methods_and_versions_share_one_label(text: str) -> None:
    """A client may write anything into both."""
    assert families.mcp_method_label(f"x/{text}") == OTHER
    assert families.version_label(f"2026-07-28{text}x".encode()) == ""


def test_the_version_is_what_the_head_says() -> None:
    """There is none in the heads of the first two versions."""
    assert families.operation_key(exchange_of(version="2025-11-25"))[2] == "2025-11-25"
    assert families.operation_key(exchange_of(version="2099-01-01"))[2] == ""


def test_an_exchange_without_a_message_is_none_of_the_methods() -> None:
    """A body that was not read."""
    exchange = exchange_of()
    exchange.operation = None
    assert families.operation_key(exchange) == (OTHER, "", "")


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (-32700, "-32700"), (-32602, "-32602"), (-32603, "-32603"), (-32000, "-32xxx"), (-32099, "-32xxx"),
        (-32100, OTHER), (-31999, OTHER), (-32604, OTHER), (1, OTHER), (2**63, OTHER),
    ],
)  # fmt: skip
def test_a_code_of_json_rpc_is_told_if_it_is_a_standard_one(code: int, label: str) -> None:
    """Servers choose the others as they like."""
    assert families.error_type(exchange_of(result=Result(code, False))) == label


def test_a_failure_is_told_by_what_says_most() -> None:
    """The gateway's own reason, then the tool's failure, the protocol's, the status; nothing if it went well."""
    error = ConnectFailed()
    assert families.error_type(exchange_of(status=502, error=error, result=Result(-32602, True))) == "connect_failed"
    assert families.error_type(exchange_of(status=500, result=Result(-32602, True))) == "tool_error"
    assert families.error_type(exchange_of(status=500, result=Result(-32602, False))) == "-32602"
    assert families.error_type(exchange_of(status=503, result=Result(0, False))) == "503"
    assert families.error_type(exchange_of(status=202)) == ""
