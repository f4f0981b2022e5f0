"""
How a route of the gateway itself says that something cannot be done.

A route raises, or its Deferred fails with, an error of ``errors.py``; what it looks like is decided in ``replies.py``.
Everything else that is raised is our own fault: it goes to the log, and the client learns no more than that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

import msgspec
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from mcpgate.downstream.local import LocalRequest
from mcpgate.downstream.site import reply
from mcpgate.errors import GatewayError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_log = Logger()


def refusing(
    route: Callable[Concatenate[LocalRequest, _Arguments], Deferred[bytes] | bytes],
) -> Callable[Concatenate[IRequest, _Arguments], Deferred[bytes]]:
    """
    Make a route of a function that raises or fails with `GatewayError`.

    :returns: what gives back a Deferred that never fails. Cancelling it, as is done when the client leaves, cancels
        what the function gave back.
    """

    @wraps(route)
    def answer(request: IRequest, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Deferred[bytes]:
        assert isinstance(request, LocalRequest)
        told = cast("Deferred[bytes]", maybeDeferred(route, request, *args, **kwargs))
        return told.addErrback(partial(_refuse, request))

    return answer


def _refuse(request: LocalRequest, failure: Failure) -> bytes:
    if isinstance(failure.value, GatewayError):
        request.refuse(failure.value)
    elif not isinstance(failure.value, CancelledError):
        request.processingFailed(failure)
    return b""


def carried_through(work: Deferred[_Result]) -> Deferred[_Result]:
    """
    The same result, for somebody who may leave: cancelling it leaves the work alone.

    What has been begun for a client must not depend on whether it waits for the answer.
    """
    awaited: Deferred[_Result] = Deferred()
    work.addCallbacks(awaited.callback, partial(_tell_failure, awaited))
    return awaited


def _tell_failure(awaited: Deferred[_Result], failure: Failure) -> None:
    if awaited.called and not isinstance(failure.value, GatewayError):
        _log.failure("something failed that its client no longer waits for", failure)
    awaited.errback(failure)


def unprocessable(request: IRequest, faults: list[str]) -> bytes:
    """An answer with all that is wrong at once (RFC 9457): sets its head, gives back the body."""
    set_unprocessable(request)
    told = {
        "type": "about:blank",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "; ".join(faults),
        "faults": faults,
    }
    return reply(request, b"application/problem+json", msgspec.json.encode(told))


def set_unprocessable(request: IRequest) -> None:
    """Set the status 422 (RFC 9110 section 15.5.21)."""
    request.setResponseCode(422, b"Unprocessable Content")  # twisted has no phrase for it
