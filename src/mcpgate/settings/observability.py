"""What is written, counted and traced of what happens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mcpgate.settings.sections import Line, SecretHeaders, Section
from mcpgate.values import addresses, grammar
from mcpgate.values.quantities import Count, Share, Switch

LevelName = Literal["debug", "info", "warn", "error", "critical"]

#: Where collectors take traces (OTLP specification, "OTLP/HTTP Request").
_OTLP_PATH = "/v1/traces"


def _collector(url: str) -> str:
    """The whole URL of a collector, which may be written without the path that all of them share."""
    return url if addresses.upstream_url(url).base_path else url.rstrip("/") + _OTLP_PATH


class LoggingSettings(Section):
    """What is written about requests and events, and where."""

    access: Annotated[str, AfterValidator(grammar.access_target)] = Field(
        default="stdout", description="Where access lines go: stdout, off or file:PATH."
    )
    format: Literal["auto", "json", "text"] = Field(
        default="auto", description="Form of the lines: json, text, or auto, which is text on a terminal and else json."
    )
    sample_2xx: Annotated[float, Share()] = Field(
        default=1.0, description="Share of successful requests that is written, 0 to 1; failures always are."
    )
    level: LevelName = Field(default="info", description="Events less important than that are not written.")
    levels: dict[str, LevelName] = Field(
        default_factory=dict, description="The same for parts of the gateway, by the name of the module."
    )


class MetricsSettings(Section):
    """What metrics tell beyond the usual."""

    tools: Annotated[int, Count(0, 1000)] = Field(
        default=0, description="How many names of tools calls are counted by, for each server; the rest is `other`."
    )


class TracingSettings(Section):
    """Distributed traces (W3C Trace Context, OpenTelemetry)."""

    make: Annotated[bool, Switch()] = Field(
        default=False, description="Begin a trace for requests that come without a traceparent."
    )
    sample: Annotated[float, Share()] = Field(
        default=1.0, description="Share of the traces that begin here which is recorded, 0 to 1."
    )
    otlp_endpoint: Annotated[str, AfterValidator(_collector)] | None = Field(
        default=None,
        description="URL of an OTLP/HTTP collector that gets a span for each recorded request; without a path it is "
        f"{_OTLP_PATH}. Needs the extra: pip install 'mcpgate[otel]'.",
    )
    otlp_headers: SecretHeaders = Field(
        default={}, repr=False, description="Headers for the collector, such as its credentials."
    )
    otlp_headers_file: dict[str, Line] = Field(
        default={}, description="Header names and files with the value, which is read into `otlp_headers` at start."
    )
    service_name: Line = Field(default="mcpgate", description="How the gateway is named in traces.")
