"""What answers at an own address."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mcpgate.downstream.targets import Targets


@pytest.mark.parametrize(
    ("path", "expected"), [(b"/events", "feed"), (b"/events/", "site"), (b"/", "site"), (b"/eventsx", "site")]
)
def test_a_feed_has_its_path_and_everything_else_is_the_sites(path: bytes, expected: str) -> None:
    """With what is needed for the answer."""
    asked: list[tuple[str, object, object, object]] = []

    def target(name: str) -> Any:
        return SimpleNamespace(answer=lambda *values: asked.append((name, *values)))

    targets = Targets(target("site"), {b"/events": target("feed")})
    exchange = SimpleNamespace(head=SimpleNamespace(path=path))
    targets.answer(cast(Any, exchange), cast(Any, "port"), cast(Any, "outcome"))
    assert asked == [(expected, exchange, "port", "outcome")]
