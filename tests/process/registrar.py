"""
A process that does nothing but register: 200 replicas at once, each again as soon as it is acknowledged.

``python registrar.py FILE ROUND``: prints ``replica revision`` for each acknowledged write, and ends when it is killed.
"""

from __future__ import annotations

import os
import sys

from twisted.internet import reactor

from mcpgate.registry.store import Row, SqliteStore

REPLICAS = 200


class Registrar:
    """
    One replica that registers again and again.

    :param first: its first revision.
    """

    def __init__(self, store: SqliteStore, replica: str, first: int) -> None:
        self._store = store
        self._replica = replica
        self._revision = first

    def register(self) -> None:
        """Once more."""
        row = Row("server", self._replica, b"%d" % self._revision * 50, 0.0, self._revision)
        self._store.put([row]).addCallback(self._acknowledge)

    def _acknowledge(self, _: None) -> None:
        # At once, past every buffer: what a client was told before the end counts.
        os.write(1, f"{self._replica} {self._revision}\n".encode())
        self._revision += 1
        self.register()


def main(path: str, turn: int) -> None:
    """Go on with what the file holds, and with replicas that only this turn has."""
    store = SqliteStore(path, reactor.callFromThread)  # type: ignore[attr-defined]
    known = {row.replica: row.revision for row in store.load()}
    for number in range(REPLICAS):
        replica = f"again-{number}" if number % 2 else f"turn-{turn}-{number}"
        Registrar(store, replica, known.get(replica, 0) + 1).register()
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
