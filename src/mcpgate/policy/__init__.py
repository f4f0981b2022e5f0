"""Decisions: no I/O, no Twisted, the time is an argument."""
