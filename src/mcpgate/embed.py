"""
A gateway inside somebody else's Twisted process: no twistd plugin, no listeners of our own.

The resource goes into a ``twisted.web`` Site at its root, or wherever the whole request path arrives unchanged; what
is not a server's path is answered with 404 in the gateway's form. See ``examples/embed.py``.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from mcpgate.config import load
from mcpgate.downstream.resource import ProxyResource
from mcpgate.policy.authn import Grant
from mcpgate.recorder import AccessLog, SpanSink
from mcpgate.registry.store import MemoryStore, Store
from mcpgate.service import Gateway
from mcpgate.settings import Settings
from mcpgate.surroundings import Logs, NoLogs, Surroundings
from mcpgate.upstream.resolver import Resolver, look_up

#: Names are few and cached; a silent name server must not hold more threads than this.
_LOOKUP_THREADS = 4
#: Names that registrants have said and that wait for a thread. Who waits leaves after 3 s, in which a name server that
#: works answers for some hundreds.
_MAX_WAITING = 100
_UNBOUNDED = 1 << 30


def gateway_resource(reactor: Any, path: str, rundir: str = ".") -> ProxyResource:
    """
    The servers of a configuration file as a resource; its ``listen`` and ``admin`` are not looked at.

    :param reactor: the one that runs the site.
    :raises mcpgate.faults.ConfigFaults: every fault of the file.
    :raises mcpgate.assembly.AssemblyFault: a certificate that cannot be used.
    """

    def read() -> Settings:
        return load(path, os.environ, rundir=rundir)

    gateway = Gateway(read(), lend(reactor, read, rundir))
    reactor.callWhenRunning(gateway.start)
    return gateway.resource()


def lend(
    reactor: Any,
    read: Callable[[], Settings],
    rundir: str,
    *,
    session_secret: Callable[[], str] | None = None,
    access_log: AccessLog | None = None,
    logs: Logs | None = None,
    spans: SpanSink | None = None,
    admin_tokens: tuple[tuple[str, Grant], ...] = (),
    max_connections: int = _UNBOUNDED,
    open_store: Callable[[str], Store] | None = None,
) -> Surroundings:
    """
    What a real process lends to a gateway: its clocks, randomness, and a few threads for names.

    :param read: reads the configuration anew, for a reload.
    :param open_store: by default what registers is forgotten at the end.
    """
    return Surroundings(
        reactor,
        _resolver(reactor, "mcpgate-names", _UNBOUNDED),
        time.monotonic,
        fresh_ids(),
        access_log,
        rundir,
        admin_tokens,
        max_connections,
        read,
        time.time,
        session_secret or _made_once(secrets.token_hex(32)),
        _resolver(reactor, "mcpgate-strangers", _MAX_WAITING),
        _resolver(reactor, "mcpgate-newcomers", _MAX_WAITING),
        open_store or (lambda setting: MemoryStore()),
        random.random,
        random.getrandbits,
        logs or NoLogs(),
        spans,
        gc.callbacks,
    )


def _resolver(reactor: Any, name: str, max_waiting: int) -> Resolver:
    """A resolver with a few threads of its own."""
    threads = ThreadPool(0, _LOOKUP_THREADS, name)
    # Nobody waits for a silent name server at the end: its threads die with the process.
    threads.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
    reactor.callWhenRunning(threads.start)

    def in_thread(host: str) -> Deferred[list[str]]:
        return deferToThreadPool(reactor, threads, look_up, host)

    return Resolver(in_thread, time.monotonic, reactor.callLater, _LOOKUP_THREADS, max_waiting)


def fresh_ids() -> Callable[[], bytes]:
    """Ids of requests that no other process uses, and that sort as they came; a random one each takes 1.7 us."""
    return _counted(secrets.token_hex(6).encode("ascii")).__next__


def _counted(begin: bytes) -> Iterator[bytes]:
    """From 1 on, in six hexadecimal digits or more. A look-up of the last two takes 0.1 us, formatting all 0.3."""
    ends = [b"%02x" % number for number in range(256)]
    yield from (begin + b"-0000" + end for end in ends[1:])
    for number in itertools.count(1):
        stem = b"%b-%04x" % (begin, number)
        for end in ends:
            yield stem + end


def _made_once(secret: str) -> Callable[[], str]:
    """A secret that lives as long as the process: sessions end with it, unless the configuration names a key."""
    return lambda: secret
