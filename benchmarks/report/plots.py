"""
What a run has found, as SVG: bars of ratios for each question, lines where a figure was asked at several sizes.

The only room that imports matplotlib. The same results give the same bytes: no date, no random names, text as text.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.figures import BASELINE, JUDGED, Spread, Verdict, judged_among, median, ratio
from benchmarks.report.markdown import number
from benchmarks.report.results import Answer, Results

# Those of Okabe and Ito, which people tell apart who see colours differently; the gateway has the loud one.
_COLOURS = {
    "nginx": "#000000",
    "haproxy": "#0072b2",
    "envoy": "#56b4e9",
    "http-proxy-middleware": "#e69f00",
    "klein-treq": "#999999",
    "contextforge": "#cc79a7",
    "fastmcp": "#009e73",
    "mcp-proxy": "#b8a800",
}
_OURS, _OTHER, _HELD = "#d55e00", "#777777", "#009e73"
_WIDTH_IN, _BAR_IN, _PANEL_IN, _LINES_IN = 7.2, 0.24, 0.6, 3.2
# The largest is so many times the smallest: then the small ones can only be seen on a logarithmic scale.
_WIDE = 12
# Fewer are no course.
_FEWEST_SIZES = 3


def draw(results: Results, folder: Path) -> dict[str, list[str]]:
    """Draw everything; return the file names by question, those of "" belong to the goals."""
    drawn: dict[str, list[str]] = {}
    for question, answers in results.questions().items():
        names = [_bars(answers, folder / f"{question}.svg"), *_all_lines(question, answers, folder)]
        drawn[question] = [name for name in names if name]
    goals = _goals(results, folder / "goals.svg")
    return drawn | {"": [goals] if goals else []}


def _bars(answers: Sequence[Answer], path: Path) -> str:
    """One panel for each figure, one bar for each subject; nothing where nobody is compared."""
    sizes = Counter(answer.figure.name for answer in answers)
    panels = []
    for answer in answers:
        is_course = sizes[answer.figure.name] >= _FEWEST_SIZES and not answer.figure.has_goal
        if bars := ({} if is_course else _ratios(answer)):
            panels.append((answer, bars))
    if not panels:
        return ""
    heights = [len(bars) * _BAR_IN + _PANEL_IN for _, bars in panels]
    with _drawing(path, sum(heights)) as drawing:
        places = drawing.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
        for (axes,), (answer, bars) in zip(places, panels, strict=True):
            _panel(axes, answer, bars)
    return path.name


def _ratios(answer: Answer) -> dict[str, Spread]:
    if answer.figure.value_goal is not None:
        return {}
    baseline = answer.readings.get(BASELINE, ())
    compared = {name: ratio(mine, baseline) for name, mine in answer.readings.items() if name != BASELINE}
    return {name: spread for name, spread in compared.items() if spread is not None}


def _panel(axes: Axes, answer: Answer, bars: dict[str, Spread]) -> None:
    names = list(reversed(bars))
    for at, name in enumerate(names):
        spread = bars[name]
        _bar(axes, at, spread, _colour(name), f"{spread.median:.2f}")
    axes.set_yticks(range(len(names)), names)
    axes.axvline(1, color="black", linewidth=0.8)
    holds = [goal.hold for goal in answer.figure.goals if goal.peer == BASELINE]
    for hold in holds:
        axes.axvline(hold, color=_OURS, linewidth=0.8, linestyle="--")
    figure, theirs = answer.figure, median(answer.readings[BASELINE])
    axes.set_title(f"{figure.label}: times nginx's {number(theirs)} {figure.unit}", loc="left", fontsize=9)
    shown = [1.0, *holds, *(value for spread in bars.values() for value in (spread.lowest, spread.highest))]
    if _is_wide(shown):
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
        axes.set_xlim(min(shown) / 2, max(shown) * 1.6)
    else:
        axes.set_xlim(min(0, *shown), max(shown) * 1.12)


def _bar(axes: Axes, at: int, spread: Spread, colour: str, label: str) -> None:
    reach = [[spread.median - spread.lowest], [spread.highest - spread.median]]
    axes.barh(at, spread.median, height=0.7, color=colour, xerr=reach, error_kw={"linewidth": 0.8})
    axes.annotate(label, (spread.highest, at), (4, 0), textcoords="offset points", va="center", fontsize=8)


def _plain_ticks(axis: Axis) -> None:
    """Write 10 and not a power, and name two steps between powers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _goals(results: Results, path: Path) -> str:
    """Every goal that could be compared, as a share of what is allowed."""
    rows = [
        (answer, each, each.found)
        for answers in results.questions().values()
        for answer in answers
        for each in results.judgements(answer)
        if each.found is not None
    ]
    if not rows:
        return ""
    with _drawing(path, len(rows) * _BAR_IN + _PANEL_IN) as drawing:
        axes = drawing.subplots()
        for at, (answer, each, found) in enumerate(reversed(rows)):
            share = Spread(found.median / each.hold, found.lowest / each.hold, found.highest / each.hold)
            unit = "" if each.peer else f" {answer.figure.unit}"
            label = f"{number(found.median)} of {each.hold:g}{unit}"
            _bar(axes, at, share, _OURS if each.verdict is Verdict.MISSED else _HELD, label)
        names = [f"{answer.figure.name} / {each.peer}".removesuffix(" / ") for answer, each, _ in rows]
        axes.set_yticks(range(len(rows)), list(reversed(names)))
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xlim(0, 1.3 * max(1.0, *(found.highest / each.hold for _, each, found in rows)))
        axes.set_title("found, as a share of what the goal allows (1)", loc="left", fontsize=9)
    return path.name


def _all_lines(question: str, answers: Sequence[Answer], folder: Path) -> list[str]:
    sizes = Counter(answer.figure.name for answer in answers if answer.figure.at is not None)
    families = [name for name, count in sizes.items() if count >= _FEWEST_SIZES]
    return [
        _lines([answer for answer in answers if answer.figure.name == name], folder / f"{question}-{_slug(name)}.svg")
        for name in families
    ]


def _slug(name: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in name.lower()).split())


def _lines(family: Sequence[Answer], path: Path) -> str:
    """One family over its sizes, a line for each subject."""
    first = family[0].figure
    sizes = [answer.figure.at or 0 for answer in family]
    shown = []
    with _drawing(path, _LINES_IN) as drawing:
        axes = drawing.subplots()
        for name in dict.fromkeys(name for answer in family for name in answer.readings):
            asked = [answer for answer in family if name in answer.readings]
            values = [median(answer.readings[name]) for answer in asked]
            width = 2.0 if name.startswith(JUDGED) else 1.2
            places = [answer.figure.at or 0 for answer in asked]
            axes.plot(places, values, marker="o", markersize=4, label=name, color=_colour(name), linewidth=width)
            shown += values
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,.10g}" for size in sizes])
        axes.minorticks_off()
        if _is_wide(shown):
            axes.set_yscale("log")
            _plain_ticks(axes.yaxis)
        else:
            axes.set_ylim(bottom=min(0, *shown))
        axes.set_xlabel(first.at_unit)
        axes.set_title(f"{first.name}, {first.unit}", loc="left", fontsize=9)
        drawing.legend(loc="outside right upper", frameon=False, fontsize=8)
    return path.name


def _is_wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) > _WIDE * min(values)


def _colour(name: str) -> str:
    return _OURS if judged_among([name]) == name and name.startswith(JUDGED) else _COLOURS.get(name, _OTHER)


@contextlib.contextmanager
def _drawing(path: Path, height_in: float) -> Iterator[Drawing]:
    with matplotlib.rc_context():
        matplotlib.rc("svg", hashsalt="mcpgate", fonttype="none")
        matplotlib.rc("font", family="sans-serif", size=9)
        matplotlib.rc("axes.spines", top=False, right=False)
        drawing = Drawing(figsize=(_WIDTH_IN, height_in), layout="constrained")
        yield drawing
        drawing.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
