"""
What the demo server offers: five tools, one resource, one prompt.

Plain functions on plain values. Nothing here knows HTTP, versions of the protocol or how an answer is framed.
A tool gets a :class:`Call` and returns its result; one that takes its time returns a generator instead, which
yields progress notifications and pauses and, when it is through, *returns* the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

Json = dict[str, Any]

#: Request headers in the order of arrival, names in lower case.
Headers = Sequence[tuple[str, str]]

#: Yields (notification to send now or ``None``, pause behind it in seconds); returns the tool's result.
Steps = Generator[tuple[Json | None, float], None, Json]

#: Doubles are exact to about 9e15, and JSON of other languages knows nothing else.
LARGEST_NUMBER: Final = 1e15

#: Enough to watch a stream for a while; also what bounds the events that a client does not fetch.
LARGEST_COUNT: Final = 1000
LONGEST_PAUSE_S: Final = 60
DEFAULT_PAUSE_S: Final = 1


class BadArgument(Exception):
    """A tool cannot work with what it was given. The model reads the message: it says what would be right."""


@dataclass(frozen=True, slots=True)
class Call:
    """
    One call of a tool: its arguments, and what the tool may know of the HTTP request that brought them.

    :param progress_token: what the client asked to see on progress notifications; ``None``: it wants none.
    """

    arguments: Json
    headers: Headers
    progress_token: int | str | None = None

    def text(self, name: str) -> str:
        """:raises BadArgument: if it is missing or not a string."""
        value = self.arguments.get(name)
        if not isinstance(value, str):
            raise BadArgument(f"'{name}' must be a string")
        return value

    def number(self, name: str, lowest: float, highest: float) -> int | float:
        """:raises BadArgument: if it is missing, not a number (``true`` is none) or out of bounds."""
        value = self.arguments.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and lowest <= value <= highest:
            return value
        raise BadArgument(f"'{name}' must be a number from {lowest:g} to {highest:g}")

    def whole(self, name: str, lowest: int, highest: int) -> int:
        """:raises BadArgument: also for a fraction; ``2.0`` is whole (JSON Schema "integer")."""
        value = self.number(name, lowest, highest)
        if value != int(value):
            raise BadArgument(f"'{name}' must be a whole number")
        return int(value)

    def progress(self, done: int, total: int) -> Json | None:
        """The notification that so much is done, or ``None`` for a client that did not ask for it."""
        if self.progress_token is None:
            return None
        params = {"progressToken": self.progress_token, "progress": done, "total": total}
        return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


def told(text: str, *, is_error: bool = False) -> Json:
    """A tool result of one piece of text (MCP ``server/tools``, "Tool Result")."""
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


def echo(call: Call) -> Json:
    """Give back what was said."""
    return told(call.text("message"))


def add(call: Call) -> Json:
    """The sum of two numbers."""
    a, b = (call.number(name, -LARGEST_NUMBER, LARGEST_NUMBER) for name in ("a", "b"))
    return told(str(a + b))


def count(call: Call) -> Steps:
    """Count slowly, with a progress notification for each step."""
    # Arguments are read here and not in the generator: a bad one must fail now, not at the first step.
    to = call.whole("to", 1, LARGEST_COUNT)
    given = "interval_s" in call.arguments
    interval_s = call.number("interval_s", 0, LONGEST_PAUSE_S) if given else DEFAULT_PAUSE_S
    return _counting(call, to, interval_s)


def _counting(call: Call, to: int, interval_s: float) -> Steps:
    for done in range(1, to + 1):
        yield call.progress(done, to), interval_s
    return told(f"counted to {to}")


def whoami(call: Call) -> Json:
    """Names of all headers; values only of those by which a proxy tells who asked and through whom."""
    values: dict[str, str] = {}
    for name, value in call.headers:
        if name in {"host", "via", "forwarded"} or name.startswith("x-forwarded-"):
            values[name] = f"{values[name]}, {value}" if name in values else value
    arrived = {"headers": sorted({name for name, _ in call.headers}), "values": values}
    return told(json.dumps(arrived, indent=2, sort_keys=True))


def fail(call: Call) -> Json:
    """What a tool that went wrong answers."""
    return told("this tool always fails", is_error=True)


@dataclass(frozen=True, slots=True)
class Tool:
    """
    One tool as clients see it, and the function behind it.

    :param properties: JSON Schema of each argument.
    :param required: names of those that must be there.
    """

    name: str
    description: str
    properties: Mapping[str, Json]
    required: tuple[str, ...]
    run: Callable[[Call], Json | Steps]

    def listing(self) -> Json:
        """This tool's entry in the answer to ``tools/list``."""
        schema = {"type": "object", "properties": dict(self.properties), "required": list(self.required)}
        return {"name": self.name, "description": self.description, "inputSchema": schema}


_NUMBER: Final[Json] = {"type": "number", "minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER}
_COUNT: Final[Json] = {"type": "integer", "minimum": 1, "maximum": LARGEST_COUNT}
_PAUSE: Final[Json] = {"type": "number", "minimum": 0, "maximum": LONGEST_PAUSE_S, "default": DEFAULT_PAUSE_S}

_ALL_TOOLS: Final = (
    Tool("echo", "Say the message again.", {"message": {"type": "string"}}, ("message",), echo),
    Tool("add", "Add two numbers.", {"a": _NUMBER, "b": _NUMBER}, ("a", "b"), add),
    Tool("count", "Count up, with progress each time.", {"to": _COUNT, "interval_s": _PAUSE}, ("to",), count),
    Tool("whoami", "Show what the request looked like when it arrived here.", {}, (), whoami),
    Tool("fail", "Fail, as a tool does: the call succeeds, its result is an error.", {}, (), fail),
)

#: By name, in the order of listing.
TOOLS: Final[Mapping[str, Tool]] = MappingProxyType({tool.name: tool for tool in _ALL_TOOLS})

README_URI: Final = "demo://readme"
README_LISTING: Final[Json] = {"uri": README_URI, "name": "readme", "mimeType": "text/markdown"}
README: Final[Json] = {
    "uri": README_URI,
    "mimeType": "text/markdown",
    "text": "# mcpgate demo\n\nA small MCP server for trying a gateway. `whoami` shows what arrives here.\n",
}

GREET_LISTING: Final[Json] = {
    "name": "greet",
    "description": "Ask the model to greet somebody.",
    "arguments": [{"name": "name", "description": "Who is greeted.", "required": True}],
}


def greet(name: str) -> Json:
    """The prompt ``greet``, filled in (MCP ``server/prompts``, "Getting a Prompt")."""
    content = {"type": "text", "text": f"Greet {name} in one friendly sentence."}
    return {"description": "A greeting.", "messages": [{"role": "user", "content": content}]}
