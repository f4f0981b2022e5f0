"""Formats on the wire: feed bytes, get values. No I/O, no Twisted, no clock."""
