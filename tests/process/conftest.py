"""A folder with a gateway's configuration for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.process.stage import Gate


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A gateway that is not started yet."""
    return Gate(tmp_path)
