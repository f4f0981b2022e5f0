"""What a run has found, for a terminal: a block for each figure, a line for each subject, a line for each goal."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import BASELINE, Figure, Judgement, Reading, Verdict, median, ratio
from benchmarks.report.results import Answer, Results

_NOTE = "* depends on the machine; the ratios are of one run and can be compared"


def table(results: Results) -> str:
    """Return all figures, and what has failed."""
    heading = ["", "median *", f"/ {BASELINE}", "min - max", "at"]
    answers = [answer for several in results.questions().values() for answer in several]
    blocks = [(answer.figure.label, _rows(answer), _goals(results, answer)) for answer in answers]
    rows = [heading, *(row for _, some, _ in blocks for row in some)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    lines = [_line(heading, widths)]
    for label, some, goals in blocks:
        lines += [label, *(_line(row, widths) for row in some), *goals]
    lines += [
        f"{question}: {subject} failed: {reason}"
        for question, by_subject in results.failed.items()
        for subject, reason in by_subject.items()
    ]
    return "\n".join([*lines, "", _NOTE])


def summary(results: Results) -> str:
    """Return how many goals came out how, and which were missed."""
    tally = results.tally()
    lines = [f"goals: {', '.join(f'{tally[verdict]} {verdict}' for verdict in Verdict)}"]
    for answer in results.answers:
        for each in results.judgements(answer):
            if each.verdict is Verdict.MISSED:
                lines.append(f"  {each.verdict}: {answer.figure.label}, {goal_text(each, answer.figure)}")
    return "\n".join(lines)


def goal_text(judgement: Judgement, figure: Figure) -> str:
    """Return what is promised and what was found: ``≤ 2.5 x nginx: 2.91``."""
    promised = f"≤ {judgement.hold:g} x {judgement.peer}" if judgement.peer else f"≤ {judgement.hold:g} {figure.unit}"
    return promised if judgement.found is None else f"{promised}: {judgement.found.median:.2f}"


def _rows(answer: Answer) -> list[list[str]]:
    return [_row(answer.figure, name, mine, answer.readings.get(BASELINE)) for name, mine in answer.readings.items()]


def _row(figure: Figure, name: str, mine: Sequence[Reading], baseline: Sequence[Reading] | None) -> list[str]:
    row = [f"  {name}", f"{median(mine):.2f} {figure.unit}"]
    compared = ratio(mine, baseline) if baseline and figure.value_goal is None else None
    if compared is None:
        return [*row, "", "", mine[-1].pace]
    if name == BASELINE:
        return [*row, "1", "", mine[-1].pace]
    return [*row, f"{compared.median:.2f}", f"{compared.lowest:.2f} - {compared.highest:.2f}", mine[-1].pace]


def _goals(results: Results, answer: Answer) -> list[str]:
    judgements = results.judgements(answer)
    told = [f"{goal_text(each, answer.figure)} {each.verdict}" for each in judgements]
    return [f"    {'; '.join(told)}"] if told else []


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
