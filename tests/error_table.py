"""The table of errors in the manual, from the classes themselves: ``python -m tests.error_table > docs/errors.md``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from mcpgate import errors, refusals
from mcpgate.errors import GatewayError

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
_TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", re.DOTALL)
_SOURCES = {"downstream": "the client", "gateway": "the gateway", "upstream": "the MCP server"}


def all_errors() -> list[type[GatewayError]]:
    """Every kind of error, by status and reason."""
    found = {**vars(errors), **vars(refusals)}.values()
    kinds = [each for each in found if inspect.isclass(each) and issubclass(each, GatewayError)]
    return sorted(kinds, key=lambda kind: (kind.status, kind.reason))


def page() -> str:
    """The page as it should be: what people wrote, with a fresh table in it."""
    return _TABLE.sub("".join(f"{line}\n" for line in _lines()), PAGE.read_text("utf-8"))


def _lines() -> Iterator[str]:
    yield "| status | code | `reason` | because of | what happened | what the client reads |"
    yield "|---|---|---|---|---|---|"
    for kind in all_errors():
        happened = " ".join((kind.__doc__ or "").split("\n\n")[0].split()).replace("``", "`")
        yield (
            f"| {kind.status} | {-31000 - kind.status} | `{kind.reason}` | {_SOURCES[kind.source]} "
            f"| {happened} | {kind.message} |"
        )


if __name__ == "__main__":
    print(page(), end="")
