"""
What answers on the admin listener: health, metrics, the status page and its twins, configuration and log levels.

A route here only translates; what it tells comes in as callables from ``service.py``, and who may ask was decided
before (`mcpgate.assembly.admin_routes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest

from mcpgate.downstream.feed import Feed
from mcpgate.downstream.local import LocalRequest
from mcpgate.downstream.page import Page, status_page
from mcpgate.downstream.problems import set_unprocessable, unprocessable
from mcpgate.downstream.registration import add_registration
from mcpgate.downstream.site import Json, reply, reply_json, reply_text, tree
from mcpgate.downstream.sliced import Slices
from mcpgate.errors import Draining, Overloaded
from mcpgate.pipeline import Cancellable
from mcpgate.registry.ports import RegistryPort
from mcpgate.statustext import status_text

_READING = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Operations:
    """
    What operators may ask and do, from the service that can.

    :ivar is_ready: what readiness depends on, by name.
    :ivar scrape: the metrics in the form that an ``Accept`` asks for: its media type, and pieces that are made while
        they are taken.
    :ivar status: the JSON twin of the status page (`mcpgate.status`).
    :ivar levels: of the event log: ``level``, and ``levels`` by module.
    :ivar set_levels: takes the same form, in parts; gives back what is wrong with it, and then changes nothing.
    :ivar feed: of the status; the service closes it.
    """

    is_ready: Callable[[], Mapping[str, bool]]
    reload: Callable[[], Json]
    masked_config: Callable[[], Json]
    scrape: Callable[[bytes], tuple[bytes, Iterator[bytes]]]
    status: Callable[[], Json]
    levels: Callable[[], Json]
    set_levels: Callable[[Json], list[str]]
    registry: RegistryPort
    feed: Feed
    call_later: Callable[..., Cancellable]
    now: Callable[[], float]


def admin_tree(operations: Operations) -> Klein:
    """The addresses of the admin listener."""
    app = tree()
    _add_health(app, operations)
    _add_configuration(app, operations)
    _add_levels(app, operations)
    _add_status(app, operations, status_page())
    add_registration(app, operations.registry)
    slices = Slices(operations.call_later, operations.now)

    @app.route("/metrics", methods=_READING)
    def metrics(request: IRequest) -> Deferred[bytes]:
        assert isinstance(request, LocalRequest)
        accept = b",".join(request.requestHeaders.getRawHeaders(b"accept", []))
        media_type, pieces = operations.scrape(accept)
        return slices.collect(pieces).addCallback(partial(reply, request, media_type))

    return app


def _add_health(app: Klein, operations: Operations) -> None:
    @app.route("/livez", methods=_READING)
    def livez(request: IRequest) -> bytes:
        return reply_text(request, "ok\n")

    @app.route("/readyz", methods=_READING)
    @app.route("/healthz", methods=_READING)
    def readyz(request: IRequest) -> bytes:
        checks = operations.is_ready()
        ready = all(checks.values())
        request.setResponseCode(200 if ready else 503)
        verbose = b"?verbose" in request.uri or not ready
        lines = [f"[{'+' if passed else '-'}] {name}" for name, passed in checks.items()] if verbose else []
        return reply_text(request, "\n".join([*lines, "ok" if ready else "not ready", ""]))


def _add_configuration(app: Klein, operations: Operations) -> None:
    @app.route("/admin/reload", methods=["POST"])
    def reload(request: IRequest) -> bytes:
        result = operations.reload()
        if not result["success"]:
            set_unprocessable(request)
        return reply_json(request, result)

    @app.route("/admin/config", methods=_READING)
    def config(request: IRequest) -> bytes:
        return reply_json(request, operations.masked_config())


def _add_levels(app: Klein, operations: Operations) -> None:
    @app.route("/admin/log-levels", methods=_READING)
    def levels(request: IRequest) -> bytes:
        return reply_json(request, operations.levels())

    @app.route("/admin/log-levels", methods=["PUT"])
    def set_levels(request: IRequest) -> bytes:
        faults = _take_levels(request, operations)
        return unprocessable(request, faults) if faults else reply_json(request, operations.levels())


def _take_levels(request: IRequest, operations: Operations) -> list[str]:
    """Hand on what the body asks for; gives back what is wrong with it."""
    assert isinstance(request, LocalRequest)
    assert request.content is not None
    try:
        wanted = msgspec.json.decode(request.content.read(), type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return ['expected a JSON object such as {"level": "info", "levels": {"mcpgate.upstream": "debug"}}']
    return operations.set_levels(wanted)


def _add_status(app: Klein, operations: Operations, page: Page) -> None:
    @app.route("/", methods=_READING)
    def show(request: IRequest) -> bytes:
        request.setHeader(b"content-security-policy", page.policy)
        request.setHeader(b"x-content-type-options", b"nosniff")
        request.setHeader(b"referrer-policy", b"no-referrer")
        return reply(request, b"text/html; charset=utf-8", page.body)

    @app.route("/status", methods=_READING)
    def status(request: IRequest) -> bytes:
        return reply_json(request, operations.status())

    @app.route("/status.txt", methods=_READING)
    def text(request: IRequest) -> bytes:
        return reply_text(request, status_text(operations.status()))

    @app.route("/status/events", methods=_READING)
    def events(request: IRequest) -> Deferred[bytes] | bytes:
        return _follow(request, operations.feed)


def _follow(request: IRequest, feed: Feed) -> Deferred[bytes] | bytes:
    assert isinstance(request, LocalRequest)
    if feed.is_closed:
        request.refuse(Draining())
    elif feed.is_full:
        request.refuse(Overloaded("the status feed has as many readers as it may have; try again later"))
    else:
        request.setHeader(b"content-type", b"text/event-stream")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-accel-buffering", b"no")  # nginx would collect events, as it does bodies
        return b"" if request.method == b"HEAD" else feed.tell(request)
    return b""
