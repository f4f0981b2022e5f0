"""
The gateway inside a Twisted web application of one's own.

    python examples/embed.py [etc/gate.yaml 8080]

serves the application's page at ``/hello``, and every MCP server of the configuration at its path.
"""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from mcpgate.embed import gateway_resource


class Hello(Resource):
    """Some page of the application."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        return b"hello\n"


class Application(Resource):
    """The application's root: its own pages, and the gateway for everything else."""

    def __init__(self, gateway: IResource) -> None:
        super().__init__()
        self._gateway = gateway
        self.putChild(b"hello", Hello())

    def getChild(self, path: bytes, request: Request) -> IResource:
        return self._gateway


if __name__ == "__main__":
    config, port = sys.argv[1:] or ("etc/gate.yaml", "8080")
    site = Site(Application(gateway_resource(reactor, config)), parsePOSTFormSubmission=False)
    reactor.listenTCP(int(port), site, interface="127.0.0.1")  # type: ignore[arg-type]
    print(f"http://127.0.0.1:{port}/hello and the servers of {config}")
    reactor.run()
