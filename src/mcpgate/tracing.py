"""Which trace a request belongs to: the caller's, or one that begins here."""

from __future__ import annotations

from collections.abc import Callable

from mcpgate.settings.observability import TracingSettings
from mcpgate.wire.traceparent import Trace, parse

#: W3C Trace Context sections 3.2.2.3 and 3.2.2.4.
_TRACE_ID_BITS, _SPAN_ID_BITS = 128, 64
#: The share of traces is taken by these bits of the id, the lowest, as OpenTelemetry's TraceIdRatioBased does it:
#: whoever samples by the same rule keeps the same traces.
_SAMPLED_BY = (1 << 64) - 1


class Tracing:
    """
    Places requests in traces.

    A trace that comes along travels on as it is, and is sampled or not as its caller decided. Where spans are exported
    and it is sampled, ours stands between: its parent is the caller's, and it is the upstream's parent.

    :param random_bits: so many random bits, such as ``random.getrandbits``.
    :param exports: whether spans are recorded here.
    """

    def __init__(self, settings: TracingSettings, random_bits: Callable[[int], int], exports: bool) -> None:
        self._random_bits = random_bits
        self._exports = exports
        self._makes = settings.make or exports
        self._sampled_below = round(settings.sample * (_SAMPLED_BY + 1))

    def begin(self, traceparent: bytes | None) -> Trace | None:
        """
        The place of one request.

        Where nothing is made it takes 0.1 us without a field, 1.4 us with one.

        :param traceparent: the value of the field, if there is one; several, joined by commas, are none.
        :returns: ``None`` if there is nothing to tell the upstream: neither ``traceparent`` nor ``tracestate``.
        """
        trace = parse(traceparent) if traceparent is not None else None
        if trace is None:
            return self._root() if self._makes else None
        if self._exports and trace.is_sampled:
            return trace._replace(span_id=self._span_id())
        return trace

    def _root(self) -> Trace:
        # A sampled-out trace is named too: else each server behind would decide for itself.
        number = self._random_bits(_TRACE_ID_BITS) or 1
        return Trace(b"%032x" % number, b"", self._span_id(), (number & _SAMPLED_BY) < self._sampled_below)

    def _span_id(self) -> bytes:
        return b"%016x" % (self._random_bits(_SPAN_ID_BITS) or 1)
