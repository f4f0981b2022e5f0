"""
Every knob of the gateway: its name, type, unit, default and bounds.

Frozen values and nothing else: no files are read here, ``config.py`` does that. Durations are seconds
(float), sizes are bytes (int). A value that is here has been checked, also where two values must fit
together.
"""

from mcpgate.settings.access import Algorithm, AuthSettings, IssuerSettings, TokenSettings
from mcpgate.settings.limits import (
    AllowanceSettings,
    GateSettings,
    KeyPart,
    LimitSettings,
    MatchSettings,
    SessionsSettings,
)
from mcpgate.settings.listeners import AdminSettings, AdminToken, DemoSettings, HttpSettings
from mcpgate.settings.observability import LoggingSettings, MetricsSettings, TracingSettings
from mcpgate.settings.registry import DiscoverySettings, RegistrySettings, SourceSettings
from mcpgate.settings.rights import GrantedToolsSettings, ToolsSettings
from mcpgate.settings.sections import Section
from mcpgate.settings.servers import (
    AuthKind,
    HeadersSettings,
    RegisteredUpstream,
    ServerSettings,
    TimeoutSettings,
    TlsSettings,
    TransportName,
    UpstreamSettings,
)
from mcpgate.settings.whole import DrainSettings, Settings, schema

__all__ = [
    "AdminSettings",
    "AdminToken",
    "Algorithm",
    "AllowanceSettings",
    "AuthKind",
    "AuthSettings",
    "DemoSettings",
    "DiscoverySettings",
    "DrainSettings",
    "GateSettings",
    "GrantedToolsSettings",
    "HeadersSettings",
    "HttpSettings",
    "IssuerSettings",
    "KeyPart",
    "LimitSettings",
    "LoggingSettings",
    "MatchSettings",
    "MetricsSettings",
    "RegisteredUpstream",
    "RegistrySettings",
    "Section",
    "ServerSettings",
    "SessionsSettings",
    "Settings",
    "SourceSettings",
    "TimeoutSettings",
    "TlsSettings",
    "TokenSettings",
    "ToolsSettings",
    "TracingSettings",
    "TransportName",
    "UpstreamSettings",
    "schema",
]
