"""Every story ends with a gateway that has not failed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _nothing_fails_inside(failures: list[str]) -> Iterator[None]:
    yield
    assert not failures
