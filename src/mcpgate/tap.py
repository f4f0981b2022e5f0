"""
What twistd calls: options, and a service whose listeners are bound already.

The reactor is chosen in `Options.postOptions`, before anything imports it; so this module imports nothing at its top
that could (Klein installs one when it is imported).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from twisted.python import usage

from mcpgate.net import reactor as lean_reactor

if TYPE_CHECKING:
    from twisted.application.service import IService


class Options(usage.Options):
    """``twistd mcpgate -c FILE [-t]``."""

    synopsis = "[-c FILE] [-t]"
    longdesc = "One address for many MCP servers. SIGHUP reloads the file, SIGTERM drains, SIGUSR1 reopens logs."
    optParameters = [["config", "c", "etc/gate.yaml", "Configuration file."]]  # noqa: RUF012 - Twisted's form
    optFlags = [["check", "t", "Check the configuration, print every fault, and exit."]]  # noqa: RUF012

    def postOptions(self) -> None:
        """Check and leave if that was asked for; else choose the reactor."""
        if self["check"]:
            from mcpgate.config import check

            code, text = check(self["config"], os.environ, self.rundir)
            print(text, file=sys.stderr if code else sys.stdout)
            raise SystemExit(code)
        lean_reactor.install()

    @property
    def rundir(self) -> str:
        """Where relative paths start: twistd changes there later."""
        parent: Any = self.parent
        return str(parent["rundir"]) if parent else "."


def makeService(options: Options) -> IService:
    """
    Bind the listeners, and give the service that runs behind them.

    :raises SystemExit: with one line per fault; here that is clean with and without ``-n``, and no pid file is left.
    """
    from mcpgate.process import serve

    return serve(options["config"], options.rundir, options.parent)
