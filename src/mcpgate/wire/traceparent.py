"""
The place of a request in a distributed trace (W3C Trace Context, levels 1 and 2).

What is read strictly travels on; what is not, does not. ``tracestate`` belongs to the ``traceparent`` beside it and is
no business of ours: it travels where that travels (`Trace.continues`), and nowhere else.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Section 3.2.2: lower case only, no id of zeros, no version ff. A later version may add fields behind a dash; a comma
# would be several values in one field, of which nobody can say which one counts.
_IDS = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_is_known = re.compile(rb"00" + _IDS).fullmatch
_is_later = re.compile(rb"(?!00|ff)[0-9a-f]{2}" + _IDS + rb"(?:-[^,]*)?").fullmatch
_TRACE_ID, _PARENT_ID, _FLAGS = slice(3, 35), slice(36, 52), slice(53, 55)
_SAMPLED, _RANDOM = 1, 2
_MEANING = {b"%02x" % flags: (bool(flags & _SAMPLED), bool(flags & _RANDOM)) for flags in range(256)}


class Trace(NamedTuple):
    """
    Where one exchange stands in a trace.

    :ivar trace_id: 32 lower-case hex digits; ``parent_id`` and ``span_id`` 16.
    :ivar parent_id: the caller's span; empty if the trace begins here.
    :ivar span_id: our own span, which is the upstream's parent; empty if we have none, and pass on what came.
    :ivar is_sampled: whether the trace is recorded by whoever can.
    :ivar is_random: whether the caller says that its ids are random (level 2), which travels on.
    """

    trace_id: bytes
    parent_id: bytes
    span_id: bytes
    is_sampled: bool
    is_random: bool = False

    @property
    def is_recorded(self) -> bool:
        """Whether there is a span of ours to be exported."""
        return self.is_sampled and self.span_id != b""

    @property
    def continues(self) -> bool:
        """Whether it came from the caller; if not, a ``tracestate`` that came is of another trace."""
        return self.parent_id != b""


def parse(value: bytes) -> Trace | None:
    """
    The trace that a caller names; takes 1.2 us.

    Of a version that is not known yet the first four fields are read as those of version 00 (section 3.2.2).

    :param value: of the ``traceparent`` field, without outer blanks.
    :returns: with an empty ``span_id``; ``None`` if this is not a trace.
    """
    if _is_known(value) is not None:
        is_sampled, is_random = _MEANING[value[_FLAGS]]
        return Trace(value[_TRACE_ID], value[_PARENT_ID], b"", is_sampled, is_random)
    if _is_later(value) is not None:
        return Trace(value[_TRACE_ID], value[_PARENT_ID], b"", _MEANING[value[_FLAGS]][0])
    return None


def line(trace: Trace) -> bytes:
    """The field line that the upstream gets, in version 00 whatever came; flags that are not known are off."""
    flags = trace.is_sampled | trace.is_random << 1
    return b"traceparent: 00-%b-%b-%02x\r\n" % (trace.trace_id, trace.span_id or trace.parent_id, flags)
