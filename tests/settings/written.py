"""Settings as they are written in a file, and what is said when they are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from mcpgate.settings import Settings

UPSTREAM = {"url": "http://127.0.0.1:3010"}
TOKEN = {"id": "alice", "sha256": "ab" * 32}


def server(**values: Any) -> dict[str, Any]:
    """A complete server as it is written, with some values changed."""
    return {"name": "a", "upstreams": [UPSTREAM]} | values


def settings(**values: Any) -> Settings:
    """Settings from values as they are written."""
    return Settings.model_validate(values)


def refused(section: type[BaseModel], **values: Any) -> list[tuple[str, str]]:
    """Where and why values are refused."""
    with pytest.raises(ValidationError) as caught:
        section.model_validate(values)
    return [
        (".".join(map(str, line["loc"])), line["msg"].removeprefix("Value error, "))
        for line in caught.value.errors()
        if line["type"] != "default_factory_not_called"
    ]
