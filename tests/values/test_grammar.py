"""How single values of the configuration are written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.values import grammar


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0), ("0s", 0.0), ("1.5s", 1.5), ("0.5m", 30.0)],
)
def test_durations(text: str, seconds: float) -> None:
    """A duration is a number with one of four units."""
    assert grammar.duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "1d", "30 s", "-1s", "1h30m", "1e3s", "inf", "1_000s", "٣s", "1s\n", ".5s", "1.s", "1S"]
)
def test_what_is_no_duration(text: str) -> None:
    """Everything else is refused, with an example."""
    with pytest.raises(ValueError, match="expected one such as 250ms, 30s, 5m or 1h"):
        grammar.duration_s(text)


def test_a_number_without_a_unit_is_named() -> None:
    """The most likely slip, a number alone, is called what it is."""
    with pytest.raises(ValueError, match="a number without a unit"):
        grammar.duration_s("30")


@given(st.integers(0, 999_999_999))
def test_a_duration_can_be_written_and_read(milliseconds: int) -> None:
    """Whole milliseconds, up to eleven days of them, survive being written and read."""
    seconds = milliseconds / 1000
    assert grammar.duration_s(grammar.duration_text(seconds)) == seconds


@given(st.text(max_size=12) | st.from_regex(r"[0-9.]{1,6} ?[a-zA-Z]{0,3}", fullmatch=True))
def test_the_duration_pattern_and_the_reader_agree(text: str) -> None:
    """What the schema's pattern accepts is exactly what the gateway accepts."""
    matches = re.fullmatch(grammar.DURATION_PATTERN, text) is not None
    try:
        grammar.duration_s(text)
    except ValueError:
        assert not matches
    else:
        assert matches


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("4096", 4096), ("64KiB", 65536), ("8MiB", 8388608), ("1GiB", 1073741824)]
)
def test_sizes(text: str, count: int) -> None:
    """A size is a number of bytes or a number with a binary unit."""
    assert grammar.size_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "meant"), [("8MB", "MiB"), ("8mb", "MiB"), ("64k", "KiB"), ("1 GB", "GiB"), ("64kib", "KiB")]
)
def test_a_decimal_unit_gets_a_hint(text: str, meant: str) -> None:
    """Units that some read as 1000 and others as 1024 are refused, with the one that was meant."""
    with pytest.raises(ValueError, match=f"did you mean {meant}"):
        grammar.size_bytes(text)


@pytest.mark.parametrize("text", ["", "KiB", "-1", "1.5MiB", "010", "0x10", "1 MiB", "1_000", "1TiB", "1B", "٣"])
def test_what_is_no_size(text: str) -> None:
    """Everything else is refused, with an example."""
    with pytest.raises(ValueError, match="expected one such as 64KiB or 8MiB"):
        grammar.size_bytes(text)


@given(st.integers(0, 10**14))
def test_a_size_can_be_written_and_read(count: int) -> None:
    """Any number of bytes survives being written and read."""
    assert grammar.size_bytes(grammar.size_text(count)) == count


@given(st.text(max_size=12) | st.from_regex(r"[0-9]{1,4} ?[a-zA-Z]{0,3}", fullmatch=True))
def test_the_size_pattern_and_the_reader_agree(text: str) -> None:
    """What the schema's pattern accepts is exactly what the gateway accepts."""
    matches = re.fullmatch(grammar.SIZE_PATTERN, text) is not None
    try:
        grammar.size_bytes(text)
    except ValueError:
        assert not matches
    else:
        assert matches


def test_size_text_takes_the_largest_unit_that_divides() -> None:
    """A bound is shown as one would write it."""
    assert [grammar.size_text(n) for n in (0, 1, 1023, 1024, 1536, 8 << 20, 3 << 30)] == [
        "0",
        "1",
        "1023",
        "1KiB",
        "1536",
        "8MiB",
        "3GiB",
    ]


@pytest.mark.parametrize(
    ("text", "rate"),
    [("20/s", (20, 1)), ("600/m", (600, 60)), ("5/h", (5, 3600)), ("100/d", (100, 86400)), ("0/s", (0, 1))],
)
def test_rates(text: str, rate: tuple[int, int]) -> None:
    """A rate is a count and one of four periods; it can be written again."""
    assert grammar.rate(text) == rate
    assert grammar.rate_text(*rate) == text


@pytest.mark.parametrize(
    ("text", "unit"),
    [("20/sec", "s"), ("20 / s", ""), ("5/min", "m"), ("5 per hour", "h"), ("1/Day", "d"), ("5/S", "s"), ("5/x", "")],
)
def test_other_ways_to_write_a_rate_get_a_hint(text: str, unit: str) -> None:
    """The unit that was meant is told."""
    with pytest.raises(ValueError, match="expected one such as 20/s, 600/m, 5/h or 100/d") as refused:
        grammar.rate(text)
    assert str(refused.value).endswith(f"did you mean /{unit} behind the number?") == bool(unit)


@pytest.mark.parametrize(
    ("text", "why"),
    [("20", "a number without a period"), ("0.5/s", "half a call in a second is 30/m"), ("1.5 per min", "a fraction")],
)
def test_numbers_that_are_nearly_rates(text: str, why: str) -> None:
    """What is missing, or too fine, is called what it is."""
    with pytest.raises(ValueError, match=why):
        grammar.rate(text)


@given(st.text(max_size=12) | st.from_regex(r"[0-9]{1,4} ?/ ?[a-zA-Z]{0,3}", fullmatch=True))
def test_the_rate_pattern_and_the_reader_agree(text: str) -> None:
    """What the schema's pattern accepts is exactly what the gateway accepts."""
    matches = re.fullmatch(grammar.RATE_PATTERN, text) is not None
    try:
        grammar.rate(text)
    except ValueError:
        assert not matches
    else:
        assert matches


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01", 0.0),
        ("2027-01-31", 1_801_353_600.0),
        ("2027-01-31T00:00:00Z", 1_801_353_600.0),
        ("2027-01-31 00:00", 1_801_353_600.0),
        ("2027-01-31T02:00+02:00", 1_801_353_600.0),
        ("2027-01-31T00:00:00.25Z", 1_801_353_600.25),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    """A date is its first moment in UTC; a time may have a zone."""
    assert grammar.moment_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "31.01.2027", "2027-1-31", "20270131", "2027-W05", "2027-01-31T00", "2027-01-31T00:00z", "2027-01-31\n"],
)
def test_what_is_no_moment(text: str) -> None:
    """Everything else is refused, with examples."""
    with pytest.raises(ValueError, match="not a date or time, expected one such as 2027-01-31 or 2027-01-31T18:00:00Z"):
        grammar.moment_s(text)


@pytest.mark.parametrize("text", ["2027-02-30", "2027-01-31T25:00:00Z", "2027-01-31T00:00:61Z", "0000-01-01"])
def test_moments_that_do_not_exist(text: str) -> None:
    """The form is right, the calendar has no such day or time."""
    with pytest.raises(ValueError, match="that does not exist"):
        grammar.moment_s(text)


@given(st.integers(0, 4_000_000_000))
def test_a_moment_can_be_written_and_read(seconds: int) -> None:
    """Any second of the next hundred years survives being written and read."""
    assert grammar.moment_s(grammar.moment_text(seconds)) == seconds


def test_numbers_as_text() -> None:
    """A number that arrives from a variable is text; it must be plainly decimal."""
    assert grammar.whole_number("100") == 100
    assert grammar.fraction("0.25") == 0.25
    for text in ("", "010", "-1", "1e3", "0x10", "1_0", "1.0"):
        with pytest.raises(ValueError, match="whole number"):
            grammar.whole_number(text)
    for text in ("", "-1", ".5", "nan", "1e3"):
        with pytest.raises(ValueError, match="a number such as"):
            grammar.fraction(text)


@pytest.mark.parametrize("name", ["a", "github-pm", "a.b_c-d", "0", "x" * 63])
def test_server_names(name: str) -> None:
    """Lower-case letters and digits, with dots, underscores and hyphens between."""
    assert grammar.server_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a b", "a/b", "ä", "x" * 64, "discovery", "a\n", "a%2f"])
def test_what_is_no_server_name(name: str) -> None:
    """Anything that could not stand in a path, a label or a log line is refused, and the one taken name."""
    with pytest.raises(ValueError, match="expected"):
        grammar.server_name(name)


def test_discovery_may_be_the_name_of_a_person() -> None:
    """Only servers collide with the gateway's own address."""
    assert grammar.name("discovery") == "discovery"


@pytest.mark.parametrize("name", ["X-Api-Key", "authorization", "x_y", "!#$%&'*+.^_`|~"])
def test_header_names(name: str) -> None:
    """Any token of RFC 9110 may be set, unless the gateway writes it."""
    assert grammar.header_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a:", "ä", "a\r\n", "(x)", "a\x00"])
def test_what_is_no_header_name(name: str) -> None:
    """What would break the header section is refused."""
    with pytest.raises(ValueError, match="not a header name"):
        grammar.header_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "CONNECTION",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Via",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Anything",
        "Mcpgate-Error",
        "Sec-WebSocket-Key",
        "Proxy-Connection",
    ],
)
def test_headers_of_the_gateway_cannot_be_set(name: str) -> None:
    """A header that frames or routes a message stays in the hands of the gateway."""
    with pytest.raises(ValueError, match="the gateway itself writes"):
        grammar.header_name(name)


@pytest.mark.parametrize("value", ["", "x", "Bearer abc", "a\tb", "!~"])
def test_header_values(value: str) -> None:
    """Visible ASCII with blanks inside."""
    assert grammar.header_value(value) == value


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\n", "\x00", " a", "a ", "ä", "\x7f"])
def test_what_is_no_header_value(value: str) -> None:
    """What could end the header or be read in two ways is refused."""
    with pytest.raises(ValueError, match="not a header value"):
        grammar.header_value(value)


def test_a_refused_header_value_is_not_repeated() -> None:
    """A secret with a stray line end does not appear in the log."""
    with pytest.raises(ValueError) as refused:
        grammar.header_value("s3cret\n")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("text", ["stdout", "off", "file:var/access.log"])
def test_access_targets(text: str) -> None:
    """Three places are known for access lines."""
    assert grammar.access_target(text) == text


@pytest.mark.parametrize("text", ["", "stderr", "file:", "file", "FILE:x", "file:a\nb"])
def test_what_is_no_access_target(text: str) -> None:
    """Any other is refused with the three that are known."""
    with pytest.raises(ValueError, match="expected stdout, off or file:PATH"):
        grammar.access_target(text)


def test_plain_lines() -> None:
    """A title may be in any script, but stays on its line."""
    assert grammar.plain_line("Прив\u00e9t 🎉") == "Прив\u00e9t 🎉"
    with pytest.raises(ValueError, match="one plain line"):
        grammar.plain_line("a\x1b[31m")


ENVIRON = {"SET": "value", "EMPTY": "", "TRICKY": "${SET} $$"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("${SET}", "value"),
        ("a-${SET}-b-${SET}", "a-value-b-value"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${NONE:-default}", "default"),
        ("${NONE:-}", ""),
        ("${SET:-default}", "value"),
        ("${SET:?message}", "value"),
        ("$${SET}", "${SET}"),
        ("$$$$", "$$"),
        ("pa$word $", "pa$word $"),
        ("${TRICKY}", "${SET} $$"),
        ("${NONE:-a:-b?c}", "a:-b?c"),
    ],
)
def test_substitution(text: str, filled: str) -> None:
    """Variables, defaults and dollar signs; what was filled in is not read again."""
    assert grammar.substitute(text, ENVIRON) == filled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NONE}", r"\$\{NONE\} without a value"),
        ("${NONE:?set me in the unit}", "set me in the unit"),
        ("${EMPTY:?set me}", "set me"),
        ("${NONE:?}", "must be set"),
        ("${", "unfinished"),
        ("${SET", "unfinished"),
        ("${1A}", "unfinished"),
        ("${SET:+x}", "unfinished"),
        ("${A:-${SET}}", "unfinished"),
    ],
)
def test_substitution_that_cannot_be(text: str, message: str) -> None:
    """A variable without a value or a malformed one is refused by name."""
    with pytest.raises(ValueError, match=message):
        grammar.substitute(text, ENVIRON)


@given(st.text())
def test_doubled_dollars_make_any_text_literal(text: str) -> None:
    """Whoever doubles every dollar sign gets the text itself, whatever is in it."""
    assert grammar.substitute(text.replace("$", "$$"), {}) == text
