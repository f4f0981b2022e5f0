"""benchmarks.report: what a run has found, as JSON, in the terminal, as Markdown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from benchmarks.figures import Figure, Goal, Reading
from benchmarks.report import markdown, results, terminal
from benchmarks.report.results import Answer, PeerNotes, Results
from benchmarks.report.written import write_pages

CALL = Figure("CPU per call", "µs", goals=(Goal("nginx", 2.5, 1.5), Goal("envoy", 0.7)))
STREAM = Figure("memory", "KiB", goals=(Goal("nginx", 0.5),), at=5000, at_unit="streams")
GROWTH = Figure("growth", "MiB", value_goal=8.0)
NOTES = PeerNotes("nginx 1.22.1", "nginx -c nginx.conf", {"nginx.conf": "daemon off;\n"})


def readings(*values: float, pace: str = "") -> list[Reading]:
    """Return one reading per round."""
    return [Reading(value, pace, turn) for turn, value in enumerate(values)]


def found(*answers: Answer, **failed: dict[str, str]) -> Results:
    """Return the results of a run with these answers, and failures by question."""
    peers = {"nginx": NOTES, "haproxy": PeerNotes(), "mcpgate": PeerNotes("mcpgate 0.1.0")}
    return Results({"cpus": 2}, {"rounds": 2}, 540, list(answers), failed, {"envoy": "install envoy"}, peers)


CALLS = Answer("requests", CALL, {"nginx": readings(10, 10), "mcpgate": readings(30, 20, pace="9 a second")})
STREAMS = [
    Answer("memory", STREAM.sized(size), {"nginx": readings(10), "mcpgate": readings(4)}) for size in (5000, 100)
]
GROWN = Answer("bodies", GROWTH, {"nginx": readings(3), "mcpgate": readings(9)})
RUN = found(CALLS, *STREAMS, GROWN, memory={"haproxy": "a stream | was closed"})


def rows(text: str) -> list[list[str]]:
    """Return the cells of all Markdown tables in a text."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]


def test_json_keeps_every_sample(tmp_path: Path) -> None:
    """Whoever reads results.json again has all that the run has found."""
    results.write(RUN, tmp_path / "results.json")
    assert results.read(tmp_path / "results.json") == RUN


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """With the place that does not fit."""
    (tmp_path / "other.json").write_text('{"machine": {}, "extent": {}, "took_s": "long"}')
    with pytest.raises(msgspec.ValidationError, match="took_s"):
        results.read(tmp_path / "other.json")


def test_goals_are_counted() -> None:
    """Held, missed, and not compared because the peer is not installed."""
    assert terminal.summary(RUN).splitlines() == [
        "goals: 2 held, 1 MISSED, 1 not compared",
        "  MISSED: growth, ≤ 8 MiB: 9.00",
    ]


def test_a_gateway_that_fails_holds_no_goal() -> None:
    """What could not be measured of it is missed; a peer that fails is only not compared."""
    ours = dataclasses.replace(RUN, failed={"requests": {"mcpgate": "an event was lost"}})
    assert "1 held, 3 MISSED, 0 not compared" in terminal.summary(ours)
    theirs = found(Answer("requests", CALL, {"mcpgate": readings(30)}), requests={"nginx": "no answer"})
    assert "0 held, 0 MISSED, 2 not compared" in terminal.summary(theirs)


def test_the_terminal_groups_by_figure() -> None:
    """A block for each figure, smallest size first; a line for each subject with ratio and spread, one for goals."""
    lines = [" ".join(line.split()) for line in terminal.table(RUN).splitlines()]
    assert lines[1:5] == [
        "CPU per call",
        "nginx 10.00 µs 1",
        "mcpgate 25.00 µs 2.50 2.00 - 3.00 9 a second",
        "≤ 2.5 x nginx: 2.50 held; ≤ 0.7 x envoy not compared",
    ]
    assert lines.index("memory, 100 streams") < lines.index("memory, 5,000 streams")
    assert "memory: haproxy failed: a stream | was closed" in lines


def test_the_page_has_a_row_for_each_figure() -> None:
    """A column for each subject with its median, the ratio to nginx with its spread, and how the goals came out."""
    heading, _, row = rows(markdown.report(found(CALLS), {}).partition("### requests")[2])[:3]
    assert heading == ["figure", "nginx", "mcpgate", "goals"]
    assert row[0] == "CPU per call (µs)"
    assert row[1] == "10.0"
    assert row[2] == "25.0<br>**2.50 \u00d7** (2.00\u20133.00)<br><sub>9 a second</sub>"
    assert row[3] == "≤ 2.5 \u00d7 nginx: 2.50, held<br>≤ 0.7 \u00d7 envoy: not compared"


def test_a_pace_stands_once() -> None:
    """What is the same for several figures is said at the first of them."""
    busy = {"mcpgate": readings(1, pace="9 a second")}
    page = markdown.report(found(*(Answer("mixed", Figure(name, "ms"), busy) for name in ("p50", "p99"))), {})
    assert page.count("9 a second") == 1


def test_a_reason_stands_once() -> None:
    """A subject that failed in a question has no figures there, and the first cell says why."""
    _, _, first, second = rows(markdown.report(RUN, {}).partition("### memory")[2].partition("###")[0])
    assert (first[0], first[2]) == ("memory, 100 streams (KiB)", "failed: a stream \\| was closed")
    assert (second[0], second[2]) == ("memory, 5,000 streams (KiB)", "failed")


def test_a_question_that_nobody_answers_still_stands_there() -> None:
    """Otherwise one would believe that it was not asked."""
    page = markdown.report(found(CALLS, overload={"mcpgate": "no answer within 15 s"}), {})
    assert ["\u2013", "failed: no answer within 15 s", ""] in rows(page)


def test_the_short_table_has_the_goals_only() -> None:
    """One row for each figure that promises something, one column for each peer it is compared with."""
    heading, _, *body = rows(markdown.goals_table(RUN))
    assert heading == ["figure", "mcpgate", "/ nginx", "/ envoy", "goal"]
    assert body == [
        ["CPU per call (µs)", "25.0", "2.50 (2.00\u20133.00); ≤ 2.5 held", "≤ 0.7 not compared", ""],
        ["memory, 5,000 streams (KiB)", "4.00", "0.40; ≤ 0.5 held", "", ""],
        ["growth (MiB)", "9.00", "", "", "≤ 8 MiB: **MISSED**"],
    ]


def test_what_was_left_out_is_told() -> None:
    """With what to install, beside the versions of the others."""
    page = rows(markdown.report(RUN, {}))
    assert ["envoy", "left out: install envoy"] in page
    assert ["nginx", "nginx 1.22.1"] in page


def test_the_table_goes_between_the_marks() -> None:
    """What stands around it stays; a second time changes nothing more."""
    page = f"# Title\n{markdown.BEGIN}\nold\n{markdown.END}\nend\n"
    once = markdown.place(page, "| new |\n")
    assert once == f"# Title\n{markdown.BEGIN}\n| new |\n{markdown.END}\nend\n"
    assert markdown.place(once, "| new |\n") == once


@pytest.mark.parametrize("page", ["# Title\n", markdown.BEGIN, f"{markdown.END}{markdown.BEGIN}"])
def test_without_marks_nothing_is_put_anywhere(page: str) -> None:
    """Better no table than one in the wrong place."""
    with pytest.raises(markdown.NoMarks, match="bench:begin"):
        markdown.place(page, "| new |")


def test_the_appendix_shows_every_configuration() -> None:
    """Version, command and files, in a fence that no file can end."""
    text = markdown.appendix({"nginx": dataclasses.replace(NOTES, files={"a.md": "```\ncode\n```\n", "empty": "\n"})})
    assert "## nginx\n\nnginx 1.22.1\n\n```sh\nnginx -c nginx.conf\n```\n\n`a.md`\n\n````\n```\ncode\n```\n````" in text
    assert "empty" not in text


def test_a_report_has_all_its_pages(tmp_path: Path) -> None:
    """Tables between the marks of both pages, the appendix, and old plots gone."""
    readme = tmp_path / "top.md"
    readme.write_text(f"{markdown.BEGIN}\n{markdown.END}\n")
    (tmp_path / "old.svg").write_text("<svg/>")
    write_pages(RUN, tmp_path, readme, lambda results, folder: {"memory": ["memory.svg"], "": ["goals.svg"]})
    page = (tmp_path / "README.md").read_text()
    assert page.index("![goals](goals.svg)") < page.index("### memory") < page.index("![memory](memory.svg)")
    assert not (tmp_path / "old.svg").exists()
    assert "Goals: 2 held" in readme.read_text()
    assert "nginx.conf" in (tmp_path / "peers.md").read_text()


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    """And one is told so, after ten minutes of measuring, with everything else written."""
    readme = tmp_path / "top.md"
    readme.write_text("# Mine\n")
    said = write_pages(found(), tmp_path, readme, None)
    assert said[0].startswith("no plots: ")
    assert "top.md needs the two lines" in said[1]
    assert readme.read_text() == "# Mine\n"


@pytest.mark.parametrize(("value", "shown"), [(0, "0.00"), (0.004, "0.004"), (1.234, "1.23"), (56.78, "56.8"), (1234.5, "1,234")])
def test_numbers_have_as_many_places_as_they_deserve(value: float, shown: str) -> None:
    """Three digits, more or less: nobody measures a thousandth."""
    assert markdown.number(value) == shown
