"""A report on disk: results.json, README.md with its tables, peers.md, and the plots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.report import markdown, results
from benchmarks.report.results import Results

# Writes plots into a folder and returns their names by question.
Draw = Callable[[Results, Path], dict[str, list[str]]]
_FRAME = f"# Benchmarks\n\n{markdown.BEGIN}\n{markdown.END}\n"


def write_report(found: Results, folder: Path, readme: Path | None) -> list[str]:
    """
    Write everything into the folder, the tables between the marks of its README.md, if there is one.

    :param readme: where the short table goes, too.
    :returns: what there is to say about it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results.write(found, folder / "results.json")
    return write_pages(found, folder, readme, drawing())


def write_pages(found: Results, folder: Path, readme: Path | None, draw: Draw | None) -> list[str]:
    """
    Write all but results.json, as `write_report`.

    :param draw: None where nothing can draw: then old plots are left as they are, and none is shown.
    """
    said = [] if draw else ["no plots: there is no matplotlib; pip install 'mcpgate[bench]'"]
    page = folder / "README.md"
    if not page.exists():
        page.write_text(_FRAME)
    said += _place(page, markdown.report(found, _plots(found, folder, draw)))
    (folder / "peers.md").write_text(markdown.appendix(found.peers))
    if readme is not None:
        said += _place(readme, markdown.goals_table(found))
    return [*said, f"written: {folder}"]


def drawing() -> Draw | None:
    """Return what draws; None without matplotlib, which not everybody installs who measures."""
    try:
        from benchmarks.report import plots
    except ImportError:
        return None
    return plots.draw


def _plots(found: Results, folder: Path, draw: Draw | None) -> dict[str, list[str]]:
    if draw is None:
        return {}
    for old in folder.glob("*.svg"):
        old.unlink()
    return draw(found, folder)


def _place(page: Path, table: str) -> list[str]:
    try:
        page.write_text(markdown.place(page.read_text("utf-8"), table))
    except markdown.NoMarks as fault:
        return [f"not written: {page} {fault}"]
    return []
