"""mcpgate: one address for all of an organisation's MCP servers. Only the version lives here."""

__version__ = "0.1.0"
