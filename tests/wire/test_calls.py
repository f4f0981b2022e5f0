"""What a body asks for, read as every upstream would read it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.strategies import PURE, broken

from mcpgate.errors import AmbiguousBody
from mcpgate.wire.calls import (
    MAX_CONTAINERS,
    RESPONSE,
    UNREAD,
    Asked,
    Call,
    glance,
    is_utf8,
    may_be_batch,
    mismatch,
    read_calls,
)
from mcpgate.wire.jsonrpc import RequestId

CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":%b}}'

# --- what is read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "call", "request_id"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}', Call("tools/call", "a"), 1),
        (b'{"id":"x","method":"tools/call","params":{"arguments":{},"name":"a b"}}', Call("tools/call", "a b"), "x"),
        (b' {"method": "tools/call",\n"params": {"name": "\\u00e9"}}\n', Call("tools/call", "\u00e9"), None),
        (
            b'{"method":"tools/call","params":{"name":"a/b","_meta":{"progressToken":1}}}',
            Call("tools/call", "a/b"),
            None,
        ),
        (b'{"id":1.5,"method":"tools\\/call","params":{"name":"a","x":{"Name":1}}}', Call("tools/call", "a"), 1.5),
        (b'{"id":null,"method":"prompts/get","params":{"name":"p"}}', Call("prompts/get", "p"), None),
        (
            b'{"id":true,"method":"resources/read","params":{"uri":"file:///x"}}',
            Call("resources/read", "file:///x"),
            None,
        ),
        (b'{"id":[1],"method":"resources/subscribe","params":{"uri":"u:"}}', Call("resources/subscribe", "u:"), None),
        (b'{"id":1,"method":"tasks/cancel","params":{"taskId":"t"}}', Call("tasks/cancel", "t"), 1),
        (b'{"id":1,"method":"prompts/get","params":{"name":7}}', Call("prompts/get"), 1),
        (b'{"id":1,"method":"prompts/get","params":[1]}', Call("prompts/get"), 1),
        (b'{"id":1,"method":"prompts/get"}', Call("prompts/get"), 1),
        (b'{"id":1,"method":"prompts/get","params":{"name":"a\\u0000"}}', Call("prompts/get", "a\0"), 1),
        (b'{"id":1,"method":"tools/list","params":{"name":"a","Name":"b"}}', Call("tools/list"), 1),
        (b'{"id":1,"method":"tools/list","x-trace":{"ID":2}}', Call("tools/list"), 1),
        (b'{"id":1,"method":"ping","params":"x"}', Call("ping"), 1),
        (b'{"id":1,"method":""}', Call(""), 1),
        (b'{"method":"notifications/initialized"}', Call("notifications/initialized"), None),
        (b'{"id":18446744073709551616,"method":"ping"}', Call("ping"), 18446744073709551616),
        (b'{"id":-0,"method":"ping"}', Call("ping"), 0),
        (b'{"id":1e3,"method":"ping"}', Call("ping"), 1000.0),
        (b'{"id":1,"result":{}}', RESPONSE, 1),
        (b'{"id":1,"error":{"code":1,"message":"x"}}', RESPONSE, 1),
    ],
)
def test_what_a_message_asks_for(body: bytes, call: Call, request_id: RequestId) -> None:
    """Its method, what it names, and the id under which it is answered."""
    asked = read_calls(body)
    assert asked == Asked((call,), request_id, False)
    assert type(asked.id) is type(request_id)


def test_what_a_batch_asks_for() -> None:
    """All of it, in its order; a batch has no id."""
    body = b'[{"id":1,"method":"tools/call","params":{"name":"a"}}, {"method":"ping"}, {"id":2,"result":1}]'
    assert read_calls(body) == Asked((Call("tools/call", "a"), Call("ping"), RESPONSE), None, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \r\n",
        b"a=b&c=d",
        b"method=tools/call&params%5Bname%5D=x",
        b"--boundary\r\nContent-Disposition: form-data\r\n",
        b"<xml/>",
        b"hello [world]",
        b"\x89PNG\r\n\x1a\n\x00\x00",
        b"\xff\xd8\xff",
        b"123",
        b"null",
        b"tru",
        b"\xc3\xa9",
    ],
)
def test_what_nobody_reads_as_a_message(body: bytes) -> None:
    """A form, a text, an upload: it goes its way, and is charged as something unknown."""
    assert read_calls(body) == Asked((UNREAD,), None, False)


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        # Keys: which of two counts?
        b'{"method":"ping","method":"tools/call"}',
        b'{"id":1,"id":2,"method":"ping"}',
        b'{"method":"ping","m\\u0065thod":"tools/call"}',
        b'{"method":"tools/call","params":{"name":"a","name":"b"}}',
        b'{"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}',
        b'{"method":"tools/call","params":{"name":"a","arguments":{"x":[{"y":1,"y":1}]}}}',
        b'[{"method":"ping"},{"method":"ping","method":"ping"}]',
        # Keys that Go takes in any case, pydantic with underscores, and others with any separator.
        b'{"method":"ping","Method":"tools/call"}',
        b'{"METHOD":"tools/call"}',
        b'{"ID":1,"method":"ping"}',
        b'{"JSONRPC":"2.0","method":"ping"}',
        b'{"method":"tools/call","Params":{"name":"b"},"params":{"name":"a"}}',
        b'{"method":"tools/call","params":{"name":"a","Name":"b"}}',
        b'{"method":"tools/call","params":{"name":"a","NAME":"b"}}',
        b'{"method":"tools/call","params":{"name":"a","na-me":"b"}}',
        b'{"method":"tools/call","params":{"name":"a"," name":"b"}}',
        b'{"method":"tools/call","params":{"name":"a","_Meta":{}}}',
        b'{"method":"tasks/get","params":{"taskId":"a","task_id":"b"}}',
        b'{"method":"tasks/get","params":{"taskid":"a"}}',
        b'{"method":"resources/read","params":{"uri":"a","URI":"b"}}',
        b'{"method":"ping","re_sult":{}}',
        # Letters that fold into ASCII: a long s, a dotless i, the Kelvin sign.
        b'{"method":"ping","param\xc5\xbf":{}}',
        b'{"method":"ping","\\u0131d":1}',
        b'{"method":"tasks/get","params":{"taskId":"a","tas\xe2\x84\xaaId":"b"}}',
        b'{"method":"ping","\\ufeffmethod":"tools/call"}',
        # Keys that end at a NUL, at any depth; and what JavaScript finds behind an object.
        b'{"method":"ping","method\\u0000":"tools/call"}',
        b'{"method":"tools/call","params":{"name":"a","arguments":{"b\\u0000":1}}}',
        b'{"method":"ping","__proto__":{"method":"tools/call"}}',
        b'{"result":{},"__proto__":{"method":"tools/call"}}',
        b'{"method":"tools/call","params":{"name":"a","__proto__":{"name":"b"}}}',
        # Names and methods.
        b'{"method":"tools/call"}',
        b'{"method":"tools/call","params":null}',
        b'{"method":"tools/call","params":["b"]}',
        b'{"method":"tools/call","params":{}}',
        b'{"method":"tools/call","params":{"name":""}}',
        b'{"method":"tools/call","params":{"name":null}}',
        b'{"method":"tools/call","params":{"name":["b"]}}',
        b'{"method":"tools/call","params":{"name":{"toString":"b"}}}',
        b'{"method":"tools/call","params":{"name":7}}',
        b'{"method":"tools/call","params":{"name":"b\\u0000"}}',
        b'{"method":"tools/call","params":{"name":"b\\n"}}',
        b'{"method":"tools/call","params":{"name":" b"}}',
        b'{"method":"tools/call","params":{"name":"b "}}',
        b'{"method":"tools/call","params":{"name":"b\\u00a0"}}',
        b'{"method":"tools/call","params":{"name":"b\\u200b"}}',
        b'{"method":"Tools/Call","params":{"name":"b"}}',
        b'{"method":"tools_call","params":{"name":"b"}}',
        b'{"method":"/tools/call/","params":{"name":"b"}}',
        b'{"method":"tools/call\\u0000","params":{"name":"b"}}',
        b'{"method":"tools/call ","params":{"name":"b"}}',
        b'{"method":"tool\xc5\xbf/call","params":{"name":"b"}}',
        b'{"method":"ping\\u0000"}',
        b'{"method":7}',
        b'{"method":null}',
        b'{"method":null,"result":{}}',
        b'{"method":["tools/call"]}',
        b"{}",
        b'{"id":1}',
        b'{"$serde_json::private::RawValue":"{\\"method\\":\\"tools/call\\"}"}',
        # Encodings.
        '{"method":"ping"}'.encode("utf-16"),
        '{"method":"ping"}'.encode("utf-16-le"),
        '{"method":"ping"}'.encode("utf-16-be"),
        '{"method":"ping"}'.encode("utf-32"),
        '{"method":"ping"}'.encode("utf-32-be"),
        '{"method":"ping"}'.encode("utf-8-sig"),
        '[{"method":"ping"}]'.encode("utf-16-be"),
        b'{"method":"ping","x":"\xff"}',
        b'{"method":"ping","x":"\xc0\xaf"}',
        b'{"method":"ping","x":"\xed\xa0\x80"}',
        b'{"method":"ping","x":"\xf4\x90\x80\x80"}',
        b'{"method":"ping","x":"\\ud800"}',
        b'{"method":"ping","x":"\\udc00"}',
        b'{"method":"ping","x":"\\ud800\\ud800"}',
        b'{"method":"ping","x":"\\ud800x"}',
        b'{"method":"ping","\\udfff":1}',
        # What some readers take for JSON.
        b'/* a */{"method":"tools/call"}',
        b'// a\n{"method":"tools/call"}',
        b'\x0b{"method":"ping"}',
        b'\xc2\xa0{"method":"ping"}',
        b')]}\'\n{"method":"ping"}',
        b'{"method":"ping"}{"method":"tools/call"}',
        b'{"method":"ping"}\n{"method":"tools/call"}',
        b'{"method":"ping"}\x00',
        b'{"method":"ping"}x',
        b'1 {"method":"tools/call"}',
        b'{"method":"ping",}',
        b'{"method":"ping"//\n}',
        b"{'method':'ping'}",
        b'{method:"ping"}',
        b'{"method":"ping","x":NaN}',
        b'{"method":"ping","x":Infinity}',
        b'{"method":"ping","x":1e999}',
        b'{"method":"ping","x":-1e999}',
        b'{"method":"ping","x":01}',
        b'{"method":"ping","x":+1}',
        b'{"method":"ping","x":.5}',
        b'{"method":"ping","x":0x10}',
        b'{"method":"ping","x":"a\nb"}',
        b'{"method":"ping","x":"a\x00b"}',
        b'{"method":"ping","x":"\\x41"}',
        b'{"method":"ping","x":' + b"9" * 5000 + b"}",
        b'{"method":"ping"',
        b'{"method":"pi',
        b"{",
        b"[",
        b"{]",
        # A string that somebody reads once more.
        b'"{\\"method\\":\\"tools/call\\"}"',
        b' "\\u007b\\"method\\":\\"tools/call\\"\\u007d"',
        '"\\u007b"'.encode("utf-16-be"),
        # Batches.
        b"[]",
        b"[1]",
        b"[null]",
        b'[[{"method":"ping"}]]',
        b'[{"method":"ping"},7]',
        b'[{"method":"ping"},{}]',
        b"[" + b",".join([b'{"method":"ping"}'] * 101) + b"]",
    ],
)
def test_what_two_readers_could_take_for_different_messages(body: bytes) -> None:
    """It is refused, with a sentence for the client that repeats nothing of it."""
    with pytest.raises(AmbiguousBody) as caught:
        read_calls(body)
    assert 20 < len(caught.value.text) < 100
    assert (caught.value.status, caught.value.detail) == (400, "")
    assert not any(word in caught.value.text for word in ("ping", "serde", "b\0"))


def test_a_batch_may_have_a_hundred_messages() -> None:
    """No client sends more."""
    assert len(read_calls(b"[" + b",".join([b'{"method":"ping"}'] * 100) + b"]").calls) == 100


def _nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    return opening * (depth - 1) + b"[]" + closing * (depth - 1)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [(b"[", b"]"), (b'{"":', b"}"), (b'{"a":1,"b":', b',"c":[]}'), (b"[ ", b" ]"), (b"[[],", b"]")],
)
def test_how_deep_a_body_may_be(opening: bytes, closing: bytes) -> None:
    """64 levels, three of which are the message, its params and the arguments."""
    assert read_calls(CALL % _nested(opening, closing, 62)).calls == (Call("tools/call", "search"),)
    for depth in (63, 64, 500):
        with pytest.raises(AmbiguousBody, match="deep"):
            read_calls(CALL % _nested(opening, closing, depth))


def test_the_shortest_deep_body_is_seen() -> None:
    """One that is made of nothing but levels."""
    with pytest.raises(AmbiguousBody, match="deep"):
        read_calls(b'{"":' * 64 + b"{}" + b"}" * 64)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, _nested(b"[", b"]", 100_000)])
def test_a_bottomless_body_breaks_nothing(body: bytes) -> None:
    """However deep it is, it is refused and nothing else happens."""
    for whole in (body, CALL % body):
        with pytest.raises(AmbiguousBody):
            read_calls(whole)


def test_many_brackets_are_not_many_levels() -> None:
    """A long list of small objects is as shallow as a short one."""
    assert read_calls(CALL % (b"[" + b",".join([b'{"a":[]}'] * 1000) + b"]")).calls == (Call("tools/call", "search"),)


_bracketed = st.recursive(
    st.text('[]{}"\\', max_size=4),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text('[]{}"\\', max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


def _depth(value: object) -> int:
    if isinstance(value, dict | list):
        return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


@PURE
@given(arguments=st.lists(_bracketed, max_size=3), max_nesting=st.integers(2, 9))
def test_only_brackets_outside_of_strings_are_levels(arguments: list[object], max_nesting: int) -> None:
    """Whatever stands in strings, quotes and backslashes too."""
    body = CALL % json.dumps(arguments).encode()
    if _depth(arguments) + 2 <= max_nesting:
        assert read_calls(body, max_nesting).calls == (Call("tools/call", "search"),)
    else:
        with pytest.raises(AmbiguousBody, match="deep"):
            read_calls(body, max_nesting)


# --- the same for all readers --------------------------------------------------------------------------------------

_texts = st.text(max_size=5)
_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), _texts)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_texts.filter(lambda key: "\0" not in key), inner, max_size=3)
    ),
    max_leaves=8,
)
_tools = st.text("abcXYZ019_-./ \u00e9\u4e2d\U0001f600", min_size=1, max_size=9).filter(
    lambda name: name.strip() == name
)
_calls = st.builds(
    lambda name, arguments, meta: {"name": name, "arguments": arguments, "_meta": meta}, _tools, _values, _values
)
_messages = st.one_of(
    st.builds(
        lambda id_, params: {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}, _scalars, _calls
    ),
    st.builds(
        lambda method, params: {"method": method, "params": params}, st.sampled_from(["ping", "tools/list"]), _values
    ),
    st.builds(lambda uri: {"params": {"uri": uri}, "method": "resources/read", "id": 1}, _texts),
    st.builds(lambda result: {"jsonrpc": "2.0", "id": 1, "result": result}, _values),
)
_styles = st.sampled_from(
    [
        {},
        {"separators": (",", ":")},
        {"separators": (",", ":"), "ensure_ascii": False},
        {"ensure_ascii": False, "indent": 1},
        {"sort_keys": True},
    ]
)


def _read_simply(message: dict[str, object]) -> Call:
    """What a server does with a message."""
    method, params = message.get("method"), message.get("params")
    if not isinstance(method, str):
        return RESPONSE
    named_by = {"tools/call": "name", "resources/read": "uri"}.get(method, "")
    name = params.get(named_by) if named_by and isinstance(params, dict) else ""
    return Call(method, name if isinstance(name, str) else "")


@PURE
@given(message=_messages, style=_styles)
def test_every_message_without_tricks_is_read_as_the_json_module_reads_it(
    message: dict[str, object], style: dict[str, object]
) -> None:
    """Whatever stands in it, however it is spaced and escaped: nothing good is refused."""
    body = json.dumps(message, **style).encode()
    asked = read_calls(body)
    assert asked.calls == (_read_simply(json.loads(body)),)
    assert asked.id == (message.get("id") if type(message.get("id")) in (int, float, str) else None)


@PURE
@given(messages=st.lists(_messages, min_size=1, max_size=4), style=_styles)
def test_a_batch_is_read_as_its_messages_are(messages: list[dict[str, object]], style: dict[str, object]) -> None:
    """One after the other."""
    assert read_calls(json.dumps(messages, **style).encode()).calls == tuple(map(_read_simply, messages))


def _written(value: object, twice: list[bool]) -> str:
    """JSON of a value, in which the first object whose turn it is has a key twice, the second time with an escape."""
    if isinstance(value, list):
        return f"[{','.join(_written(each, twice) for each in value)}]"
    if not isinstance(value, dict):
        return json.dumps(value)
    members = [f"{json.dumps(key)}:{_written(inner, twice)}" for key, inner in value.items()]
    if value and twice and twice.pop():
        key = next(iter(value))
        escaped = "".join(f"\\u{ord(unit):04x}" for unit in key) if key.isascii() else json.dumps(key)[1:-1]
        members.append(f'"{escaped}":null')
        twice.clear()
    return f"{{{','.join(members)}}}"


@PURE
@given(
    arguments=_values,
    where=st.integers(0, 5),
    message=st.builds(dict, _calls.map(lambda params: {"method": "tools/call", "params": params})),
)
def test_a_key_that_stands_twice_is_always_refused(arguments: object, where: int, message: dict[str, object]) -> None:
    """At any depth, plainly or with escapes: readers differ in which one counts."""
    message["more"] = [arguments, {"a": {"b": arguments}}]
    twice = [False] * where + [True]
    body = _written(message, twice[::-1]).encode()
    if twice and body == _written(message, []).encode():
        return  # there were fewer objects
    with pytest.raises(AmbiguousBody, match="twice"):
        read_calls(body)


@PURE
@given(
    body=st.one_of(
        st.binary(max_size=40),
        broken(st.builds(lambda message, style: json.dumps(message, **style).encode(), _messages, _styles)),
    )
)
def test_a_broken_body_is_read_or_refused_and_nothing_else(body: bytes) -> None:
    """No error of its own; and what is read, the json module and msgspec read as well, to the same effect."""
    try:
        asked = read_calls(body)
    except AmbiguousBody:
        return
    if asked.calls != (UNREAD,):
        messages = json.loads(body)
        assert msgspec.json.decode(body) == messages
        assert asked.calls == tuple(map(_read_simply, messages if asked.is_batch else [messages]))


# Readers of other kinds, as functions from the members of an object to what their server sees of it.
Members = list[tuple[str, object]]
_READERS: dict[str, Callable[[Members], dict[str, object]]] = {
    "the last counts": dict,
    "the first counts": lambda members: dict(reversed(members)),
    "any case": lambda members: {_folded(key): value for key, value in members},
    "any case, the first counts": lambda members: {_folded(key): value for key, value in reversed(members)},
    "no underscores": lambda members: {key.replace("_", ""): value for key, value in members},
    "up to a NUL": lambda members: {key.partition("\0")[0]: value for key, value in members},
    "trimmed": lambda members: {key.strip(): value for key, value in members},
    "with prototype": lambda members: {**_prototype(members), **dict(members)},
}


def _folded(key: str) -> str:
    return "taskId" if key.casefold() == "taskid" else key.casefold()


def _prototype(members: Members) -> dict[str, object]:
    inherited = dict(members).get("__proto__")
    return inherited if isinstance(inherited, dict) else {}


_like_method = ["method", "Method", "meth_od", "id", "result", "__proto__"]
_like_params = ["params", "param\u017f", "name", "NAME", "_name", " name", "name\0", "name\0x", "uri", "Uri", "x"]
_tricky_keys = st.sampled_from([*_like_method, *_like_params])
_tricky_scalars = st.sampled_from(["tools/call", "resources/read", "ping", "good", "bad", "bad\0", 1, None])


def _objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.builds(lambda key, value: f"{json.dumps(key)}:{value}", _tricky_keys, inner), max_size=4)
    return members.map(lambda written: f"{{{','.join(written)}}}")


_tricky_params = _objects(st.one_of(_tricky_scalars.map(json.dumps), _objects(_tricky_scalars.map(json.dumps))))


@st.composite
def _tricky_bodies(draw: st.DrawFn) -> bytes:
    """Messages that nearly are one, with members that some reader takes for others."""
    members = ['"method":"tools/call"', f'"params":{draw(_tricky_params)}']
    strange = st.builds(lambda key, value: f"{json.dumps(key)}:{value}", _tricky_keys, _tricky_params)
    members += draw(st.lists(strange, max_size=1))
    return f"{{{','.join(draw(st.permutations(members)))}}}".encode()


@PURE
@given(body=_tricky_bodies())
def test_what_is_read_means_the_same_to_readers_of_other_kinds(body: bytes) -> None:
    """Go's, pydantic's, C's, JavaScript's: either all of them see the same call, or it is refused."""
    try:
        asked = read_calls(body)
    except AmbiguousBody:
        return
    for kind, reader in _READERS.items():
        assert _read_simply(json.loads(body, object_pairs_hook=reader)) == asked.calls[0], kind


def test_the_readers_above_differ() -> None:
    """Else the test would prove nothing."""
    tricky = b'{"method":"tools/call","params":{"name":"good","NAME":"bad"}}'
    seen = {_read_simply(json.loads(tricky, object_pairs_hook=reader)).name for reader in _READERS.values()}
    assert seen == {"good", "bad"}


# --- header fields -------------------------------------------------------------------------------------------------

_TOOL = Asked((Call("tools/call", "search"),), 1, False)
_ACCENT = Asked((Call("tools/call", "\u00e9"),), 1, False)
_WRAPPED = b"=?base64?%b?="


def _wrapped(text: str) -> bytes:
    return _WRAPPED % base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("asked", "method", "name", "expected"),
    [
        (_TOOL, None, None, ""),
        (_TOOL, b"tools/call", b"search", ""),
        (_TOOL, b"tools/call", None, ""),
        (_TOOL, None, b"search", ""),
        (_TOOL, b"tools/list", b"search", "Mcp-Method"),
        (_TOOL, b"Tools/call", b"search", "Mcp-Method"),
        (_TOOL, b"", None, "Mcp-Method"),
        (_TOOL, b"tools/call", b"delete", "Mcp-Name"),
        (_TOOL, b"tools/call", b"Search", "Mcp-Name"),
        (_TOOL, b"tools/call", b"", "Mcp-Name"),
        (_TOOL, b"tools/call", b"search, delete", "Mcp-Name"),
        (_TOOL, b"tools/call", _wrapped("search"), ""),
        (_TOOL, _wrapped("tools/call"), None, ""),
        (_TOOL, None, _wrapped("delete"), "Mcp-Name"),
        (_ACCENT, None, _wrapped("\u00e9"), ""),
        (_ACCENT, None, "\u00e9".encode(), "Mcp-Name"),
        (_ACCENT, None, b"\xe9", "Mcp-Name"),
        (_ACCENT, None, b"=?base64?w6k?=", "Mcp-Name"),
        (_ACCENT, None, b"=?base64?w6l=?=", "Mcp-Name"),
        (_ACCENT, None, b"=?base64?w 6k=?=", "Mcp-Name"),
        (_ACCENT, None, b"=?base64?6Q==?=", "Mcp-Name"),
        (_ACCENT, None, b"=?BASE64?w6k=?=", "Mcp-Name"),
        (Asked((Call("tools/call", "=?base64?w6k=?="),)), None, b"=?base64?w6k=?=", "Mcp-Name"),
        (Asked((Call("tools/call", "=?base64?w6k=?="),)), None, _wrapped("=?base64?w6k=?="), ""),
        (Asked((Call("resources/read", "file:///a"),)), b"resources/read", b"file:///a", ""),
        (Asked((Call("resources/read", "file:///a"),)), b"resources/read", b"file:///b", "params.uri"),
        (Asked((Call("tasks/get", "t"),)), b"tasks/get", b"u", "params.taskId"),
        (Asked((Call("prompts/get"),)), b"prompts/get", b"p", "params.name"),
        (Asked((Call("ping"),)), b"ping", b"anything", ""),
        (Asked((Call("ping"),)), b"tools/call", b"search", "Mcp-Method"),
        (Asked((UNREAD,)), b"tools/call", b"search", "Mcp-Method"),
        (Asked((RESPONSE,)), b"tools/call", None, "Mcp-Method"),
        (Asked((Call("ping"),), None, True), b"ping", None, "batch"),
        (Asked((Call("ping"),), None, True), None, None, ""),
    ],
)
def test_how_header_fields_agree_with_the_body(
    asked: Asked, method: bytes | None, name: bytes | None, expected: str
) -> None:
    """The body is what counts; fields that say something else are told apart, without repeating them."""
    found = mismatch(asked, method, name)
    assert expected in found
    assert bool(expected) is bool(found)
    assert "search" not in found
    assert "delete" not in found


@PURE
@given(name=st.text(max_size=9))
def test_any_name_can_be_wrapped(name: str) -> None:
    """Names that cannot stand in a header as they are."""
    assert mismatch(Asked((Call("tools/call", name),)), None, _wrapped(name)) == ""


@PURE
@given(value=st.one_of(st.binary(max_size=20), st.binary(max_size=12).map(lambda inner: _WRAPPED % inner)))
def test_no_header_value_breaks_anything(value: bytes) -> None:
    """Whatever a client sends in one: it agrees with the body or it does not."""
    assert mismatch(_TOOL, None, value).startswith("Mcp-Name") is (value != b"search")


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"", True),
        (b"application/json", True),
        (b"application/json; charset=utf-8", True),
        (b"application/json;charset=UTF-8", True),
        (b"application/json; charset=utf8", True),
        (b'application/json; charset="utf-8"', True),
        (b"application/json; charset=utf-8; x=y", True),
        (b"application/json; x=y; Charset = utf-8 ", True),
        (b"application/json; charset=utf-7", False),
        (b"application/json; charset=UTF-16", False),
        (b"application/json; charset=utf-16le", False),
        (b'application/json; charset="utf-7"', False),
        (b'application/json; charset="utf-8', False),
        (b"application/json; charset=", False),
        (b"application/json; charset", False),
        (b"application/json; charset*=utf-8''utf-7", False),
        (b"application/json; charset=utf-8; charset=utf-7", False),
        (b'application/json; x="charset=utf-8"; charset=utf-7', False),
        (b'application/json; x="; charset=utf-8"; charset=utf-7', False),
        (b"application/json; charset=utf-8, text/plain", False),
        (b"application/json charset=utf-8", False),
    ],
)
def test_which_content_types_leave_no_doubt_about_the_encoding(content_type: bytes, expected: bool) -> None:
    """In UTF-7 the letters of a tool's name can be written so that only some readers see them."""
    assert is_utf8(content_type) is expected


def test_a_body_of_brackets_alone_is_not_read() -> None:
    """Each makes an object, and while they are made nobody else is served."""
    with pytest.raises(AmbiguousBody, match="objects and arrays"):
        read_calls(b'{"params":[' + b"[]," * MAX_CONTAINERS + b"[]]}")


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"[]", True), (b" \r\n[{", True), (b"\xef\xbb\xbf[", True), (b'{"a":[]}', False), (b"a=[1]", False), (b"", False),
     (b'"[]"', True), (b"/* */[{}]", True), (b"# x\n[{}]", True)],
)
def test_what_may_be_a_batch(body: bytes, expected: bool) -> None:
    """Where several messages could stand in what cannot be read, one charge would not do."""
    assert may_be_batch(body) is expected


@pytest.mark.parametrize(
    "body",
    [
        CALL.replace(b"%b", b"{}"),
        b'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x","arguments":{"b":[1,{}]},"_meta":{"a":1}}}',
        b'{ "params": {"name": "x"}, "method": "tools/call" }',
        b'{"method":"tools/call","params":{"name":"x","arguments":{"name":"y","Params":[]}}}',
        b'{"method":"tools/call","params":{"name":"x"},"id":1.5e3}',
    ],
)
def test_a_plain_call_is_known_at_a_glance(body: bytes) -> None:
    """With its name and its id, as reading it would tell."""
    assert glance(body) == read_calls(body)
    assert glance(body) is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"method":"tools/call","method":"ping","params":{"name":"x"}}',
        b'{"method":"tools/call","METHOD":"ping","params":{"name":"x"}}',
        b'{"method":"tools/call","params":{"name":"x","na_me":"y"}}',
        b'{"method":"tools/call","params":{"name":"x"},"me-thod":"ping"}',
        b'{"method":"tools/call","params":{"name":"x","n\\u0061me":"y"}}',
        b'{"method":"tools/call","params":{"name":"x", "arguments":{"name":"y"}}}',
        b'{"method":"tools/call","params":{"name":"x","arguments":{"name":"y"}},"id":1.5}',
        b'{"id":1e15,"method":"ping","method":"tools/call","params":{"name":"x"}}',
        b'{"method":"tools/call","params":{"name":" x"}}',
        b'{"method":"tools/call","params":{"name":"x "}}',
        b'{"method":"tools/call","params":{"name":""}}',
        b'{"method":"tools/call","params":{"name":"x"}} {}',
        '{"method":"tools/call","params":{"name":"\u00e9"}}'.encode(),
        b'{"method":"ping"}',
        b'{"method":"tools/call","params":{"name":"x","arguments":' + b"[" * 1900 + b"]}}",
        b'{"method":"tools/call","params":{"name":"x","arguments":"' + b"y" * 3000 + b'"}}',
    ],
)
def test_whatever_needs_a_second_look_gets_one(body: bytes) -> None:
    """A glance says nothing of it, rather than something wrong."""
    assert glance(body) is None


@given(
    members=st.lists(
        st.sampled_from(
            [
                '"method":"tools/call"', '"method":"ping"', '"Method":"ping"', '"id":7', '"jsonrpc":"2.0"', '"x":1', '"_meta":{}',
                '"params":{"name":"a"}', '"params":{"name":"b","arguments":{}}', '"params":{"arguments":{"name":"c"}}',
                '"params":{"name":"a","name":"b"}', '"params":{"Name":"a","name":"b"}', '"params":[]', '"__proto__":{"method":"x"}',
            ]
        ),
        max_size=5,
    )
)  # fmt: skip
@example(members=['"method":"tools/call"', '"id":7', '"id":7', '"params":{"name":"a"}'])
def test_a_glance_never_says_more_than_reading(members: list[str]) -> None:
    """Where reading finds another call, or two meanings in what is counted, a glance is silent."""
    body = f"{{{','.join(members)}}}".encode()
    seen = glance(body)
    if seen is None:
        return
    try:
        read = read_calls(body)
    except AmbiguousBody:  # what stands twice is not counted: every reader finds the same method and name
        call = seen.calls[0]
        assert _found(body, dict) == _found(body, _first) == (call.method, call.name)
    else:
        assert seen == read


def _first(members: list[tuple[str, object]]) -> dict[str, object]:
    return dict(reversed(members))


def _found(body: bytes, which: Callable[[list[tuple[str, object]]], dict[str, Any]]) -> tuple[str, str]:
    message = json.loads(body, object_pairs_hook=which)
    return message["method"], message["params"]["name"]
