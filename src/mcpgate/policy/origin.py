"""
Which ``Host`` and ``Origin`` a listener answers to.

DNS rebinding and cross-site requests are how a web page reaches a server on somebody's own machine; every MCP
transport therefore demands an Origin check on every connection (MCP 2025-11-25 transports, "Security Warning"). It
stands here for all listeners and methods, so that no transport can be forgotten.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+(?:%25[\w.~-]+)?\]|[A-Za-z0-9._~-]+)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(rb"https?://(.+)", re.IGNORECASE)
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def split_host(value: bytes) -> tuple[bytes, bytes] | None:
    """A ``Host`` value as lower-case name and port (empty if none), or ``None`` if it is not one (RFC 9110 7.2)."""
    match = _HOST.fullmatch(value)
    if match is None:
        return None
    name, port = match[1].lower(), match[2] or b""
    if name.startswith(b"["):
        try:
            ipaddress.IPv6Address(name[1:-1].partition(b"%")[0].decode("ascii"))
        except ValueError:
            return None
    if port and int(port) > 65535:
        return None
    return name, port


class AllowedOrigins:
    """
    The names one listener answers to.

    :param hosts: ``name`` (any port) or ``name:port``; empty together with ``any_host`` admits every well-formed Host.
    :param origins: full origins (``https://app.example.com``) besides the hosts themselves; ``*`` admits every one.
    """

    def __init__(self, hosts: Iterable[str], origins: Iterable[str] = (), any_host: bool = False) -> None:
        self._hosts = frozenset(host.lower().encode("ascii", "replace") for host in hosts)
        self._origins = frozenset(origin.lower().rstrip("/").encode("ascii", "replace") for origin in origins)
        self._any_host = any_host
        # Browsers and clients repeat a handful of values; the bound keeps hostile ones from filling it.
        self._admitted: set[bytes] = set()

    def admits_host(self, value: bytes) -> bool | None:
        """``True`` or ``False``, or ``None`` if the value is no Host at all."""
        if value in self._admitted:
            return True
        parts = split_host(value)
        if parts is None:
            return None
        admitted = self._any_host or self._knows(*parts)
        if admitted and len(self._admitted) < 64:
            self._admitted.add(value)
        return admitted

    def admits_origin(self, value: bytes) -> bool:
        """Whether a page of this origin may use the gateway; the opaque origin ``null`` only if it is listed."""
        if b"*" in self._origins or value.lower() in self._origins:
            return True
        match = _ORIGIN.fullmatch(value)
        parts = split_host(match[1]) if match else None
        return parts is not None and self._knows(*parts)

    def _knows(self, name: bytes, port: bytes) -> bool:
        return name in self._hosts or (bool(port) and name + b":" + port in self._hosts)
