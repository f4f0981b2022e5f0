"""The one reading of JSON that comes from the network, and how faults are told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.refusals import RegistrationRefused
from mcpgate.registry.reading import checked, read_json, read_object
from mcpgate.settings import UpstreamSettings


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not JSON from line 1, column 1 on"),
        (b'{"a": 1}\n{}', "not JSON from line 2, column 1 on"),
        (b"\xff", "not Unicode"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        ('{"a": 1}'.encode("utf-16"), "not Unicode"),
        (b'{"a": "\\ud800"}', "not Unicode"),
        (b'{"a": "\\uDfff x"}', "not Unicode"),
        (b'{"a": 1, "a": 1}', "a key twice"),
        (b'[{"x": {"a": 1, "\\u0061": 1}}]', "a key twice"),
        (b'{"a": NaN}', "NaN"),
        (b"[-Infinity]", "NaN or Infinity"),
        (b"[1e999]", "too large"),
        (b"9" * 5000, "too long"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(body: bytes, told: str) -> None:
    """Broken text, keys twice, numbers without bounds, nesting without end."""
    with pytest.raises(ValueError, match=told):
        read_json(body)


_LEAVES = st.none() | st.booleans() | st.integers(-(10**16), 10**16) | st.text(max_size=9)
_PLAIN = st.recursive(_LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=9), v), max_leaves=6)


@PURE
@given(_PLAIN)
def test_plain_json_is_read_as_it_is(value: object) -> None:
    """With every character that exists, escaped or not."""
    assert read_json(json.dumps(value).encode()) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_a_pair_of_surrogates_is_one_character() -> None:
    """Only halves are refused."""
    assert read_json(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"7", b"x"])
def test_what_is_no_object_has_one_fault_without_a_key(body: bytes) -> None:
    """There is no place to name."""
    with pytest.raises(RegistrationRefused) as caught:
        read_object(body)
    assert [where for where, _ in caught.value.faults] == [""]


def test_faults_of_any_section_are_told_by_key() -> None:
    """Also below keys, and without the value."""
    with pytest.raises(RegistrationRefused) as caught:
        checked(UpstreamSettings, {"url": "ftp://s3cret", "wieght": 1, "tls": {"server_name": 3}})
    assert caught.value.faults == (
        ("url", "a URL with another scheme, expected http:// or https://"),
        ("tls.server_name", "a number, expected text"),
        ("wieght", "unknown key, did you mean weight?"),
    )
