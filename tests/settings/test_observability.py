"""What is written, counted and traced: the keys and their defaults."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mcpgate.settings import LoggingSettings, MetricsSettings, TracingSettings


def test_the_defaults() -> None:
    """Lines to standard output, as text for people and JSON for programs; no names of tools; no traces of our own."""
    logging, tracing = LoggingSettings(), TracingSettings()
    assert (logging.access, logging.format, logging.sample_2xx, logging.level) == ("stdout", "auto", 1.0, "info")
    assert MetricsSettings().tools == 0
    assert (tracing.make, tracing.otlp_endpoint, tracing.service_name) == (False, None, "mcpgate")


@pytest.mark.parametrize(
    ("section", "tree"),
    [
        (LoggingSettings, {"level": "loud"}),
        (LoggingSettings, {"levels": {"mcpgate": "loud"}}),
        (LoggingSettings, {"access": "syslog"}),
        (MetricsSettings, {"tools": -1}),
        (MetricsSettings, {"tools": 1001}),
        (TracingSettings, {"sample": 1.5}),
        (TracingSettings, {"otlp_endpoint": "127.0.0.1:4318"}),
        (TracingSettings, {"otlp_headers": {"a b": "c"}}),
    ],
)
def test_what_cannot_be_is_refused(section: type[Any], tree: dict[str, object]) -> None:
    """When the file is read, not when a request comes."""
    with pytest.raises(ValidationError):
        section.model_validate(tree)


def test_the_headers_of_the_collector_are_secrets() -> None:
    """Whoever shows the configuration shows stars."""
    tracing = TracingSettings.model_validate({"otlp_headers": {"X-Api-Key": "hunter2"}})
    assert "hunter2" not in repr(tracing)
    assert tracing.model_dump(mode="json")["otlp_headers"] == {"X-Api-Key": "***"}
