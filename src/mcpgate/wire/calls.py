"""
What a request body asks for: the method of a JSON-RPC message, and the tool, prompt, resource or task that it names.

Rights are decided on what is read here, and the body then travels on as it came. So nothing counts but what every
reader at an upstream reads alike; a body that two of them could take for different messages is refused. Such readers:
Python's ``json`` (the last of two keys counts, lone surrogates stay, UTF-16 is understood), V8's (``__proto__``, U+FFFD
for broken UTF-8), Go's ``encoding/json`` (keys in any case), pydantic (``task_id`` for ``taskId``), C's (a NUL ends a
string), Ruby's (comments), those that stop behind the first value, and those that read a string once more.

Does not live here: what may be called (``policy/authz.py``), and what the head says about the body. The caller refuses
content codings, and charsets with :func:`is_utf8`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from itertools import accumulate
from typing import Any, Final

import msgspec

from mcpgate.errors import AmbiguousBody
from mcpgate.wire.jsonrpc import RequestId

__all__ = ["RESPONSE", "UNREAD", "Asked", "Call", "glance", "is_utf8", "may_be_batch", "mismatch", "read_calls"]

MAX_NESTING = 64  # real messages have about 10 levels; CPython's reader gives up at 1000 less its stack
MAX_BATCH = 100  # of 2025-03-26; clients send a handful
#: Objects and arrays in one body: so many take 3 to 15 ms, and nobody else is served meanwhile.
MAX_CONTAINERS = 16384


class Call(msgspec.Struct, frozen=True, gc=False):
    """
    One message of a body.

    :ivar method: its method; in :data:`UNREAD` and :data:`RESPONSE` a word that stands for it.
    :ivar name: the tool, prompt, resource (its URI) or task (its id) that is asked for; empty if there is none.
    """

    method: str
    name: str = ""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """
    All that a body asks for. (Two named tuples would take 0.5 us longer to make.)

    :ivar calls: at least one, in the order of the body.
    :ivar id: of a single message; ``None`` for batches, notifications, and where there is no message.
    """

    calls: tuple[Call, ...]
    id: RequestId = None
    is_batch: bool = False


UNREAD: Final = Call("?")
"""A body in which nobody finds a message: empty, a form, a text."""
RESPONSE: Final = Call("response")
"""A client's answer to a request of the server."""

_TOOLS_CALL = "tools/call"
#: Which parameter names what a method is about: what ``Mcp-Name`` mirrors (MCP 2026-07-28, "Request Metadata"; tasks:
#: SEP-2663), and the same of the older methods.
_NAMED_BY = {
    _TOOLS_CALL: "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "resources/subscribe": "uri",
    "resources/unsubscribe": "uri",
    "tasks/get": "taskId",
    "tasks/result": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}

_MESSAGE_KEYS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMS_KEYS = frozenset(
    {"name", "uri", "taskId", "_meta", "meta", "arguments", "task", "inputResponses", "requestState"}
)
#: What other keys must not look like: those that are read, and ``__proto__``, behind which JavaScript may find what is
#: missing.
_TAKEN_IN_MESSAGE = _MESSAGE_KEYS | {"proto"}
_TAKEN_IN_PARAMS = frozenset({"name", "uri", "taskid", "meta", "proto"})
_is_usual_message = _MESSAGE_KEYS.issuperset  # half the time of `keys() <= ...`
_are_usual_params = _PARAMS_KEYS.issuperset
_NO_LETTERS = re.compile(r"[\W_]+")

#: RFC 8259 section 2; and what UTF-16 and byte order marks put in front of the first letter.
_BEFORE_JSON = b" \t\r\n" + b"\0\xef\xbb\xbf\xfe\xff"
_NOTHING: Final = msgspec.Raw(b"")
#: Counting words takes longer with every byte; real calls have some hundred.
_GLANCE_BYTES = 2048
_BACKSLASH, _BRACKET = b"\\["
_LEVEL_BYTES = len(b'"":{}')  # the least that one more level of objects takes
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # a level down, a level up
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_WRAPPED = re.compile(r"=\?base64\?(.*)\?=")
_CHARSET_UTF8 = re.compile(rb';[ \t]*charset[ \t]*=[ \t]*(?:utf-?8|"utf-?8")[ \t]*(?:;|\Z)', re.IGNORECASE)


def _check_members(members: list[tuple[str, object]]) -> None:
    """Take the members of one object, as the json module found them."""
    keys = dict(members)
    if len(keys) < len(members):
        raise AmbiguousBody("an object in the body has a key twice")
    if "\0" in "".join(keys):
        raise AmbiguousBody("a key in the body holds a NUL")


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_check_objects = json.JSONDecoder(object_pairs_hook=_check_members).decode


def read_calls(body: bytes, max_nesting: int = MAX_NESTING) -> Asked:
    """
    Read what a body asks for, if every reader would read the same.

    :param body: all of it, without content coding; its size is for the caller to bound.
    :returns: :data:`UNREAD` alone if nobody could find a message in it.
    :raises AmbiguousBody: if some reader could find a message that others do not. The text says what is wrong and
        repeats nothing of the body.
    """
    if len(body) > MAX_CONTAINERS and body.count(b"{") + body.count(b"[") > MAX_CONTAINERS:
        raise AmbiguousBody(f"the body has more than {MAX_CONTAINERS} objects and arrays")
    try:
        message = _decode(body)
        # What an encoder writes has no key twice, so a body that comes out as it went in has none either. In all, a
        # call of 150 bytes takes 2.7 us (0.5 of it for that), 64 KiB 0.1 ms as one string and 1.7 ms as 1150 rows;
        # where the json module must look at every key, as in bodies with blanks, 8.5 us, and 4.4 ms for the rows.
        if _encode(message) != body or (_BACKSLASH in body and body.find(b"\\u0000") >= 0):
            _check_objects(body.decode())
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return _unread(body, "the body is no JSON that every reader would read alike")
    kind = type(message)
    if kind is not dict and kind is not list:
        return _unread(body, "the body is no JSON-RPC message")
    # Short bodies without arrays cannot be deep, and counting takes 0.3 us.
    if (_BRACKET in body or len(body) > _LEVEL_BYTES * max_nesting) and _is_deep(body, max_nesting):
        raise AmbiguousBody(f"the body is nested deeper than {max_nesting} levels")
    if kind is dict:
        return Asked((_call(message),), _id_of(message))
    return Asked(_batch(message), None, True)


class _CallParams(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    name: str
    arguments: msgspec.Raw = _NOTHING
    meta: msgspec.Raw = msgspec.field(default=_NOTHING, name="_meta")


class _ToolCall(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    method: str
    params: _CallParams
    jsonrpc: msgspec.Raw = _NOTHING
    id: str | int | float | None = None


_glimpse = msgspec.json.Decoder(_ToolCall).decode


def glance(body: bytes) -> Asked | None:
    """
    A single tool call, read the short way: for what counts calls, not for what decides a right.

    Where nothing is escaped, and each of the words stands there once, no reader can find another method or name,
    whatever else he finds. Takes 0.9 us against 2.7 for `read_calls`, and says the same wherever that reads at all;
    where it does not (an id or an argument twice), the method and the name are still what every reader finds.

    :returns: ``None`` if it is anything else, or could be: then `read_calls` must say what it is.
    """
    if len(body) > _GLANCE_BYTES or _BACKSLASH in body or not body.isascii():
        return None
    try:
        seen = _glimpse(body)
    except (msgspec.MsgspecError, RecursionError):
        return None
    name = seen.params.name
    if seen.method != _TOOLS_CALL or not name or name[0] == " " or name[-1] == " ":
        return None
    # What is written anew has nothing twice and no blanks, and whatever else stands in these two objects is no call
    # to us. So a body of that length has nothing twice either: 0.2 us, and counting words takes 0.5. (A number with a
    # fraction could become longer.)
    is_bare = type(seen.id) is not float and len(_encode(seen)) == len(body)
    if not is_bare and not _has_each_word_once(body):
        return None
    return Asked((Call(_TOOLS_CALL, name),), seen.id)


def _has_each_word_once(body: bytes) -> bool:
    """In any case, anywhere."""
    letters = body.lower()
    return letters.count(b'"method"') == 1 and letters.count(b'"params"') == 1 and letters.count(b'"name"') == 1


def mismatch(asked: Asked, method: bytes | None, name: bytes | None) -> str:
    """
    Say how ``Mcp-Method`` and ``Mcp-Name`` differ from the body (MCP 2026-07-28, "Server Validation").

    :param method: the value of the field; ``None`` if there is none, which is no difference.
    :param name: likewise; it counts where the body's method names something.
    :returns: a sentence without any of the values; empty if they agree.
    """
    if method is None and name is None:
        return ""
    if asked.is_batch:
        return "Mcp-Method and Mcp-Name belong to a single message, and the body is a batch"
    call = asked.calls[0]
    if method is not None and _unwrapped(method) != call.method:
        return "Mcp-Method is not the method in the body"
    named_by = _NAMED_BY.get(call.method)
    if name is not None and named_by and _unwrapped(name) != call.name:
        return f"Mcp-Name is not params.{named_by} in the body"
    return ""


def may_be_batch(body: bytes) -> bool:
    """Say whether somebody could find more than one message in a body, behind a comment or in a string, too."""
    return body.lstrip(_BEFORE_JSON).startswith((b"[", b'"', b"/", b"#"))


def is_utf8(content_type: bytes) -> bool:
    """
    Say whether nobody has a reason to read a body as anything but UTF-8 (RFC 8259 section 8.1).

    Express and the TypeScript SDK obey ``charset=utf-7``, in which ``+AGQ-`` is the letter d.

    :param content_type: value of the field; empty if there is none.
    """
    told = content_type.lower().count(b"charset")
    return told == 0 or (told == 1 and _CHARSET_UTF8.search(content_type) is not None)


def _unread(body: bytes, fault: str) -> Asked:
    """
    Let a body pass that is no message to us, if it is none to anybody.

    Without a brace there is no object in any encoding that readers find out by themselves (UTF-8, 16 and 32). A string
    could be read once more, and its brace be written as an escape.
    """
    if body.find(b"{") >= 0 or body.lstrip(_BEFORE_JSON).startswith((b"[", b'"')):
        raise AmbiguousBody(fault)
    return Asked((UNREAD,))


def _batch(messages: list[Any]) -> tuple[Call, ...]:
    if not 1 <= len(messages) <= MAX_BATCH:
        raise AmbiguousBody(f"a batch has 1 to {MAX_BATCH} messages")
    if not all(type(message) is dict for message in messages):
        raise AmbiguousBody("a member of the batch is no JSON-RPC message")
    return tuple(map(_call, messages))


def _call(message: dict[str, Any]) -> Call:
    if not _is_usual_message(message):
        _check_keys(message, _MESSAGE_KEYS, _TAKEN_IN_MESSAGE)
    method = message.get("method")
    if type(method) is not str:
        return _answer(message)
    named_by = _NAMED_BY.get(method)
    if named_by is None:
        return _nameless(method)
    params = message.get("params")
    if type(params) is not dict:
        params = {}
    elif not _are_usual_params(params):
        _check_keys(params, _PARAMS_KEYS, _TAKEN_IN_PARAMS)
    name = params.get(named_by)
    if type(name) is not str:
        name = ""
    if method == _TOOLS_CALL and (not name.isprintable() or name.strip(" ") != name or not name):
        raise AmbiguousBody("tools/call needs params.name, without blanks around it or control characters")
    return Call(method, name)


def _answer(message: dict[str, Any]) -> Call:
    """A message without a method, which must be a response then."""
    if "method" in message or not ("result" in message or "error" in message):
        raise AmbiguousBody("a message has neither a method nor a result")
    return RESPONSE


def _nameless(method: str) -> Call:
    """
    A method that names nothing.

    Servers make names of functions out of methods; then ``tools_call`` is the same to them as ``tools/call``.
    """
    if not method.isprintable() or _NO_LETTERS.sub("", method).casefold() == "toolscall":
        raise AmbiguousBody("a method may be taken for another one")
    return Call(method)


def _id_of(message: dict[str, Any]) -> RequestId:
    id_ = message.get("id")
    return id_ if type(id_) in (int, str, float) else None


def _check_keys(members: dict[str, Any], usual: frozenset[str], taken: frozenset[str]) -> None:
    """Refuse keys that a reader without regard to case, separators or all of Unicode takes for others."""
    for key in members:
        if key not in usual and (not key.isascii() or _NO_LETTERS.sub("", key).lower() in taken):
            raise AmbiguousBody("a key of the message or of its params may be taken for another one")


def _is_deep(body: bytes, max_nesting: int) -> bool:
    """Say whether JSON, which has been read already, goes deeper; in many brackets this takes as long as reading."""
    if body.count(b"{") + body.count(b"[") <= max_nesting:
        return False
    outside_strings = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    steps = memoryview(outside_strings.translate(_STEPS, _NO_BRACKETS)).cast("b")
    return max(accumulate(steps)) > max_nesting


def _unwrapped(value: bytes) -> str | None:
    """The text of a field that may be wrapped (MCP 2026-07-28, "Value Encoding"); ``None`` if it is malformed."""
    try:
        text = value.decode("ascii")
        wrapped = _WRAPPED.fullmatch(text)
        if wrapped is None:
            return text
        decoded = base64.b64decode(wrapped[1])
        # Other letters, which are left out, and trailing bits would be second ways to write the same.
        return decoded.decode() if base64.b64encode(decoded).decode() == wrapped[1] else None
    except (UnicodeDecodeError, binascii.Error):
        return None
