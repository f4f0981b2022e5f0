"""What answers at the gateway's own addresses: event feeds directly, everything else through `twisted.web`."""

from __future__ import annotations

from collections.abc import Mapping

from mcpgate.downstream.broadcast import Broadcast
from mcpgate.downstream.local import LocalSite
from mcpgate.exchange import Downstream, Exchange
from mcpgate.pipeline import Pipeline


class Targets:
    """
    :param site: answers everything that is no feed.
    :param feeds: by their path.
    """

    def __init__(self, site: LocalSite, feeds: Mapping[bytes, Broadcast]) -> None:
        self._site = site
        self._feeds = feeds

    def answer(self, exchange: Exchange, port: Downstream, outcome: Pipeline) -> None:
        """Hand on one exchange."""
        feed = self._feeds.get(exchange.head.path)
        if feed is not None:
            feed.answer(exchange, port, outcome)
        else:
            self._site.answer(exchange, port, outcome)
