"""What a run has found, as Markdown: all figures, the short table of the goals, and how each subject was set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.figures import BASELINE, Figure, Judgement, Reading, Spread, Verdict, judged_among, median, ratio
from benchmarks.report.results import Answer, PeerNotes, Results

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
# Written so because the characters look like others.
_TIMES, _DASH = "\u00d7", "\u2013"
_UNITS = {"cpus": "CPUs", "cpu": "CPU", "memory_gib": "memory, GiB", "congestion_control": "congestion control"}


class NoMarks(Exception):
    """A file lacks the marks between which a table goes."""


def place(text: str, table: str) -> str:
    """
    Put a table between the marks of a text, instead of what stands there.

    :raises NoMarks: if there are none.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarks(f"needs the two lines {BEGIN} and {END}, between which the table goes")
    return f"{before}{BEGIN}\n{table.strip()}\n{END}{after}"


def goals_table(results: Results) -> str:
    """Return the short table: a row for each figure that has a goal."""
    rows = [
        [_label(answer.figure), _ours(results, answer), *(_against(results, answer, peer) for peer in _peers(results))]
        for answer in _with_goals(results)
    ]
    heading = ["figure", "mcpgate", *(f"/ {peer}" if peer else "goal" for peer in _peers(results))]
    return f"{_table(heading, rows)}\n\n{tally_text(results)}"


def tally_text(results: Results) -> str:
    """Return one sentence about all goals."""
    tally = results.tally()
    return f"Goals: {', '.join(f'{tally[verdict]} {verdict}' for verdict in Verdict)}."


def report(results: Results, plots: Mapping[str, Sequence[str]]) -> str:
    """
    Return everything.

    :param plots: file names by question; those of "" belong to the goals.
    """
    parts = ["## The goals", goals_table(results), *_images(plots.get("", ())), "## All figures"]
    for question, answers in results.questions().items():
        parts += [f"### {question}", *_question(results, question, answers), *_images(plots.get(question, ()))]
    parts += ["## The run", _run(results)]
    return "\n\n".join(parts) + "\n"


def appendix(peers: Mapping[str, PeerNotes]) -> str:
    """Return how each subject was set up: what it was given to read, and its command."""
    parts = [
        "# Who was asked, and how each was set up",
        "Written by the run that made [the tables](README.md). 8000 is the port that clients knock at, 8001 that of\n"
        "an admin listener, 9000 that of the server behind; secrets are starred, folders shortened.",
    ]
    for name, notes in peers.items():
        parts += [f"## {name}", notes.version, f"```sh\n{notes.command}\n```"]
        parts += [f"`{path}`\n\n{_fenced(text)}" for path, text in notes.files.items() if text.strip()]
    return "\n\n".join(part for part in parts if part) + "\n"


def number(value: float) -> str:
    """Return a value with as many places as it deserves."""
    size = abs(value)
    places = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:,.{places}f}" if size >= 0.01 or size == 0 else f"{value:.1g}"


def _question(results: Results, question: str, answers: Sequence[Answer]) -> list[str]:
    subjects = results.subjects_of(question)
    failed = results.failed.get(question, {})
    rows = [
        [
            _label(answer.figure),
            *("failed" if subject in failed else _cell(answer, subject, above) for subject in subjects),
            "<br>".join(_verdict_text(each, answer.figure) for each in results.judgements(answer)),
        ]
        for answer, above in zip(answers, [None, *answers], strict=False)
    ] or [[_DASH, *("failed" for _ in subjects), ""]]
    # A reason is long: it stands once.
    rows[0][1:-1] = [
        f"failed: {_escaped(failed[subject])}" if subject in failed else cell
        for subject, cell in zip(subjects, rows[0][1:-1], strict=True)
    ]
    return [_table(["figure", *subjects, "goals"], rows)]


def _cell(answer: Answer, subject: str, above: Answer | None) -> str:
    """Median, ratio, and the pace unless it stands in the row above."""
    mine = answer.readings.get(subject)
    if not mine:
        return _DASH
    lines = [number(median(mine))]
    compared = _ratio_to_baseline(answer, mine)
    if compared is not None and subject != BASELINE:
        lines.append(f"**{compared.median:.2f} {_TIMES}** {_range(compared)}".rstrip())
    same = above is not None and subject in above.readings and above.readings[subject][-1].pace == mine[-1].pace
    if mine[-1].pace and not same:
        lines.append(f"<sub>{_escaped(mine[-1].pace)}</sub>")
    return "<br>".join(lines)


def _ratio_to_baseline(answer: Answer, mine: Sequence[Reading]) -> Spread | None:
    if answer.figure.value_goal is not None:
        return None
    return ratio(mine, answer.readings.get(BASELINE, ()))


def _range(spread: Spread) -> str:
    return "" if spread.lowest == spread.highest else f"({spread.lowest:.2f}{_DASH}{spread.highest:.2f})"


def _label(figure: Figure) -> str:
    return f"{figure.label} ({figure.unit})"


def _verdict_text(judgement: Judgement, figure: Figure) -> str:
    of = f"{_TIMES} {judgement.peer}" if judgement.peer else figure.unit
    promised = f"≤ {judgement.hold:g} {of}"
    if judgement.found is None or not judgement.peer:
        return f"{promised}: {_stressed(judgement)}"
    return f"{promised}: {judgement.found.median:.2f}, {_stressed(judgement)}"


def _stressed(judgement: Judgement) -> str:
    if judgement.verdict is Verdict.MISSED:
        return f"**{judgement.verdict}**"
    return f"{judgement.verdict}, even ≤ {judgement.reach:g}" if judgement.is_reached else f"{judgement.verdict}"


def _with_goals(results: Results) -> list[Answer]:
    return [answer for answers in results.questions().values() for answer in answers if answer.figure.has_goal]


def _peers(results: Results) -> list[str]:
    """Return whom goals compare with, those on a value last."""
    named = dict.fromkeys(goal.peer for answer in _with_goals(results) for goal in answer.figure.goals)
    values = any(answer.figure.value_goal is not None for answer in _with_goals(results))
    return [*sorted(named, key=lambda name: name != BASELINE), *([""] if values else [])]


def _ours(results: Results, answer: Answer) -> str:
    mine = answer.readings.get(judged_among([*answer.readings, *results.failed.get(answer.question, ())]))
    return number(median(mine)) if mine else "failed"


def _against(results: Results, answer: Answer, peer: str) -> str:
    for each in results.judgements(answer):
        if each.peer == peer:
            return _promise(each, answer.figure)
    return ""


def _promise(judgement: Judgement, figure: Figure) -> str:
    if not judgement.peer:
        return f"≤ {judgement.hold:g} {figure.unit}: {_stressed(judgement)}"
    found = "" if judgement.found is None else f"{judgement.found.median:.2f} {_range(judgement.found)}".rstrip() + "; "
    return f"{found}≤ {judgement.hold:g} {_stressed(judgement)}"


def _run(results: Results) -> str:
    facts = {_UNITS.get(key, key.replace("_", " ")): value for key, value in results.machine.items()}
    rows = [[key, _escaped(f"{value}")] for key, value in facts.items()]
    rows += [["rounds", f"{results.extent.get('rounds', '')}"], ["took", f"{results.took_s / 60:.1f} minutes"]]
    rows += [[name, _escaped(notes.version)] for name, notes in results.peers.items() if notes.version]
    rows += [[name, f"left out: {_escaped(reason)}"] for name, reason in results.missing.items()]
    where = "How each was set up: [peers.md](peers.md). Every sample: [results.json](results.json)."
    return f"{_table(['', ''], rows)}\n\n{where}"


def _images(names: Sequence[str]) -> list[str]:
    return [f"![{name.removesuffix('.svg').replace('-', ' ')}]({name})" for name in names]


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _fenced(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in text.split() if set(run) == {"`"}), default=0))
    return f"{fence}\n{text.strip()}\n{fence}"
