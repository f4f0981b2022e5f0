"""Toward clients: the fast door, the Klein door, and how errors are told."""
