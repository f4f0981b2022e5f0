"""What all tests share: a reactor of their choice, and an eye on what the gateway logs as its own failure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import twisted.internet.reactor  # noqa: F401 - Klein would install one at import; this is the one tests get
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Requests and answers as parameters would make names that nobody can read."""
    if isinstance(val, bytes | str) and len(val) > 30:
        text = val.decode("latin-1") if isinstance(val, bytes) else val
        return "".join(letter if letter.isalnum() or letter in "/.-" else "_" for letter in text[:24])
    return getattr(val, "__name__", None)


@pytest.fixture
def failures() -> Iterator[list[str]]:
    """The texts of all failures that are logged while a test runs."""
    seen: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            seen.append(f"{formatEvent(event)}: {event['log_failure'].getTraceback()}")

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)
