"""``python -m mcpgate`` is the ``mcpgate`` command."""

from mcpgate.cli import console

if __name__ == "__main__":
    console()
