# mypy: allow-untyped-calls
"""``python -m mcpgate.demo``: the demo server alone, on loopback."""

from __future__ import annotations

import argparse
import secrets
import sys
from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater

from mcpgate.demo.site import demo_site


def main(arguments: list[str] | None = None) -> int:
    """Run the demo server alone until SIGINT or SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mcpgate.demo", description="A small MCP server to try.")
    parser.add_argument("--port", type=int, default=8790, help="on 127.0.0.1; 0 takes a free one")
    options = parser.parse_args(arguments)
    from twisted.internet import reactor

    # Site is a factory of servers, though its own annotations do not say so.
    site = demo_site(reactor, lambda: secrets.token_urlsafe(16))
    try:
        port = reactor.listenTCP(options.port, site, interface="127.0.0.1")  # type: ignore[arg-type]
    except CannotListenError as taken:
        print(f"cannot listen on port {options.port}: {taken.socketError}", file=sys.stderr)
        return 1

    async def leave() -> None:
        """Let subscriptions have their result: one turn to write it, then the connections are cut."""
        await maybeDeferred(port.stopListening)
        await deferLater(reactor, 0)

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(leave()))
    address = cast(IPv4Address, port.getHost())
    print(f"MCP demo server: http://127.0.0.1:{address.port}/mcp and /sse", flush=True)
    reactor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
