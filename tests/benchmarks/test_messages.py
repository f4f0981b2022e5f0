"""benchmarks.messages: the sizes that make figures comparable."""

from __future__ import annotations

import json

import pytest

from benchmarks import messages


def test_the_sizes_are_the_ones_stated() -> None:
    """A call has 102 bytes, its answer 158, an event 150, whatever their number."""
    for number in (messages.FIRST_CALL, messages.FIRST_CALL + 89_999_999):
        assert len(messages.call(number)) == messages.CALL_BYTES
        assert len(messages.answer(number)) == messages.ANSWER_BYTES
        assert len(messages.event(number)) == messages.EVENT_BYTES


def test_call_and_answer_are_json_rpc() -> None:
    """A gateway that reads the body finds a call, and the answer bears the same id."""
    call = json.loads(messages.call(messages.FIRST_CALL))
    assert (call["method"], call["id"]) == ("tools/call", messages.FIRST_CALL)
    assert json.loads(messages.answer(messages.FIRST_CALL))["id"] == messages.FIRST_CALL
    assert messages.call_number(messages.call(messages.FIRST_CALL)) == messages.FIRST_CALL


def test_a_foreign_call_is_refused() -> None:
    """The upstream answers only what the load generator sent."""
    with pytest.raises(ValueError, match="not a call"):
        messages.call_number(b"{}")


def test_an_event_names_its_place() -> None:
    """The number can be read back, and nothing else passes for one."""
    assert messages.event_number(messages.event(42)) == 42
    assert messages.event_number(b"data: 42\n\n") is None
