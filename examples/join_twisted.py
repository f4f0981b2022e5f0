"""
A Twisted server that joins a running gateway.

    export MCPGATE_TOKEN=$(cat var/admin.token)
    python examples/join_twisted.py [http://127.0.0.1:8701 [lab]]

The server is the demo of this package; any ``Site`` will do. Inside a ``Service``, ``join()`` belongs into
``startService`` and ``leave()`` into ``stopService``, whose Deferred the process waits for.
"""

from __future__ import annotations

import secrets
import sys
from typing import cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

import mcpgate
from mcpgate.demo.site import demo_site

log = Logger()


def main(gateway: str, name: str) -> None:
    """Serve until a signal, and be registered meanwhile."""
    site = demo_site(reactor, lambda: secrets.token_urlsafe(16))
    port = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[arg-type]
    url = f"http://127.0.0.1:{cast(IPv4Address, port.getHost()).port}"
    member = mcpgate.register(gateway, name=name, url=url, endpoints={"streamable-http": "/mcp", "sse": "/sse"})

    def refused(failure: Failure) -> None:
        log.failure("cannot join", failure)
        reactor.stop()

    def joined(_: None) -> None:
        print(f"{name}: {url}, {member.standing.value}", flush=True)

    Deferred.fromCoroutine(member.join()).addCallbacks(joined, refused)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(member.leave()))
    reactor.run()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*given, *("http://127.0.0.1:8701", "lab")[len(given) :])
