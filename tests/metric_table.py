"""The table of series in the manual, from the code: ``python -m tests.metric_table > docs/observability.md``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mcpgate.metrics.families import FAMILIES

PAGE = Path(__file__).parents[1] / "docs" / "observability.md"
_TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", re.DOTALL)


def page() -> str:
    """The page as it should be: what people wrote, with a fresh table in it."""
    table = "".join(f"{line}\n" for line in _lines())
    return _TABLE.sub(lambda _: table, PAGE.read_text("utf-8"))


def _lines() -> Iterator[str]:
    yield "| series | labels | kind | what it says |"
    yield "|---|---|---|---|"
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"| `{family.name}` | {labels} | {family.kind.value} | {family.help} |"


if __name__ == "__main__":
    print(page(), end="")
