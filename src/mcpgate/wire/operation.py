"""
What a request says that it asks for, and how its answer says that it went: for records, never for decisions.

Whoever decides reads a body in the strict way (`mcpgate.wire.calls`); here a body that could be read in two ways is
read in one of them, and one that cannot be read tells nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mcpgate.wire.jsonrpc import RequestId

TOOLS_CALL: Final = "tools/call"
#: The one request whose answer is a stream of events until somebody ends it (MCP 2026-07-28, "Subscriptions").
LISTEN: Final = "subscriptions/listen"
#: JSON-RPC asks for an integer; clients read 32 bits.
_GREATEST_CODE = 1 << 31
_STRANGE_CODE = 1
#: The end of a key that answers have which did not go well.
_FAILING = b'rror"'
#: Looking into larger ones would cost more than the record is worth: msgspec skips 1 KiB in 0.4 us.
_READ_BYTES = 16 * 1024


class Operation(msgspec.Struct, frozen=True, gc=False):
    """
    One MCP message. (A named tuple would take 0.2 us longer to make.)

    :ivar name: of a tool or a prompt; empty for others: the address of a resource may hold secrets.
    """

    method: str
    name: str = ""
    request: RequestId = None


class Result(msgspec.Struct, frozen=True, gc=False):
    """
    How an answer says that it went.

    :ivar rpc_code: the code of a JSON-RPC error, 0 if there is none.
    :ivar is_tool_error: the tool ran, and failed (MCP tools, "Error Handling").
    """

    rpc_code: int
    is_tool_error: bool


class _Params(msgspec.Struct, gc=False):
    name: str = ""


class _Message(msgspec.Struct, gc=False):
    method: str
    params: _Params | msgspec.UnsetType = msgspec.UNSET
    id: RequestId = None


class _Plain(msgspec.Struct, gc=False):
    method: str
    id: RequestId = None


class _Error(msgspec.Struct, gc=False):
    code: int = 0


class _Outcome(msgspec.Struct, gc=False):
    is_error: bool = msgspec.field(name="isError", default=False)


class _Answer(msgspec.Struct, gc=False):
    error: _Error | None = None
    result: _Outcome | None = None


_read = msgspec.json.Decoder(_Message).decode
_read_plain = msgspec.json.Decoder(_Plain).decode
_read_answer = msgspec.json.Decoder(_Answer).decode
WENT_WELL: Final = Result(0, False)
"""Of nearly every answer: one object for all of them."""


def operation_of(body: bytes) -> Operation | None:
    """
    The message in a body; ``None`` for batches, responses and whatever is not read. Takes 0.9 us for a call.

    :param body: all of it.
    """
    if len(body) > _READ_BYTES:
        return None
    try:
        message = _read(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _without_name(body)
    params = message.params
    return Operation(message.method, "" if params is msgspec.UNSET else params.name, message.id)


def _without_name(body: bytes) -> Operation | None:
    """Its parameters are of another form than those that name something."""
    try:
        message = _read_plain(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return Operation(message.method, "", message.id)


def result_of_event(data: bytes) -> Result | None:
    """The same of the first event in the data, if it is a response in one whole line."""
    start = data.find(b"data:")
    if start < 0 or len(data) > _READ_BYTES:
        return None
    line, end, _ = data[start + 5 :].partition(b"\n")
    return result_of(line.strip()) if end else None


def result_of(body: bytes) -> Result | None:
    """
    How a whole answer went; ``None`` if it is no answer, or only a part of one. Takes 0.4 us where it went well.

    :param body: a JSON-RPC response, without content coding.
    """
    # A key that ends so is needed; many a server says "isError":false in each answer, and decoding takes 1.3 us.
    at = body.find(_FAILING)
    if at >= 0 and body[at + 5 : at + 11] == b":false":
        # Mostly nothing comes after it, and need not be searched (0.15 us).
        at = -1 if at + 13 == len(body) else body.find(_FAILING, at + 5)
    if at < 0 and body[-2:] == b"}}" and body.find(b'"result"') >= 0:
        return WENT_WELL
    if len(body) > _READ_BYTES:
        return None
    try:
        answer = _read_answer(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    if answer.error is not None:
        return Result(answer.error.code if abs(answer.error.code) < _GREATEST_CODE else _STRANGE_CODE, False)
    if answer.result is None:
        return None
    return Result(0, True) if answer.result.is_error else WENT_WELL
