"""
One gateway as a process: files, sockets, signals, the first lines on the terminal.

The only module that takes the global reactor, the real clocks and real randomness; everything else is handed them.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import resource
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from mcpgate import __version__
from mcpgate.assembly import AssemblyFault
from mcpgate.clients import CLIENTS, Offer
from mcpgate.config import load
from mcpgate.demo.site import demo_site
from mcpgate.embed import lend
from mcpgate.faults import ConfigFaults
from mcpgate.logs import Lent, ProcessLogs, event_path
from mcpgate.policy.authn import Grant
from mcpgate.registry.store import MemoryStore, SqliteStore, Store
from mcpgate.service import Gateway
from mcpgate.settings import ServerSettings, Settings, TransportName
from mcpgate.values.addresses import listen_address

if TYPE_CHECKING:
    from mcpgate.otel import Spans

#: What the kernel may queue while we do not accept: bursts of clients, and our own stops at the bound.
_BACKLOG = 1024
#: What is shorter was written by nobody, or not to its end.
_MIN_SECRET_BYTES = 32
_EVERY_SERVER = frozenset({"*"})
_ADMIN_SCOPES = frozenset({"read", "register", "write"})


def serve(path: str, rundir: str, twistd: Mapping[str, Any] | None = None) -> IService:
    """
    Load, build and bind; the service does the rest.

    :param twistd: the options of twistd itself, which say where events are logged.
    :raises SystemExit: with every fault, one a line.
    """
    try:
        settings = load(path, os.environ, rundir=rundir)
    except ConfigFaults as bad:
        raise SystemExit(str(bad))
    return GatewayService(settings, lambda: load(path, os.environ, rundir=rundir), rundir, event_path(twistd))


class GatewayService(Service):
    """The twistd service. Listeners are bound when it is made, so that a taken port is one clear line."""

    log = Logger()

    def __init__(
        self, settings: Settings, reload: Callable[[], Settings], rundir: str, event_target: str | None
    ) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._settings = settings
        self._logs = ProcessLogs(
            settings.logging, rundir, event_target, Lent(reactor, time.time, time.monotonic, random.random)
        )
        self._spans = _spans(settings, lambda text: self.log.warn("{text}", text=text))
        self._admin_token_path = ""
        self._ports: list[IListeningPort] = []
        lent = lend(
            self._reactor,
            reload,
            rundir,
            access_log=self._logs.access,
            logs=self._logs,
            spans=self._spans,
            admin_tokens=self._admin_grants(settings, rundir),
            session_secret=lambda: _session_secret(rundir),
            # 90 % of the descriptors: a client needs a second one toward its server.
            max_connections=settings.http.max_connections or _descriptors() * 9 // 20,
            open_store=lambda setting: _store(setting, rundir, self._reactor.callFromThread),
        )
        try:
            self.gateway = Gateway(settings, lent)
        except AssemblyFault as fault:
            raise SystemExit(f"mcpgate: {fault}")
        self._bind(settings)

    # --- made before the reactor runs ---------------------------------------------------------------------------

    def _admin_grants(self, settings: Settings, rundir: str) -> tuple[tuple[str, Grant], ...]:
        """Without tokens in the configuration one is made at the first start, for this machine's administrator."""
        if settings.admin.tokens:
            return ()
        path = os.path.join(rundir, "var", "admin.token")
        try:
            token = _read_or_make_secret(path)
        except OSError as error:
            raise SystemExit(f"mcpgate: admin.tokens: none is configured, and {path} cannot be made: {error.strerror}")
        self._admin_token_path = path
        return ((sha256(token).hexdigest(), Grant("local", _ADMIN_SCOPES, _EVERY_SERVER)),)

    def _bind(self, settings: Settings) -> None:
        gateway = self.gateway
        data = [self._listen("listen", text, gateway.door) for text in settings.listen]
        self._ports += data
        gateway.census.ports = data
        self._ports += [self._listen("admin.listen", text, gateway.admin_door) for text in settings.admin.listen]
        if settings.demo is not None:
            site = demo_site(self._reactor, lambda: secrets.token_hex(16))
            self._ports.append(self._listen("demo.listen", settings.demo.listen, site))
        gateway.bound = True

    def _listen(self, key: str, text: str, factory: IProtocolFactory) -> IListeningPort:
        if text.startswith(("tcp:", "ssl:")) and ":backlog=" not in text:
            text += f":backlog={_BACKLOG}"
        bound: list[Any] = []
        try:
            serverFromString(self._reactor, text).listen(factory).addBoth(bound.append)
        except Exception as error:  # whatever an endpoint plugin raises for its parameters
            raise SystemExit(f"mcpgate: {key}: {text}: {error}")
        if not bound or isinstance(bound[0], Failure):
            raise SystemExit(f"mcpgate: {key}: cannot listen on {text}: {_why(bound)}")
        return bound[0]  # type: ignore[no-any-return]

    # --- life ---------------------------------------------------------------------------------------------------

    def setServiceParent(self, parent: Any) -> None:
        """twistd logs through what it finds at its application, unless it was told otherwise."""
        if self._logs.events is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._logs.events)
        super().setServiceParent(parent)

    def startService(self) -> None:
        super().startService()
        self._logs.start()
        if self._spans is not None:
            self._spans.start()
        self._reactor.callWhenRunning(self._running)

    def _running(self) -> None:
        """Twisted has set its signal handlers by now; ours come on top."""
        _settle_garbage_collection()
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._leave))
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.gateway.reload))
        rotate = signal.getsignal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda number, frame: self._reopen(rotate, number, frame))
        self.gateway.start()
        for server in self.gateway.servers.values():
            for replica in server.replicas:
                if replica.environment.rules is None:  # others have somebody who asks them a few at a time
                    replica.probe()
        longest_s = max((server.timeouts.connect for server in self._settings.servers), default=0.0)
        self._announce_when_known(time.monotonic() + min(longest_s, 3.0))

    def _reopen(self, rotate: Any, number: int, frame: Any) -> None:
        if callable(rotate):
            rotate(number, frame)
        self._reactor.callFromThread(self._logs.reopen)

    def _leave(self) -> None:
        """SIGTERM: drain, then stop; a second one stops at once."""
        if self.gateway.draining:
            self._reactor.stop()
            return
        self.log.info("draining")
        self.gateway.drain().addCallback(lambda _: self._reactor.stop())

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        try:
            self.gateway.cut_all()
            self.gateway.stop()
            if self._spans is not None:
                self._spans.stop()
        except Exception:
            self.log.failure("the gateway did not stop as it should")
        self._logs.close()
        return None

    # --- the first lines ----------------------------------------------------------------------------------------

    def _announce_when_known(self, until_s: float) -> None:
        statuses = [server.status.value for server in self.gateway.servers.values()]
        if "unknown" in statuses and time.monotonic() < until_s:
            self._reactor.callLater(0.05, self._announce_when_known, until_s)
            return
        if self._logs.say("\n".join(self._first_lines())):
            self._log_started()

    def _log_started(self) -> None:
        """The same for programs that read the log."""
        settings = self._settings
        self.log.info(
            "mcpgate {version} started, config OK: {count}",
            version=__version__,
            count=_counted(len(settings.servers), "server"),
            clients=self._public_address(),
            listen=list(settings.listen),
            admin=list(settings.admin.listen),
            admin_token_file=self._admin_token_path,
            servers=self._server_lines(),
            auth=_who_may_pass(settings),
        )

    def _public_address(self) -> str:
        settings = self._settings
        return settings.public_url or listen_address(settings.listen[0]).origin or settings.listen[0]

    def _first_lines(self) -> list[str]:
        settings = self._settings
        here = self._public_address()
        servers = self.gateway.servers.values()
        lines = [
            f"mcpgate {__version__}",
            f"  clients  {here}  ({', '.join(settings.listen)})",
            f"  admin    {listen_address(settings.admin.listen[0]).origin or settings.admin.listen[0]}",
            *([f"  token    {self._admin_token_path}  (admin writes)"] if self._admin_token_path else []),
            f"  config OK: {_counted(len(servers), 'server')}",
            *(f"    {line}" for line in self._server_lines()),
            *(f"  {line}" for line in _who_may_pass(settings)),
        ]
        first = next(iter(servers), None)
        if first is not None:
            lines.append(f"  try:     {_client_line(settings, first.settings, here)}")
        return lines

    def _server_lines(self) -> list[str]:
        lines = []
        for server in self.gateway.servers.values():
            for upstream, replica in zip(server.settings.upstreams, server.replicas, strict=True):
                state = {"up": "up", "down": "DOWN (waiting for it)"}.get(replica.status.value, "waiting for it")
                lines.append(f"{server.settings.path}  ->  {upstream.url}  {state}")
        return lines


def _who_may_pass(settings: Settings) -> list[str]:
    """How many can be known, and loudly which servers ask nobody."""
    tokens, issuers = len(settings.auth.tokens), len(settings.auth.jwt)
    lines = []
    if tokens or issuers:
        lines.append(f"auth     {_counted(tokens, 'token')}, {_counted(issuers, 'issuer')}")
    open_servers = [server.name for server in settings.servers if settings.auth_of(server) == "none"]
    if not settings.auth.knows_somebody and len(open_servers) == len(settings.servers):
        lines.append("!! AUTHENTICATION IS OFF: everybody who reaches this address may use every server !!")
    elif open_servers:
        lines.append(f"!! WITHOUT AUTHENTICATION: everybody may use {', '.join(open_servers)} !!")
    return lines


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _client_line(settings: Settings, server: ServerSettings, here: str) -> str:
    """A line to paste into a terminal."""
    transport: TransportName = "streamable-http" if "streamable-http" in server.endpoints else "sse"
    url = f"{here}{server.path}{server.endpoints[transport]}"
    return CLIENTS["claude-code"](Offer(server.name, url, transport, settings.asks_for_token(server))).text


def _spans(settings: Settings, warn: Callable[[str], object]) -> Spans | None:
    """Who exports spans, if a collector is configured; only then the extra is needed."""
    if settings.tracing.otlp_endpoint is None:
        return None
    try:
        from mcpgate.otel import Spans
    except ImportError as absent:
        raise SystemExit(f"mcpgate: {absent}")
    return Spans(settings.tracing, __version__, warn)


def _session_secret(rundir: str) -> str:
    """What session ids are sealed with, if the configuration names nothing: made once, so that a restart keeps them."""
    path = os.path.join(rundir, "var", "session.key")
    try:
        return _read_or_make_secret(path).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise AssemblyFault(f"sessions.keys: none is configured, and {path} cannot be made or read: {error}")


def _store(setting: str, rundir: str, call_from_thread: Callable[..., object]) -> Store:
    """Where registrations are kept."""
    if setting == "none":
        return MemoryStore()
    return SqliteStore(os.path.join(rundir, setting.removeprefix("sqlite:")), call_from_thread)


def _read_or_make_secret(path: str) -> bytes:
    """
    The secret in a file; a new one, readable by its owner alone, if there is no such file.

    It appears there whole or not at all, and once, whoever else starts at the same moment.

    :raises OSError: it cannot be made or read, or is too short to be one.
    """
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fresh = f"{path}.{os.getpid()}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_urlsafe(32).encode("ascii") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            os.unlink(fresh)
    with open(path, "rb") as file:
        secret = file.read().strip()
    if len(secret) < _MIN_SECRET_BYTES:
        raise OSError(errno.EINVAL, "shorter than 32 characters; remove it, and a new one is made")
    return secret


def _settle_garbage_collection() -> None:
    """
    What was built at the start lives as long as the process: with it out of sight, and with higher thresholds, a
    collection among 10,000 open streams does not stop the reactor for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _descriptors() -> int:
    """How many descriptors the process may have; the soft limit is raised to the hard one, as servers do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 20


def _why(bound: list[Any]) -> str:
    if not bound:
        return "the endpoint does not bind at once"
    error = bound[0].value
    if isinstance(error, CannotListenError):
        return f"{error.socketError.strerror or error.socketError}; is something else running there?"
    return str(error)
