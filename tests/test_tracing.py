"""Which trace a request belongs to."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.settings.written import refused

from mcpgate.settings.observability import TracingSettings
from mcpgate.tracing import Tracing
from mcpgate.wire.traceparent import Trace, line, parse

TRACE_ID = b"4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = b"00f067aa0ba902b7"
SAMPLED = b"00-%b-%b-01" % (TRACE_ID, PARENT_ID)
UNSAMPLED = b"00-%b-%b-00" % (TRACE_ID, PARENT_ID)
OURS = b"000000000000002a"


def answering(*numbers: int) -> Callable[[int], int]:
    """Randomness that gives these numbers, and counts that no more are asked for."""
    left = list(numbers)
    return lambda bits: left.pop(0) & ((1 << bits) - 1)


def tracing(*numbers: int, exports: bool = False, make: bool = False, sample: float = 1.0) -> Tracing:
    """With these random numbers."""
    return Tracing(TracingSettings(make=make, sample=sample), answering(*numbers), exports)


@pytest.mark.parametrize("value", [None, b"", b"00-garbage", SAMPLED + b", " + SAMPLED])
def test_nothing_is_told_where_nothing_is_configured(value: bytes | None) -> None:
    """No trace comes, or one that cannot be read: none goes on."""
    assert tracing().begin(value) is None


@pytest.mark.parametrize("value", [SAMPLED, UNSAMPLED])
@pytest.mark.parametrize("make", [False, True])
def test_a_trace_that_comes_travels_on_as_it_is(value: bytes, make: bool) -> None:
    """Also where traces are made for those who bring none."""
    trace = tracing(make=make).begin(value)
    assert trace is not None
    assert line(trace) == b"traceparent: %b\r\n" % value


def test_our_span_stands_between_the_callers_and_the_upstreams() -> None:
    """The caller's is its parent, and it is the parent of what happens upstream."""
    trace = tracing(42, exports=True).begin(SAMPLED)
    assert trace == Trace(TRACE_ID, PARENT_ID, OURS, True)


def test_where_the_caller_does_not_record_nobody_does() -> None:
    """Then there is no span of ours, and the upstream's parent is the caller."""
    trace = tracing(exports=True).begin(UNSAMPLED)
    assert trace == Trace(TRACE_ID, PARENT_ID, b"", False)


@pytest.mark.parametrize("value", [None, b"00-garbage"])
@pytest.mark.parametrize(("make", "exports"), [(True, False), (False, True)])
def test_a_trace_is_made_where_none_comes(value: bytes | None, make: bool, exports: bool) -> None:
    """If that is configured, or spans are exported; it begins with a span of ours."""
    trace = tracing(7, 42, make=make, exports=exports).begin(value)
    assert trace == Trace(b"%032x" % 7, b"", OURS, True)
    assert parse(line(trace)[13:-2]) == Trace(b"%032x" % 7, OURS, b"", True)


def test_a_share_of_the_traces_that_begin_here_is_sampled() -> None:
    """By the lower half of the trace id, as OpenTelemetry does it; what is not sampled is told to be so."""
    half = 1 << 63
    for low, is_sampled in ((0, True), (half - 1, True), (half, False), (2 * half - 1, False)):
        trace = tracing(0xABC << 64 | low, 42, make=True, sample=0.5).begin(None)
        assert trace is not None
        assert trace.is_sampled is is_sampled
        assert trace.span_id == OURS


@pytest.mark.parametrize(("sample", "is_sampled"), [(0.0, False), (1.0, True)])
def test_all_or_none(sample: float, is_sampled: bool) -> None:
    """The ends of the range mean what they say, whatever the id."""
    for number in (0, 1, (1 << 128) - 1):
        trace = tracing(number, 42, make=True, sample=sample).begin(None)
        assert trace is not None
        assert trace.is_sampled is is_sampled


def test_an_id_is_never_zero() -> None:
    """Zeros would be no trace for whoever reads them."""
    trace = tracing(0, 0, make=True).begin(None)
    assert trace is not None
    assert parse(line(trace)[13:-2]) is not None


@given(st.none() | st.binary(max_size=60), st.booleans(), st.booleans(), st.integers(0, 1 << 32))
def test_what_travels_on_can_be_read(value: bytes | None, make: bool, exports: bool, seed: int) -> None:
    """Whatever came."""
    trace = Tracing(TracingSettings(make=make), random.Random(seed).getrandbits, exports).begin(value)
    assert (trace is None) == (not (make or exports) and (value is None or parse(value) is None))
    assert trace is None or parse(line(trace)[13:-2]) is not None


# --- the section of the configuration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://otel.example.com/own/path", "https://otel.example.com/own/path"),
    ],
)
def test_a_collector_may_be_named_without_the_path_of_all_collectors(written: str, used: str) -> None:
    """Most people know only host and port."""
    assert TracingSettings(otlp_endpoint=written).otlp_endpoint == used


@pytest.mark.parametrize(
    "written",
    [
        "",
        "collector:4318",
        "grpc://collector:4317",
        "http://",
        "http://user:secret@collector",
        "http://collector/?key=secret",
    ],
)
def test_what_is_no_collector_is_refused(written: str) -> None:
    """Secrets have their place in headers, and no fault repeats them."""
    ((where, why),) = refused(TracingSettings, otlp_endpoint=written)
    assert where == "otlp_endpoint"
    assert "secret" not in why


def test_credentials_for_the_collector_are_masked_and_checked() -> None:
    """Who looks at the configuration does not see them; what would break the request is refused."""
    settings = TracingSettings(otlp_headers={"Authorization": "Bearer secret"})
    assert settings.model_dump()["otlp_headers"] == {"Authorization": "***"}
    assert "secret" not in repr(settings)
    for headers in ({"Host": "a"}, {"a b": "c"}, {"a": "secret\r\nb: c"}, {"Api-Key": "secret", "api-key": "secret"}):
        faults = refused(TracingSettings, otlp_headers=headers)
        assert [where.split(".")[0] for where, _ in faults] == ["otlp_headers"]
        assert "secret" not in faults[0][1]
