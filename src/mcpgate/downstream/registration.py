"""
The registry on the admin listener: who is there, who joins, who leaves.

A route here only translates between HTTP and the registry. Who may ask at all was decided before (the route's scope);
which servers a token may register is asked here, since only the path or the body tells. Nothing a client sends is
repeated in a fault. A client that leaves gives up its wait for news, but nothing that it has asked to be done.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest

from mcpgate.downstream.local import LocalRequest
from mcpgate.downstream.problems import carried_through, refusing
from mcpgate.downstream.site import reply
from mcpgate.errors import EncodedBody, Unauthenticated, WrongMediaType
from mcpgate.policy.authn import Grant
from mcpgate.refusals import NotRegistered, RegistrationForbidden, RegistrationRefused
from mcpgate.registry.ports import Json, Receipt, RegistryPort
from mcpgate.registry.reading import read_object
from mcpgate.registry.registration import Registration, read_registration, read_simple
from mcpgate.registry.roster import Conditions
from mcpgate.registry.views import simple_id
from mcpgate.values import grammar

Faults = list[tuple[str, str]]
_Value = TypeVar("_Value")

_READING = ("GET", "HEAD")
_REPLICA = "/v1/servers/<server>/replicas/<replica>"

#: Consul waits ten minutes at most; proxies on the way give up sooner than that.
MAX_WAIT_S: Final = 300.0
_USUAL_WAIT_S = 30.0
#: Not every figure that is shown moves the index: how long a lease has still to go, for instance.
MAX_AGE_S: Final = 0.5
#: As long as drain.timeout may sensibly be; who wants longer leaves the replica in.
MAX_DRAIN_S: Final = 3600.0
MAX_NOTE_CHARS: Final = 512

#: What a beat may say of the replica; the short words are those of Consul's checks.
_HEALTH: Final = {
    "passing": "passing",
    "warning": "warning",
    "critical": "critical",
    "pass": "passing",
    "warn": "warning",
    "fail": "critical",
}
_VERSION = re.compile(r"v[0-9]+")  # in paths such as /mcp/v2/NAME
_ETAG = r'(?:W/)?"[!#-~]*"'  # RFC 9110 section 8.8.3, without obs-text
_ETAGS = re.compile(rf"\*|{_ETAG}(?:[ \t]*,[ \t]*{_ETAG})*")
_SEND_JSON = "send the body as Content-Type: application/json, or without the field; with curl: --json"
_SEND_PLAIN = "send the body without Content-Encoding"
_NO_SERVER = "there is no server of this name; GET /v1/servers lists what there is"


def add_registration(app: Klein, registry: RegistryPort) -> None:
    """
    Add the addresses of the registry to the tree of the admin listener.

    Klein knows routes by the names of their functions, so those are unlike any other there.
    """
    _add_simple(app, registry)
    _add_writes(app, registry)
    _add_beats(app, registry)
    _add_views(app, registry)


# --- the simple form ------------------------------------------------------------------------------------------------


def _add_simple(app: Klein, registry: RegistryPort) -> None:
    @app.route("/register", methods=["POST"])
    @refusing
    def register_simply(request: LocalRequest) -> Deferred[bytes]:
        simple = read_simple(_body(request))
        _check_right(request, simple.server, simple.registration)
        work = registry.register(simple.server, simple.replica, simple.registration, Conditions())

        def tell(receipt: Receipt) -> bytes:
            own = {"id": simple_id(simple.server, simple.replica), "registeredAt": receipt.entry["registeredAt"]}
            told = {**simple.answered, **own}
            _set_created(request, simple.server, simple.replica)
            return _tell(request, registry, told)

        return carried_through(work).addCallback(tell)

    @app.route("/mcps", methods=_READING)
    @refusing
    def mcps(request: LocalRequest) -> bytes:
        return _tell(request, registry, registry.simple())

    @app.route("/mcps/<replica>", methods=["DELETE"])
    @refusing
    def deregister_by_id(request: LocalRequest, replica: str) -> Deferred[bytes]:
        drain_s = _drain(_query(request, "drain"))
        found = registry.find_id(replica)
        if found is None:
            raise NotRegistered("no such registration; GET /mcps lists what there is")
        _check_right(request, found[0])
        work = carried_through(registry.deregister(*found, drain_s, Conditions()))
        return work.addCallback(lambda _: _tell(request, registry, {"success": True}))

    @app.route("/refresh", methods=["POST"])
    @refusing
    def refresh(request: LocalRequest) -> Deferred[bytes]:
        # 200 also if a list could not be read: what could be was, and `success` and `sources` say the rest.
        return carried_through(registry.refresh()).addCallback(lambda told: _tell(request, registry, told))


# --- the full form --------------------------------------------------------------------------------------------------


def _add_writes(app: Klein, registry: RegistryPort) -> None:
    @app.route(_REPLICA, methods=["PUT"])
    @refusing
    def register(request: LocalRequest, server: str, replica: str) -> Deferred[bytes]:
        _check_names(request, server, replica)
        _check_right(request, server)
        conditions = _conditions(request)
        registration = read_registration(_body(request))
        _check_right(request, server, registration)
        work = registry.register(server, replica, registration, conditions)

        def tell(receipt: Receipt) -> bytes:
            if receipt.created:
                _set_created(request, server, replica)
            return _tell_entry(request, registry, receipt)

        return carried_through(work).addCallback(tell)

    @app.route(_REPLICA, methods=["DELETE"])
    @refusing
    def deregister(request: LocalRequest, server: str, replica: str) -> Deferred[bytes]:
        _check_names(request, server, replica)
        _check_right(request, server)
        drain_s = _drain(_query(request, "drain"))
        work = carried_through(registry.deregister(server, replica, drain_s, _conditions(request)))
        return work.addCallback(lambda told: _tell(request, registry, told))

    @app.route(_REPLICA, methods=_READING)
    @refusing
    def entry(request: LocalRequest, server: str, replica: str) -> bytes:
        _check_names(request, server, replica)
        receipt = registry.entry(server, replica)
        if receipt is None:
            raise NotRegistered
        return _tell_entry(request, registry, receipt)


def _add_beats(app: Klein, registry: RegistryPort) -> None:
    @app.route(f"{_REPLICA}/heartbeat", methods=["PUT", "POST"])
    @refusing
    def beat(request: LocalRequest, server: str, replica: str) -> bytes:
        _check_names(request, server, replica)
        _check_right(request, server)
        health, note = _read_beat(_body(request))
        return _tell(request, registry, registry.beat(server, replica, health, note))


def _add_views(app: Klein, registry: RegistryPort) -> None:
    shown = _Shown(registry)

    def tell_servers(request: LocalRequest) -> bytes:
        assert request.site is not None
        return _reply(request, registry, shown.body(request.site.reactor.seconds()))

    @app.route("/v1/servers", methods=_READING)
    @refusing
    def servers(request: LocalRequest) -> Deferred[bytes] | bytes:
        index, wait_s = _since(request)
        # Another number than ours, also a greater one, was not told here: there is something new to read.
        if index != registry.index or wait_s <= 0:
            return tell_servers(request)
        return registry.await_change(index, wait_s).addCallback(lambda _: tell_servers(request))

    @app.route("/v1/servers/<server>", methods=_READING)
    @refusing
    def server(request: LocalRequest, server: str) -> bytes:
        _check_names(request, server)
        return _tell(request, registry, _server(registry, server))

    @app.route("/v1/servers/<server>/replicas", methods=_READING)
    @refusing
    def replicas(request: LocalRequest, server: str) -> bytes:
        _check_names(request, server)
        return _tell(request, registry, {"replicas": _server(registry, server)["replicas"]})

    @app.route("/v1/sources", methods=_READING)
    @refusing
    def sources(request: LocalRequest) -> bytes:
        return _tell(request, registry, {"sources": registry.sources()})


def _server(registry: RegistryPort, name: str) -> Json:
    found = registry.server(name)
    if found is None:
        raise NotRegistered(_NO_SERVER)
    return found


class _Shown:
    """The answer with all servers, as it was made last: of many who wait for the same news, one pays."""

    def __init__(self, registry: RegistryPort) -> None:
        self._registry = registry
        self._body = b""
        self._index = -1
        self._made_s = -math.inf

    def body(self, now_s: float) -> bytes:
        """Of the present index, and not older than `MAX_AGE_S`; ``now_s`` is of any clock that does not go back."""
        index = self._registry.index
        if index != self._index or now_s - self._made_s >= MAX_AGE_S:
            self._body = msgspec.json.encode({"servers": self._registry.servers()})
            self._index, self._made_s = index, now_s
        return self._body


# --- what a request says --------------------------------------------------------------------------------------------


def _check_names(request: LocalRequest, server: str, replica: str | None = None) -> None:
    """Names are part of addresses, log lines and labels; and an encoded slash has led to another route than written."""
    if b"%2f" in request.path.lower():
        raise RegistrationRefused.for_faults([("", "an encoded slash in the path, expected names of a-z 0-9 . _ -")])
    faults: Faults = []
    _take(faults, "server", grammar.server_name, server)
    if replica is not None:
        _take(faults, "replica", grammar.name, replica)
    _refuse_any(faults)


def _check_right(request: LocalRequest, server: str, registration: Registration | None = None) -> None:
    """
    The route has demanded a token with the scope; whether it is good for this server, only its grant says.

    Who may register certain names only may not sit at the address where clients look for another one, nor below it,
    where its path would keep that one from being registered.
    """
    grant = request.exchange.grant
    if not isinstance(grant, Grant):
        raise Unauthenticated
    if not grant.may_register(server):
        may = " ".join(sorted(grant.servers)) or "none"
        raise RegistrationForbidden(f"this token may not register a server of that name; those it may: {may}")
    if registration is None:
        return
    segments = registration.path_of(server).split("/")[1:]
    named = [each for each in segments[:-1] if each != "mcp" and _VERSION.fullmatch(each) is None]
    if not all(map(grant.may_register, [*named, segments[-1]])):
        raise RegistrationForbidden(
            "this token may not take that path: but for mcp and versions such as v2, each part must be a name that it "
            f"may register, and so must the last part; such as /mcp/{server} or /mcp/v2/{server}"
        )


def _body(request: LocalRequest) -> bytes:
    """The whole body, which the route has bounded."""
    assert request.content is not None
    body: bytes = request.content.read()
    coding = _field(request, b"content-encoding")
    if body and coding is not None and coding.strip().lower() != "identity":
        raise EncodedBody(_SEND_PLAIN)
    media_type = _field(request, b"content-type")
    if body and media_type is not None and media_type.partition(";")[0].strip().lower() != "application/json":
        raise WrongMediaType(_SEND_JSON)
    return body


def _field(request: LocalRequest, name: bytes) -> str | None:
    """A header field with all its lines as one (RFC 9110 section 5.3)."""
    lines = request.requestHeaders.getRawHeaders(name)
    return None if lines is None else b", ".join(lines).decode("latin-1").strip()


def _conditions(request: LocalRequest) -> Conditions:
    matching, absent = _field(request, b"if-match"), _field(request, b"if-none-match")
    faults: Faults = []
    if matching is not None and _ETAGS.fullmatch(matching) is None:
        faults.append(("If-Match", "not an ETag as it was told, in its quotes, expected one, or *"))
    if absent not in (None, "*"):
        faults.append(("If-None-Match", "not *, expected that or no such field"))
    _refuse_any(faults)
    return Conditions(matching, absent is not None)


def _query(request: LocalRequest, *known: str) -> dict[str, str]:
    """The parameters of the query; a misspelt one could change what is done."""
    faults: Faults = []
    found = {}
    for key, values in request.args.items():
        name = key.decode("utf-8", "replace")
        if name not in known:
            faults.append(("query", f"an unknown parameter, expected {' or '.join(known)}"))
        elif len(values) > 1:
            faults.append((name, "given more than once"))
        else:
            found[name] = values[0].decode("utf-8", "replace")
    _refuse_any(faults)
    return found


def _drain(query: dict[str, str]) -> float | None:
    faults: Faults = []
    drain_s = _take(faults, "drain", grammar.duration_s, query["drain"]) if "drain" in query else None
    if drain_s is not None and drain_s > MAX_DRAIN_S:
        faults.append(("drain", f"too long, expected at most {grammar.duration_text(MAX_DRAIN_S)}"))
    _refuse_any(faults)
    return drain_s


def _since(request: LocalRequest) -> tuple[int, float]:
    """From which index on news are awaited, and how long; an index that is none of ours if they are not."""
    query = _query(request, "index", "wait")
    faults: Faults = []
    index = _take(faults, "index", grammar.whole_number, query["index"]) if "index" in query else None
    wait_s = _take(faults, "wait", grammar.duration_s, query["wait"]) if "wait" in query else _USUAL_WAIT_S
    _refuse_any(faults)
    return -1 if index is None else index, min(wait_s or 0.0, MAX_WAIT_S)


def _read_beat(body: bytes) -> tuple[str, str]:
    """What a replica says of itself: its health and a note, either of them empty."""
    if not body:
        return "", ""
    told = read_object(body)
    faults: Faults = [("", "an unknown key, expected state or note")] if told.keys() - {"state", "note"} else []
    health = _take(faults, "state", _health, told.get("state"))
    note = _take(faults, "note", _note, told.get("note"))
    _refuse_any(faults)
    return health or "", note or ""


def _health(told: object) -> str:
    if told is None:
        return ""
    if not isinstance(told, str) or told not in _HEALTH:
        raise ValueError("an unknown state, expected passing, warning or critical")
    return _HEALTH[told]


def _note(told: object) -> str:
    if told is None:
        return ""
    if not isinstance(told, str) or len(told) > MAX_NOTE_CHARS or not told.isprintable():
        raise ValueError(f"not a note, expected text of at most {MAX_NOTE_CHARS} printable characters")
    return told


def _take(faults: Faults, where: str, read: Callable[[Any], _Value], told: object) -> _Value | None:
    """What a part says; one that cannot be read is noted among the faults."""
    try:
        return read(told)
    except ValueError as wrong:
        faults.append((where, str(wrong)))
        return None


def _refuse_any(faults: Faults) -> None:
    if faults:
        raise RegistrationRefused.for_faults(faults)


# --- what an answer says --------------------------------------------------------------------------------------------


def _tell(request: IRequest, registry: RegistryPort, told: Json | list[Json]) -> bytes:
    """Sets the head of an answer, and gives back its body; both are of this moment."""
    return _reply(request, registry, msgspec.json.encode(told))


def _reply(request: IRequest, registry: RegistryPort, body: bytes) -> bytes:
    request.setHeader(b"x-mcpgate-index", b"%d" % registry.index)
    return reply(request, b"application/json", body)


def _tell_entry(request: IRequest, registry: RegistryPort, receipt: Receipt) -> bytes:
    request.setHeader(b"etag", receipt.etag.encode("ascii"))
    return _tell(request, registry, receipt.entry)


def _set_created(request: IRequest, server: str, replica: str) -> None:
    request.setResponseCode(201)
    request.setHeader(b"location", f"/v1/servers/{server}/replicas/{replica}".encode("ascii"))
