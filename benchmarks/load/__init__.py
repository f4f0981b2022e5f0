"""
The clients: callers, readers of many streams, senders of large bodies, and those that come all at once. Raw sockets.

They check everything they receive; what is not as it should be ends the question.
"""

from benchmarks.load.bulk import fetch_bulk, send_bulk
from benchmarks.load.callers import Callers
from benchmarks.load.listeners import OPENING_AT_ONCE, Listeners
from benchmarks.load.requests import READ_BYTES, SILENCE_S

__all__ = [
    "OPENING_AT_ONCE",
    "READ_BYTES",
    "SILENCE_S",
    "Callers",
    "Listeners",
    "fetch_bulk",
    "send_bulk",
]
