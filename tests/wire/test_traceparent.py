"""Traceparent fields: the cases of W3C Trace Context, and whatever else a client may send."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpgate.wire.traceparent import Trace, line, parse

TRACE_ID = b"4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = b"00f067aa0ba902b7"
KNOWN = b"00-%b-%b" % (TRACE_ID, PARENT_ID)
FIELD = re.compile(rb"traceparent: 00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]\r\n")

hexes = st.text("0123456789abcdef")


@pytest.mark.parametrize(
    ("flags", "is_sampled", "is_random"),
    [
        (b"00", False, False),
        (b"01", True, False),
        (b"02", False, True),
        (b"03", True, True),
        (b"ff", True, True),
        (b"fc", False, False),
    ],
)
def test_a_trace_is_read_with_its_flags(flags: bytes, is_sampled: bool, is_random: bool) -> None:
    """Of eight flags two mean something, whatever the others are."""
    assert parse(KNOWN + b"-" + flags) == Trace(TRACE_ID, PARENT_ID, b"", is_sampled, is_random)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        KNOWN,
        KNOWN + b"-",
        KNOWN + b"-1",
        KNOWN + b"-001",
        KNOWN + b"-01-",
        KNOWN + b"-01-what-the-future-will-be-like",
        KNOWN + b"-01\n",
        KNOWN + b"-0A",
        b" " + KNOWN + b"-01",
        KNOWN + b"-01 ",
        KNOWN.upper() + b"-01",
        KNOWN.replace(b"-", b"_") + b"-01",
        b"0" + KNOWN + b"-01",
        b"ff" + KNOWN[2:] + b"-01",
        b"0g" + KNOWN[2:] + b"-01",
        b"CC" + KNOWN[2:] + b"-01",
        b"00-%b-%b-01" % (b"0" * 32, PARENT_ID),
        b"00-%b-%b-01" % (TRACE_ID, b"0" * 16),
        b"00-%b-%b-01" % (TRACE_ID[:-1], PARENT_ID),
        b"00-%b0-%b-01" % (TRACE_ID, PARENT_ID),
        b"00-%b-%b-01" % (TRACE_ID, PARENT_ID[:-1]),
        b"00-%b-%b-01" % (TRACE_ID[:-1] + b".", PARENT_ID),
        b"00-%b-%b.-01" % (TRACE_ID, PARENT_ID[:-1]),
        KNOWN + b"-01, " + KNOWN + b"-01",
        b"cc" + KNOWN[2:] + b"-01.what-the-future-will-be-like",
        b"cc" + KNOWN[2:] + b"-01what",
        b"cc" + KNOWN[2:] + b"-01-a, " + KNOWN + b"-01",
        b"cc" + KNOWN[2:],
    ],
)  # fmt: skip
def test_what_is_no_trace_is_refused(value: bytes) -> None:
    """Ids of zeros, upper case, wrong lengths, the version that cannot be, and several values in one field."""
    assert parse(value) is None


@pytest.mark.parametrize("rest", [b"", b"-", b"-what-the-future-will-be-like"])
@pytest.mark.parametrize("version", [b"01", b"cc", b"fe"])
def test_a_later_version_is_read_as_far_as_it_is_known(version: bytes, rest: bytes) -> None:
    """Its first four fields count; of its flags only the one that no version can change."""
    trace = parse(version + KNOWN[2:] + b"-03" + rest)
    assert trace == Trace(TRACE_ID, PARENT_ID, b"", True)


def test_the_upstream_gets_our_span_as_its_parent_or_else_the_callers() -> None:
    """What is passed on is the same trace in the version that we speak."""
    passed = Trace(TRACE_ID, PARENT_ID, b"", True)
    assert line(passed) == b"traceparent: %b-01\r\n" % KNOWN
    assert line(passed._replace(is_sampled=False, is_random=True)) == b"traceparent: %b-02\r\n" % KNOWN
    ours = passed._replace(span_id=b"b7ad6b7169203331")
    assert line(ours) == b"traceparent: 00-%b-b7ad6b7169203331-01\r\n" % TRACE_ID


def test_whether_a_trace_began_elsewhere() -> None:
    """A tracestate that came along belongs to the trace only if that came along as well."""
    assert Trace(TRACE_ID, PARENT_ID, b"b7ad6b7169203331", True).continues
    assert not Trace(TRACE_ID, b"", PARENT_ID, True).continues


@given(st.binary(max_size=80) | st.from_regex(FIELD.pattern[13:-4], fullmatch=True))
@example(KNOWN + b"-01")
def test_whatever_is_read_is_passed_on_as_a_valid_field(value: bytes) -> None:
    """Nothing that a client sends can put anything else into the head of the upstream's request."""
    trace = parse(value)
    if trace is not None:
        assert FIELD.fullmatch(line(trace))
        assert parse(line(trace)[13:-2]) == trace


@given(st.lists(hexes, max_size=6))
def test_fields_of_other_lengths_are_no_trace(fields: list[str]) -> None:
    """However the digits are spread over the fields."""
    is_valid = [len(field) for field in fields[:4]] == [2, 32, 16, 2]
    assert is_valid or parse("-".join(fields).encode()) is None
