"""Tells twistd that ``mcpgate`` exists. Imported by every twistd run of this machine, so it imports nothing else."""

from twisted.application.service import ServiceMaker

mcpgate = ServiceMaker("mcpgate", "mcpgate.tap", "One address for many MCP servers.", "mcpgate")
