"""
A scrape: everything that is counted, as text, made in pieces between which the reactor may turn.

With 200 busy servers a scrape is 10,000 lines; written at one go it would hold up every stream.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

from mcpgate.metrics.exposition import Exposition, Format, chosen_format
from mcpgate.metrics.families import FAMILIES
from mcpgate.metrics.headcount import Headcount
from mcpgate.metrics.observed import Observed
from mcpgate.metrics.process import Process
from mcpgate.metrics.sources import SOURCES, Connects, Look, labelled_tallies

#: Exchanges or connections that are looked at between two pieces: 1.5 us each, so under a millisecond.
TOUCHED: Final = 500
#: Series that are written between two pieces, 1 us each, and letters: a histogram has a thousand, and takes 5 us.
#: Labels that are written for the first time take some ten times as long.
WRITTEN: Final = 125
LETTERS: Final = 32 * 1024


class Scrape:
    """
    Tells what has been counted. One object for the life of a gateway: it keeps what does not change between scrapes.
    """

    def __init__(self, observed: Observed) -> None:
        self._observed = observed
        self._expositions = {format: Exposition(format) for format in Format}
        self._connects = Connects()
        self._process = Process()
        self._versions = (observed.version, platform.python_version(), version("twisted"))
        self._last_s = 0.0

    def pieces(self, accept: bytes) -> tuple[bytes, Iterator[bytes]]:
        """
        Begin a scrape. Bytes that open exchanges have moved are settled first, so that they are in it.

        :param accept: the value of the client's ``Accept``; may be empty.
        :returns: the content type, and the text in pieces. A piece takes about a millisecond to make; it may be empty.
            Whoever stops in between leaves nothing behind.
        """
        format = chosen_format(accept)
        return format.value.encode("ascii"), self._timed(self._pieces(self._expositions[format]))

    def _timed(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same pieces; the time in which they are made, and not the one in between, is noted at the end."""
        now, spent_s = self._observed.now, 0.0
        while True:
            began_s = now()
            piece = next(pieces, None)
            spent_s += now() - began_s
            if piece is None:
                break
            yield piece
        self._last_s = spent_s

    def _pieces(self, exposition: Exposition) -> Iterator[bytes]:
        headcount = Headcount(self._observed, self._process)
        for number, _ in enumerate(headcount.steps(), 1):
            if not number % TOUCHED:
                yield b""
        written: list[str] = []
        letters = 0
        for text in self._texts(exposition, headcount):
            written.append(text)
            letters += len(text)
            if len(written) == WRITTEN or letters >= LETTERS:
                yield _joined(written)
                written.clear()
                letters = 0
        yield _joined([*written, exposition.closing])

    def _texts(self, exposition: Exposition, headcount: Headcount) -> Iterator[str]:
        """The series one by one."""
        look = self._look(headcount)
        sample = exposition.sample
        for family in FAMILIES:
            yield exposition.opening(family)
            for values, value in SOURCES[family.name](look):
                yield sample(family, values, value)

    def _look(self, headcount: Headcount) -> Look:
        servers = dict(self._observed.servers())
        return Look(
            observed=self._observed,
            headcount=headcount,
            tallies=labelled_tallies(self._observed),
            servers=servers,
            connects=self._connects.count(servers),
            process=self._process.series(),
            versions=self._versions,
            last_scrape_s=self._last_s,
            members=self._observed.members(),
        )


def _joined(texts: list[str]) -> bytes:
    # A name that a client has made up may hold half a character.
    return "".join(texts).encode("utf-8", "replace")
