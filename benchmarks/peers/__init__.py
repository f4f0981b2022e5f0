"""The subjects, each as its users would set it up for MCP servers, and where they run: one file each."""
