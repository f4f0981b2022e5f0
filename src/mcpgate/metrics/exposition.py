"""
Samples as text: Prometheus' own format (0.0.4) and OpenMetrics 1.0.

The two differ in their comments, in how a counter's family is called, in exemplars and in the last line. A line is
mostly its name and labels, which never change: they are written once and kept.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from itertools import accumulate
from typing import Final

from mcpgate.metrics.families import Family
from mcpgate.metrics.tallies import Histogram

#: What is kept of line heads, ten times what 200 busy servers need; beyond it all are written anew.
_MAX_LETTERS: Final = 16 * 1024 * 1024


class Format(enum.Enum):
    """The formats, by their media type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


#: What may be asked for, in which versions; the later one wins where both are as welcome.
_OFFERS: Final = {
    "*/*": (Format.TEXT, {""}),
    "text/*": (Format.TEXT, {""}),
    "text/plain": (Format.TEXT, {"", "0.0.4"}),
    "application/openmetrics-text": (Format.OPENMETRICS, {"", "1.0.0"}),
}


def chosen_format(accept: bytes) -> Format:
    """
    Choose what a client likes best (RFC 9110 section 12.5.1); text if it says nothing that we know.

    :param accept: the value of its ``Accept``; may be empty, or anything.
    """
    welcome = {Format.TEXT: 0.0, Format.OPENMETRICS: 0.0}
    for offer in accept.decode("latin-1").lower().split(","):
        media_type, *rest = (part.strip() for part in offer.split(";"))
        parameters = {name.strip(): value.strip(' "') for name, _, value in (part.partition("=") for part in rest)}
        format, versions = _OFFERS.get(media_type, (Format.TEXT, frozenset[str]()))
        if parameters.get("version", "") in versions:
            welcome[format] = max(welcome[format], _weight(parameters.get("q", "1")))
    wanted = welcome[Format.OPENMETRICS]
    return Format.OPENMETRICS if wanted and wanted >= welcome[Format.TEXT] else Format.TEXT


def _weight(q: str) -> float:
    try:
        weight = float(q)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


class Exposition:
    """
    Writes samples in one format.

    A line takes 0.5 us, a histogram of eleven bounds 4.5 us, when their labels have been written before.
    """

    def __init__(self, format: Format) -> None:
        self.format = format
        self._heads: dict[tuple[str, tuple[str, ...]], str] = {}
        self._letters = 0

    @property
    def closing(self) -> str:
        """The last line; it says that none is missing."""
        return "# EOF\n" if self.format is Format.OPENMETRICS else ""

    def opening(self, family: Family) -> str:
        """The comments that come before the samples of a family, of which there may be none."""
        if self.format is Format.TEXT:
            help = family.help.replace("\\", r"\\").replace("\n", r"\n")
            return f"# HELP {family.name} {help}\n# TYPE {family.name} {family.kind.value}\n"
        unit = f"# UNIT {family.stem} {family.unit}\n" if family.unit else ""
        return f"# TYPE {family.stem} {family.kind.value}\n{unit}# HELP {family.stem} {_escaped(family.help)}\n"

    def sample(self, family: Family, values: tuple[str, ...], value: float | Histogram) -> str:
        """
        All lines of one series.

        :param values: one for each label of the family, any text.
        :param value: finite; a histogram for a histogram, which is written as it is at this moment.
        """
        head = self._heads.get((family.name, values))
        if head is None:
            head = self._keep(family, values, value)
        if not isinstance(value, Histogram):
            return f"{head}{value}\n"
        counts = tuple(accumulate(value.counts))
        text = head % (*counts, value.sum, counts[-1])
        if value.exemplar is not None and self.format is Format.OPENMETRICS:
            return _with_exemplar(text, value)
        return text

    def _keep(self, family: Family, values: tuple[str, ...], value: float | Histogram) -> str:
        labels = [f'{name}="{_escaped(text)}"' for name, text in zip(family.labels, values, strict=True)]
        if isinstance(value, Histogram):
            head = _template(family.name, labels, value.bounds)
        else:
            head = f"{family.name}{_braced(labels)} "
        self._letters += len(head)
        if self._letters > _MAX_LETTERS:
            self._heads.clear()
            self._letters = len(head)
        self._heads[family.name, values] = head
        return head


def _template(name: str, labels: list[str], bounds: tuple[float, ...]) -> str:
    """The lines of a histogram, with places for the cumulative counts, the sum, and the count of all."""
    lead = "".join(f"{label}," for label in labels).replace("%", "%%")
    braced = _braced(labels).replace("%", "%%")
    buckets = "".join([f'{name}_bucket{{{lead}le="{bound}"}} %d\n' for bound in (*bounds, "+Inf")])
    return f"{buckets}{name}_sum{braced} %s\n{name}_count{braced} %d\n"


def _with_exemplar(text: str, histogram: Histogram) -> str:
    """Put the example behind the bucket that it is counted in."""
    assert histogram.exemplar is not None
    trace_id, value, at_s = histogram.exemplar
    lines = text.split("\n")
    lines[bisect_left(histogram.bounds, value)] += f' # {{trace_id="{_escaped(trace_id)}"}} {value} {at_s:.3f}'
    return "\n".join(lines)


def _braced(labels: list[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
