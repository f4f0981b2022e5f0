"""The kinds of values that a configuration holds: how each is written, checked and explained. Pure."""
