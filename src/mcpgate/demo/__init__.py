"""A small MCP server of all three eras: for a first run, for tests, and to read. ``site.py`` is the way in."""
