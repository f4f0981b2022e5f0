"""Toward MCP servers: connections, their pool, and name resolution."""
