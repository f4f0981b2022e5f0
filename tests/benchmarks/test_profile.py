"""The courses through the gateway, what is counted in them, and the gate."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import answers
from benchmarks.profile import calls, instructions, samples, syscalls
from benchmarks.profile.calibration import calibrate
from benchmarks.profile.course import COURSES, Run, gateways, run
from benchmarks.profile.figures import Change, Counts, basis_for, compare
from benchmarks.profile.gate import judge, read_allowed, write_allowed
from benchmarks.profile.inside import BrokenCourse
from benchmarks.profile.listing import text
from benchmarks.profile.stand import GatewayInside, Middle, Nothing

BUILD = "3.11.7 (main, May 9 2026) [GCC 12.2.0]"
ALLOWED = Counts(
    BUILD,
    40_000.0,
    {"request": 200_000.0, "event": 28_000.0},
    {"request": {"epoll_wait": 2.0, "sendto": 2.0}, "event": {"epoll_wait": 1.0}},
)


def grown(by: float) -> Counts:
    """What is allowed, but that a request takes more instructions."""
    return replace(ALLOWED, instructions=ALLOWED.instructions | {"request": 200_000.0 * (1 + by)})


def change_of_request(found: Counts, version: str = "3.11", build: str = BUILD) -> tuple[Change, str]:
    """What is said of the instructions of a request."""
    verdict = compare(found, basis_for(build, version, {"3.11": ALLOWED}))[0]
    return verdict.change, verdict.sentence


# --- the gate ---------------------------------------------------------------------------------------------------------


def test_what_takes_as_much_as_is_allowed_passes() -> None:
    """The same code passes, and so does code that has grown by a little."""
    assert change_of_request(ALLOWED)[0] is Change.KEPT
    assert change_of_request(grown(0.029))[0] is Change.KEPT


def test_a_path_that_has_grown_by_more_than_three_per_cent_is_told() -> None:
    """The sentence names the course, both figures and the growth."""
    change, sentence = change_of_request(grown(0.035))
    assert change is Change.GROWN
    assert sentence.startswith("request: 207,000 instructions, 200,000 allowed (+3.5%): the hot path has grown")


def test_a_path_that_has_become_shorter_lowers_the_bar() -> None:
    """Who has made it shorter is asked to accept that, so that nobody makes it longer again unseen."""
    change, sentence = change_of_request(grown(-0.04))
    assert change is Change.SHRUNK
    assert sentence.endswith("Lower the bar with --accept, so that it stays so")


def test_one_more_system_call_is_told_by_its_name() -> None:
    """There is no tolerance for system calls but that of a kernel that was late in a few units."""
    late = replace(ALLOWED, system_calls=ALLOWED.system_calls | {"event": {"epoll_wait": 1.02}})
    more = replace(ALLOWED, system_calls=ALLOWED.system_calls | {"event": {"epoll_wait": 1.0, "epoll_ctl": 1.0}})
    basis = basis_for(BUILD, "3.11", {"3.11": ALLOWED})
    assert [verdict.change for verdict in compare(late, basis)] == [Change.KEPT] * 4
    told = compare(more, basis)[3]
    assert told.change is Change.GROWN
    assert told.sentence.startswith("event: 2.00 system calls, 1.00 allowed (epoll_ctl 0 -> 1)")


def test_system_calls_that_could_not_be_counted_are_not_compared() -> None:
    """Where strace may not trace, instructions are compared all the same."""
    assert len(compare(replace(ALLOWED, system_calls={}), basis_for(BUILD, "3.11", {"3.11": ALLOWED}))) == 2


def test_another_python_is_compared_by_the_ratio_to_plain_python() -> None:
    """A Python that needs twice the instructions for everything changes nothing; one that does so here alone does."""
    slower = replace(
        ALLOWED,
        calibration=2 * ALLOWED.calibration,
        instructions={name: 2 * count for name, count in ALLOWED.instructions.items()},
    )
    assert change_of_request(slower, "3.13", "3.13.0")[0] is Change.KEPT
    change, sentence = change_of_request(grown(0.2), "3.13", "3.13.0")
    assert change is Change.GROWN
    assert sentence.startswith("request: 6.000 calibrations, 5.000 allowed (+20.0%)")


def test_the_gate_says_what_it_compares_with() -> None:
    """Another build and another version are named, since less is compared then."""
    allowed = {"3.11": ALLOWED, "3.13": ALLOWED}
    assert basis_for(BUILD, "3.11", allowed).exact
    assert "another build of 3.11" in basis_for("3.11.2", "3.11", allowed).sentence
    assert "Python 3.13, not 3.14" in basis_for("3.14.0", "3.14", allowed).sentence


def test_the_exit_code_says_whether_something_has_grown(capsys: pytest.CaptureFixture[str]) -> None:
    """CI fails by it; the lines before say why."""
    assert judge(ALLOWED, {"3.11": ALLOWED}, "3.11") == 0
    assert judge(grown(0.1), {"3.11": ALLOWED}, "3.11") == 1
    assert "the hot path has grown" in capsys.readouterr().out


def test_what_is_accepted_is_read_again(tmp_path: Path) -> None:
    """The file holds a figure a line, for each version of Python."""
    path = tmp_path / "allowed.json"
    assert read_allowed(path) == {}
    write_allowed(path, {"3.11": ALLOWED})
    assert read_allowed(path) == {"3.11": ALLOWED}
    assert path.read_text().count("\n") > 10


# --- the courses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COURSES)
def test_a_course_brings_its_bytes_through_the_gateway(name: str) -> None:
    """Every answer and every event is checked on its way; marks stand around the units that count."""
    marks: list[str] = []
    with gateways() as between:
        went = run(name, 3, between, lambda: marks.append(name))
    assert isinstance(went, Run)
    assert marks == [name, name]


def test_what_the_peers_call_is_not_the_gateway_s() -> None:
    """The counts of a stream name what the gateway does, and neither the client's socket nor the upstream's."""
    with gateways() as between:
        called = calls.count("stream", 2, between)
    assert called.python["mcpgate.relay.Relay.take_head"] == 1.0
    assert not any(name.startswith("benchmarks.") for name in called.python)
    # Two of the gateway's own: the client's that it accepts, and the one that it dials.
    assert called.c["posix.close"] == 2.0


def test_a_wrong_answer_ends_a_course() -> None:
    """A figure for something else than what was asked would be worth nothing."""

    with pytest.raises(answers.BrokenAnswer, match="reached the upstream as"):
        run("request", 3, lambda port: Nothing(port, "/elsewhere"), lambda: None)


def test_a_planted_call_is_seen() -> None:
    """What somebody adds to the path of every request stands in the list of calls, once for each."""

    def planted(upstream_port: int) -> Middle:
        middle = between(upstream_port)
        assert isinstance(middle, GatewayInside)
        pipeline = middle.gateway.pipeline
        run_whole = pipeline.run
        pipeline.run = lambda exchange, port: textwrap.dedent("") or run_whole(exchange, port)  # type: ignore[method-assign]
        return middle

    with gateways() as between:
        before = calls.count("request", 4, between)
    with gateways() as between:
        after = calls.count("request", 4, planted)
    assert "textwrap.dedent" not in before.python
    assert after.python["textwrap.dedent"] == 1.0


# --- what tools say ---------------------------------------------------------------------------------------------------

MARKS = (
    '{"late": 1, "marks": [["blank", 1], ["blank", 2], ["calibration", 3], ["calibration", 4],'
    ' ["request-nothing", 5], ["request-nothing", 6], ["request-gateway", 7], ["request-gateway", 8],'
    ' ["event-nothing", 9], ["event-nothing", 10], ["event-gateway", 11], ["event-gateway", 12],'
    ' ["stream-nothing", 13], ["stream-nothing", 14], ["stream-gateway", 15], ["stream-gateway", 16]]}'
)


def totals(*counts: int) -> str:
    """What valgrind writes when processes 1, 2, … end."""
    return "\n".join(f"=={number}== I   refs:      {count:,}" for number, count in enumerate(counts, 1))


def test_instructions_are_those_with_the_gateway_less_those_without() -> None:
    """Per unit; what a mark costs is not part of the calibration."""
    told = totals(0, 500, 1000, 81_500, 0, 2048, 0, 6144, 0, 0, 0, 2048, 0, 128, 0, 1280)
    counted = instructions.read(MARKS, told)
    assert counted.units == {"request": 2.0, "event": 1.0, "stream": 9.0}
    assert counted.calibration == 40.0
    assert counted.late == 1


def test_a_count_that_is_missing_is_not_guessed() -> None:
    """A process that valgrind says nothing about means that the run is worth nothing."""
    with pytest.raises(BrokenCourse, match="how many instructions"):
        instructions.read(MARKS, totals(1, 2, 3))


def test_system_calls_are_counted_between_the_marks_alone() -> None:
    """Neither those before nor those of the peers count, nor what asks for memory."""
    lines = ["12 epoll_wait(4, [], 512, 0) = 0"]
    for name, units in (("request", 2048), ("event", 2048), ("stream", 128)):
        for side, count in (("nothing", 1), ("gateway", 3)):
            mark = f'12 access("/mark/{name}-{side}", F_OK) = -1 ENOENT'
            lines += [mark, *['12 sendto(5, "x", 1, 0, NULL, 0) = 1'] * (units * count), "12 brk(NULL) = 0x1", mark]
    lines += ["12 sendto(5, NULL, 1) = 1", "+++ exited with 0 +++"]
    assert syscalls.per_unit("\n".join(lines)) == {name: {"sendto": 2.0} for name in COURSES}


def test_samples_tell_of_the_gateway_alone() -> None:
    """Neither the peers count nor where this machine keeps its Python."""
    turn = "run (/there/benchmarks/profile/course.py:9);GatewayInside.turn_or_wait (/there/benchmarks/stand.py:1)"
    read = samples.read(
        f"{turn};Relay.take_head (/there/src/mcpgate/relay.py:159);sock_send (/tmp/build/Modules/socketmodule.c:9) 3\n"
        f"{turn};Port.doRead (/venv/lib/python3.11/site-packages/twisted/internet/tcp.py:7) 1\n"
        "run (/there/benchmarks/profile/course.py:9);send (/usr/lib/libc.so.6) 50\n"
    )
    assert read.python == {"mcpgate/relay.py Relay.take_head": 0.75, "twisted/internet/tcp.py Port.doRead": 0.25}
    assert read.native == {"socketmodule.c sock_send": 0.75, "Python itself": 0.25}
    assert read.seen == 4


def test_a_listing_shows_the_largest_first_and_the_rest_together() -> None:
    """It fits on a screen or two."""
    called = calls.Calls({f"mcpgate.f{number}": 1.0 for number in range(45)}, {"builtins.len": 2.5}, 0.0)
    shown = text("event", called, "there is no py-spy", "28,000 instructions").splitlines()
    assert "45.0 calls of Python functions, 2.5 of C functions, 0.0 objects left to the collector." in shown
    assert "    5.00  5 others" in shown
    assert "    2.50  builtins.len" in shown


def test_the_calibration_is_what_it_was() -> None:
    """Every figure is a ratio to it: whoever changes it must count everything anew."""
    assert calibrate(64) == 4224
