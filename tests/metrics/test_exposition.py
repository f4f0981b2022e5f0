"""mcpgate.metrics.exposition: the official parsers read back exactly what was put in."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.metrics.gate import families_of, samples_of
from tests.strategies import PURE

from mcpgate.metrics.exposition import Exposition, Format, chosen_format
from mcpgate.metrics.families import Family, Kind
from mcpgate.metrics.tallies import Histogram

COUNTER = Family("gate_calls_total", Kind.COUNTER, 'Calls; "quoted" \\ and so on.', ("server", "tool"))
GAUGE = Family("gate_open_bytes", Kind.GAUGE, "Bytes.", ("server",))
HISTOGRAM = Family("gate_duration_seconds", Kind.HISTOGRAM, "Durations.", ("server", "how"))

#: Names as servers, tools and clients might write them.
labels = st.text() | st.text(st.sampled_from('a"\\\n%{}=, sd#\r\u2028é'), max_size=12)
formats = st.sampled_from(Format)


def written(format: Format, family: Family, series: dict[tuple[str, ...], float | Histogram]) -> str:
    """A text with one family."""
    exposition = Exposition(format)
    samples = "".join(exposition.sample(family, values, value) for values, value in series.items())
    return exposition.opening(family) + samples + exposition.closing


@PURE
@given(formats, st.dictionaries(st.tuples(labels, labels), st.integers(0, 2**53), max_size=4))
def test_counters_come_back_as_they_were(format: Format, series: dict[tuple[str, ...], float]) -> None:
    """With quotes, backslashes, line ends and any script in their labels."""
    found = samples_of(written(format, COUNTER, dict(series)))
    assert found == {
        (COUNTER.name, (("server", server), ("tool", tool))): count for (server, tool), count in series.items()
    }


@PURE
@given(formats, labels, st.floats(allow_nan=False, allow_infinity=False))
def test_gauges_come_back_to_the_last_bit(format: Format, server: str, value: float) -> None:
    """Whole numbers and others."""
    assert samples_of(written(format, GAUGE, {(server,): value})) == {(GAUGE.name, (("server", server),)): value}


@PURE
@given(formats, labels, labels, st.lists(st.floats(0, 1e6)))
def test_histograms_come_back_as_they_were(format: Format, server: str, how: str, values: list[float]) -> None:
    """Cumulative counts that never fall, up to all of them, which are as many as the last bucket says."""
    histogram = Histogram((0.005, 1.0, 28800.0))
    for value in values:
        histogram.observe(value)
    found = samples_of(written(format, HISTOGRAM, {(server, how): histogram}))
    names = (("how", how), ("server", server))
    buckets = [
        found.pop((f"{HISTOGRAM.name}_bucket", (names[0], ("le", bound), names[1])))
        for bound in ("0.005", "1.0", "28800.0", "+Inf")
    ]
    assert buckets == list(accumulate(histogram.counts))
    assert found == {
        (f"{HISTOGRAM.name}_sum", names): histogram.sum,
        (f"{HISTOGRAM.name}_count", names): len(values),
    }


@PURE
@given(st.floats(0, 10), st.floats(0, 2e9))
def test_an_example_stands_at_the_bucket_that_it_is_counted_in(value: float, at_s: float) -> None:
    """In OpenMetrics; the older format has no place for it."""
    histogram = Histogram((0.5, 5.0))
    histogram.observe_traced(value, "4bf92f3577b34da6a3ce929d0e0e4736", at_s)
    text = written(Format.OPENMETRICS, HISTOGRAM, {("a", "b"): histogram})
    (family,) = families_of(text)
    ((bucket, example),) = [(sample, sample.exemplar) for sample in family.samples if sample.exemplar is not None]
    assert bucket.labels["le"] == ("0.5" if value <= 0.5 else "5.0" if value <= 5 else "+Inf")
    assert example.labels == {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    assert example.value == value
    assert abs(float(cast(Any, example.timestamp)) - at_s) < 0.001
    assert "trace_id" not in written(Format.TEXT, HISTOGRAM, {("a", "b"): histogram})


def test_openmetrics_names_kind_unit_and_help_of_the_family() -> None:
    """The family of a counter has no suffix there, and its text ends with a line that says so."""
    text = written(Format.OPENMETRICS, COUNTER, {("a", "b"): 1}).splitlines()
    assert text == [
        "# TYPE gate_calls counter",
        '# HELP gate_calls Calls; \\"quoted\\" \\\\ and so on.',
        'gate_calls_total{server="a",tool="b"} 1',
        "# EOF",
    ]
    assert "# UNIT gate_open_bytes bytes" in written(Format.OPENMETRICS, GAUGE, {})


def test_the_older_format_is_as_prometheus_documents_it() -> None:
    """The suffix belongs to the name, and quotes stand for themselves in a help text."""
    text = written(Format.TEXT, COUNTER, {("a", "b"): 1}).splitlines()
    assert text == [
        '# HELP gate_calls_total Calls; "quoted" \\\\ and so on.',
        "# TYPE gate_calls_total counter",
        'gate_calls_total{server="a",tool="b"} 1',
    ]


def test_a_series_without_labels_has_no_braces() -> None:
    """But for the bound of a bucket."""
    histogram = Histogram((1.0,))
    histogram.observe(0.5)
    text = written(Format.TEXT, Family("lag_seconds", Kind.HISTOGRAM, "Lag."), {(): histogram})
    assert text.splitlines()[2:] == [
        'lag_seconds_bucket{le="1.0"} 1', 'lag_seconds_bucket{le="+Inf"} 1', "lag_seconds_sum 0.5", "lag_seconds_count 1",
    ]  # fmt: skip


def test_what_is_kept_of_labels_has_a_bound() -> None:
    """However many names have come and gone; what is written is right before and after."""
    exposition = Exposition(Format.TEXT)
    long = "n" * 100_000
    for number in range(400):
        text = exposition.sample(GAUGE, (f"{long}{number}",), number)
        assert text.endswith(f'{number}"}} {number}\n')
    assert sum(map(len, exposition._heads.values())) <= 16 * 1024 * 1024


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;"
        "version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,"
        "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.5",
        "application/openmetrics-text, text/plain",
    ],
)  # fmt: skip
def test_who_wants_openmetrics_gets_it(accept: str) -> None:
    """Prometheus 2.42 and 3.x as they ask, and others."""
    assert chosen_format(accept.encode()) is Format.OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        "", "*/*", "text/plain", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "text/html,application/xhtml+xml,*/*;q=0.8",
        "application/openmetrics-text;version=0.0.1", "application/openmetrics-text;version=2.0.0,text/plain;q=0.1",
        "application/openmetrics-text;q=0.4,text/plain;q=0.5", "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=much", "application/openmetrics-text;q=nan", "application/json", ";;,=;q",
    ],
)  # fmt: skip
def test_everybody_else_gets_plain_text(accept: str) -> None:
    """Browsers, curl, and whoever asks for something that there is not."""
    assert chosen_format(accept.encode()) is Format.TEXT


@given(st.binary() | st.text("application/openmetrics-text;q=0.1, *").map(str.encode))
def test_no_accept_is_too_strange(accept: bytes) -> None:
    """Whatever a client sends is answered."""
    assert chosen_format(accept) in Format
