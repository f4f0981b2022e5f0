"""
What connections want at the end of a reactor's turn, and the books they are taken off.

Twisted ends a connection on a turn of its own, by way of a timer of 0 s or by asking epoll whether an idle socket takes
bytes. Here it ends with the turn in which that was decided: later than the call, as every protocol expects, but without
another poll. Until then its descriptor stays open, so that its number cannot be another's while events of this turn are
still being dispatched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python import log


class Turns:
    """Part of a reactor that says when a turn has ended. Before it waits for events it must `end_turn`, too."""

    def __init__(self, *parts: Any) -> None:
        self._at_turn_end: list[Callable[[], object]] = []
        super().__init__(*parts)

    def at_turn_end(self, call: Callable[[], object]) -> None:
        """
        Have something called when all events of this turn have been dispatched; what it raises is logged.

        Asked for between two turns, by a timer, it comes before the next events are waited for.
        """
        self._at_turn_end.append(call)

    def end_turn(self) -> None:
        """Call what has waited for it; what is asked for meanwhile belongs to the next turn."""
        calls, self._at_turn_end = self._at_turn_end, []
        for call in calls:
            try:
                call()
            except BaseException:
                log.err()
