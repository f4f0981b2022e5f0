"""python -m benchmarks: who is asked what, on what size, when one says nothing and when one says something."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.asked import ALONE, PEERS, QUESTIONS, QUICK_QUESTIONS, REPORTED, USUAL
from benchmarks.asking import Found, Question
from benchmarks.extent import FULL, QUICK, REPORT, Extent
from benchmarks.peers.ground import Ground, PeerMissing
from benchmarks.peers.nginx import version_told

_PLENTY = 20_000


def extent(*arguments: str, hard: int = _PLENTY) -> Extent:
    """Return the size that these arguments ask for."""
    return command.chosen_extent(command.options(arguments), hard)


def asked(*arguments: str) -> dict[str, list[str]]:
    """Return who is asked, by question."""
    return {each.name: [peer.name for peer in each.peers] for each in command.plan(command.options(arguments))}


def test_a_first_look_asks_little() -> None:
    """Four questions, nginx and the gateway, one round, one number of streams."""
    assert asked("--quick") == {name: list(USUAL) for name in QUICK_QUESTIONS}
    assert extent("--quick") == QUICK
    assert (QUICK.rounds, QUICK.stream_counts) == (1, [5000])


def test_a_report_asks_everybody_everything() -> None:
    """All peers, with few streams and with many; slow ones only what their users feel first."""
    plan = asked("--report", "docs")
    assert set(plan) == set(QUESTIONS)
    assert plan["requests"] == list(REPORTED)
    assert "klein-treq" in plan["sse"]
    assert "klein-treq" not in plan["latency"]
    assert extent("--report", "docs") == REPORT
    assert REPORT.stream_counts == [100, 1000, 5000, 9000]


def test_questions_about_code_alone_need_no_subject() -> None:
    """They are asked, but of nobody."""
    assert asked(*ALONE) == {}


def test_what_is_asked_for_takes_the_place_of_the_preset() -> None:
    """Streams of one's own choice are the only ones."""
    chosen = extent("--streams", "300", "--rounds", "7")
    assert (chosen.rounds, chosen.stream_counts, chosen.events_s) == (7, [300], FULL.events_s)


def test_more_streams_than_descriptors_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Others are still asked for; one is told."""
    assert extent("--report", "docs", hard=12_000).stream_counts == [100, 1000, 5000]
    assert "left out: more than 5850 streams" in capsys.readouterr().err


def test_another_checkout_is_asked_beside() -> None:
    """Its gateway, by the same name with -before."""
    assert asked("requests", "--before", "/elsewhere") == {"requests": ["nginx", "mcpgate", "mcpgate-before"]}


@pytest.mark.parametrize("arguments", [["nosuch"], ["--subjects", "nginx,nosuch"]])
def test_what_is_not_there_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With all that is."""
    with pytest.raises(SystemExit):
        command.options(arguments)
    assert "'nosuch' is none of" in capsys.readouterr().err


class Absent:
    """A peer that nobody has installed."""

    name = "absent"

    def command(self, ground: Ground) -> list[str]:
        """Say what to do."""
        raise PeerMissing(f"install it, not into {Path('/tmp/somewhere')}")


def test_who_is_not_installed_is_left_out_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What to install; it is not asked, however many questions there are."""
    found = Found()
    questions = [Question(name, QUESTIONS[name], [Absent()]) for name in ("requests", "sse")]  # type: ignore[list-item]
    assert command.look_at(questions, found) == {}
    assert capsys.readouterr().err.count("left out: absent: install it") == 1
    assert not found.can_answer("requests", "absent")


def test_every_peer_of_a_report_is_known() -> None:
    """And no question is forgotten where some are left out."""
    assert set(REPORTED) <= set(PEERS)
    assert set(QUICK_QUESTIONS) <= set(QUESTIONS)


def test_the_version_of_nginx_is_read() -> None:
    """As it prints it."""
    assert version_told("nginx version: nginx/1.22.1\n") == "nginx 1.22.1"
