"""
One replica's line to the registry of a gateway: register, beat, deregister.

Its calls block; whoever has a loop makes them in a thread, as `mcpgate.joining.member` does. Nothing but the standard
library is used, so that a server which joins needs nothing else.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import quote, urlsplit

TOKEN_VARIABLE: Final = "MCPGATE_TOKEN"
#: An entry with all that it may hold is a few KiB; nobody's answer fills the memory.
_MAX_ANSWER_BYTES: Final = 1 << 20
#: Longest that a gateway may ask to be left alone; a lease is rarely longer.
_MAX_RETRY_AFTER_S: Final = 60.0
_MAX_TOKEN_CHARS: Final = 4096
#: A name in the configuration is no longer either.
_MAX_REPLICA_CHARS: Final = 63
_PORTS: Final = {"http": 80, "https": 443}
#: Not now, rather than no: RFC 9110 section 15.5.9, RFC 6585 section 4.
_TRANSIENT: Final = frozenset({408, 429})


class JoinRefused(Exception):
    """
    The gateway does not take the registration, and will not as it stands.

    :ivar status: of HTTP.
    :ivar faults: where in the registration, and what is wrong there.
    """

    def __init__(self, status: int, text: str, faults: Sequence[tuple[str, str]] = ()) -> None:
        told = "".join(f"\n  {where}: {what}" if where else f"\n  {what}" for where, what in faults)
        super().__init__(f"the gateway refuses the registration ({status}): {text}{told}")
        self.status = status
        self.faults = tuple(faults)


class GatewayAway(Exception):
    """
    The gateway cannot be reached, or cannot take a registration now.

    :cvar what: stands before the text.
    """

    what: ClassVar[str] = "the gateway is away"


class TokenAway(GatewayAway):
    """There is no token at the moment to ask with."""

    what = "there is no token"


class Answer(NamedTuple):
    """What the gateway said."""

    status: int
    told: dict[str, Any]
    retry_after_s: float

    @property
    def is_good(self) -> bool:
        """Whether it did what was asked."""
        return 200 <= self.status < 300

    @property
    def is_later(self) -> bool:
        """Whether the same may go well another time."""
        return self.status >= 500 or self.status in _TRANSIENT

    def refusal(self) -> JoinRefused:
        """The error of an answer that is a no (RFC 9457, and the key ``faults``)."""
        text = str(self.told.get("detail") or self.told.get("title") or "")
        if not text:
            text = "what answers there is not the admin listener of a gateway"
        given = self.told.get("faults")
        faults = [_fault(each) for each in given] if isinstance(given, list) else []
        return JoinRefused(self.status, "see below" if faults else text, faults)


def _fault(told: object) -> tuple[str, str]:
    if isinstance(told, Mapping):
        return str(told.get("where", "")), str(told.get("problem", ""))
    return "", str(told)


class RegistryClient:
    """
    One replica's line to the registry of a gateway. Its calls block, may be made in any thread, and take turns.

    :param gateway: URL of the admin listener.
    :param key: name of the server, and id of the replica.
    :param token: asked before each request; what it raises as `OSError` becomes `TokenAway`.
    :raises ValueError: if ``gateway`` is no such URL.
    """

    def __init__(self, gateway: str, key: tuple[str, str], token: Callable[[], str], call_s: float) -> None:
        what = "the URL of its admin listener, such as http://127.0.0.1:8701"
        # With the port told, since http.client would look for one in [::1].
        scheme, self._host, self._port = address_of("gateway", gateway, what)
        parts = urlsplit(gateway)
        if parts.query or parts.fragment:
            raise ValueError(f"gateway: expected {what}")
        if "@" in parts.netloc:
            raise ValueError("gateway: credentials do not belong into the URL, give a token")
        self.gateway = gateway
        self.key = key
        self._is_secure = scheme == "https"
        name, replica = (quote(part, safe="") for part in key)
        self._path = f"{parts.path.rstrip('/')}/v1/servers/{name}/replicas/{replica}"
        self._token, self._call_s = token, call_s
        self._turn = threading.Lock()
        self._is_known = self._is_closed = False

    def token(self) -> str:
        """
        What the next request would be asked with.

        :raises TokenAway: if there is none now.
        """
        try:
            return _checked_token(self._token())
        except OSError as missed:
            raise TokenAway(str(missed)) from None

    def put(self, registration: Mapping[str, object]) -> Answer:
        """
        Register.

        :raises GatewayAway: if there is no answer, no token, or `close` was called.
        """
        with self._turn:
            if self._is_closed:
                raise GatewayAway("left meanwhile")
            self._is_known = True
            return self._ask("PUT", self._path, registration, self._call_s)

    def beat(self, told: Mapping[str, str]) -> Answer:
        """Say that the replica is alive, and how it is; see `put`."""
        with self._turn:
            return self._ask("PUT", f"{self._path}/heartbeat", told, self._call_s)

    def close(self) -> None:
        """Register no more; a request that is under way goes on."""
        self._is_closed = True

    def delete(self, within_s: float) -> None:
        """
        Deregister, behind what is under way; nothing, if nobody has registered.

        :raises GatewayAway: if that cannot be done in time.
        """
        until = time.monotonic() + within_s
        if not self._turn.acquire(timeout=within_s):
            raise GatewayAway("it does not answer")
        try:
            left_s = until - time.monotonic()
            if self._is_known and left_s > 0:
                self._ask("DELETE", self._path, None, left_s)
        finally:
            self._turn.release()

    def _ask(self, method: str, path: str, told: Mapping[str, object] | None, timeout_s: float) -> Answer:
        body = None if told is None else json.dumps(told).encode("ascii")
        fields = {"Authorization": f"Bearer {self.token()}", "Accept": "application/json"}
        try:
            connection = self._connection(timeout_s)
            with contextlib.closing(connection):
                connection.request(method, path, body, fields | ({"Content-Type": "application/json"} if body else {}))
                response = connection.getresponse()
                return _answer(response, response.read(_MAX_ANSWER_BYTES))
        except (OSError, http.client.HTTPException) as missed:
            raise GatewayAway(str(missed) or type(missed).__name__) from None

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if not self._is_secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)


def _checked_token(token: str) -> str:
    if not re.fullmatch(r"[!-~]+", token):
        raise OSError("the token is empty, or holds what no token can")
    return token


def _answer(response: http.client.HTTPResponse, body: bytes) -> Answer:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = {}
    after = response.getheader("Retry-After") or ""
    # It may be a date, too; then our own back-off serves.
    after_s = min(float(after), _MAX_RETRY_AFTER_S) if re.fullmatch(r"[0-9]{1,9}", after) else 0.0
    return Answer(response.status, told if isinstance(told, dict) else {}, after_s)


def token_source(
    token: str | None, file: str | os.PathLike[str] | None, environ: Mapping[str, str]
) -> Callable[[], str]:
    """
    Where the token comes from: given, a file, or the environment.

    :raises ValueError: if there is none.
    """
    given = token or (None if file else environ.get(TOKEN_VARIABLE))
    if given:
        return lambda: given
    if not file:
        raise ValueError(f"no token: give one, or token_file, or set {TOKEN_VARIABLE}")

    def read() -> str:
        try:
            with open(file, encoding="ascii", errors="replace") as lines:
                return _checked_token(lines.read(_MAX_TOKEN_CHARS).strip())
        except OSError as failed:
            raise OSError(f"{os.fspath(file)}: {failed.strerror or failed}") from None

    return read


def address_of(where: str, url: str, expected: str) -> tuple[str, str, int]:
    """
    Scheme, host and port of a URL.

    :raises ValueError: if it has no such parts; the text is for people, and begins with ``where`` it was given.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # one bracket of an IPv6 address without the other
        parts = urlsplit("")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{where}: expected {expected}")
    try:
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(f"{where}: an impossible port, expected 1 to 65535")
    return parts.scheme, parts.hostname, port


def upstream_address(url: str) -> tuple[str, int]:
    """
    Host and port of a replica.

    :raises ValueError: see `address_of`.
    """
    return address_of("url", url, "one such as http://127.0.0.1:3010")[1:]


def replica_id(url: str) -> str:
    """
    The id of the replica at a URL, the same each time: ``127.0.0.1-3010``.

    :raises ValueError: if it has no host or no possible port.
    """
    name, port = upstream_address(url)
    host = re.sub(r"[^a-z0-9._-]+", "-", name).strip("._-")
    if not host:
        raise ValueError("url: no id follows from its host, give one for the replica")
    # The end of a long name tells less than its port.
    return f"{host[: _MAX_REPLICA_CHARS - 6].rstrip('._-')}-{port}"
