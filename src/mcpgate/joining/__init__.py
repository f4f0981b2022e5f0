"""What an MCP server needs to join a gateway, and nothing else: the standard library, asyncio or Twisted."""

from mcpgate.joining.client import JoinRefused
from mcpgate.joining.member import register

__all__ = ["JoinRefused", "register"]
