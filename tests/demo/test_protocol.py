"""Messages in, answers out: both eras without any HTTP."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.demo.messages import Notice, Reply, Request, Stream
from mcpgate.demo.protocol import (
    CAPABILITIES_KEY,
    SESSION_VERSIONS,
    VERSION_KEY,
    answer_in_session,
    answer_stateless,
    is_stateless,
    negotiate,
    plain_header_value,
)
from mcpgate.demo.tools import TOOLS

Json = dict[str, Any]
METADATA = {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}}
METHODS = (
    "initialize",
    "ping",
    "server/discover",
    "subscriptions/listen",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
)
ODD_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, 1.5, float("nan"), 10**400, "", "\ud800", "demo://readme", [], {}, {"a": 1, "b": []}]
)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from([*TOOLS, "greet"]) | ODD_VALUES,
        "arguments": st.dictionaries(st.sampled_from(("message", "a", "b", "to", "name")), ODD_VALUES) | ODD_VALUES,
        "uri": ODD_VALUES,
        "notifications": ODD_VALUES,
    },
)


def in_session(method: str, **params: Any) -> Json:
    """The message that answers a request of the session era at once."""
    answer = answer_in_session(Request(1, method, params), ())
    assert isinstance(answer, Reply)
    return answer.message


def stateless(method: str, headers: dict[str, str] | None = None, **params: Any) -> Reply | Stream:
    """The answer to a request whose headers agree with it, except for those given."""
    mirrored = {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
    for field in ("name", "uri"):
        if field in params:
            mirrored["mcp-name"] = params[field]
    request = Request(1, method, {"_meta": METADATA, **params})
    return answer_stateless(request, list({**mirrored, **(headers or {})}.items()))


@pytest.mark.parametrize("asked", SESSION_VERSIONS)
def test_version_is_the_clients(asked: str) -> None:
    """A version that is served is taken as the client asks for it."""
    assert negotiate(Request(1, "initialize", {"protocolVersion": asked})) == asked


@pytest.mark.parametrize("asked", ["1999-01-01", "2026-07-28", None, ["2025-11-25"]])
def test_version_unknown(asked: object) -> None:
    """For any other version the newest with a handshake is offered."""
    assert negotiate(Request(1, "initialize", {"protocolVersion": asked})) == "2025-11-25"


@pytest.mark.parametrize(
    ("header", "meta", "expected"),
    [
        (None, {}, False),
        ("2025-06-18", {}, False),
        ("2026-07-28", {}, True),
        ("2099-01-01", {}, True),
        (None, METADATA, True),
        ("2025-06-18", METADATA, True),
        (None, {"progressToken": 1}, False),
    ],
)
def test_era(header: str | None, meta: Json, expected: bool) -> None:
    """Metadata with a version is stateless; so is a header with a version that knows no handshake."""
    assert is_stateless(Request(1, "tools/list", {"_meta": meta}), header) is expected
    assert is_stateless(Notice("notifications/x", {"_meta": meta}), header) is expected


def test_session_results_are_plain() -> None:
    """The session era knows nothing of resultType and caching, and gets none of it."""
    assert set(in_session("tools/list")["result"]) == {"tools"}
    assert in_session("ping")["result"] == {}


def test_resource() -> None:
    """The readme is listed and can be read; another address is invalid and named."""
    (listed,) = in_session("resources/list")["result"]["resources"]
    (content,) = in_session("resources/read", uri=listed["uri"])["result"]["contents"]
    assert "mcpgate demo" in content["text"]
    error = in_session("resources/read", uri="demo://other")["error"]
    assert (error["code"], error["data"]) == (-32602, {"uri": "demo://other"})
    assert in_session("resources/templates/list")["result"] == {"resourceTemplates": []}


def test_prompt() -> None:
    """The prompt is listed and can be filled in; without its argument, or another prompt, it cannot."""
    (listed,) = in_session("prompts/list")["result"]["prompts"]
    filled = in_session("prompts/get", name=listed["name"], arguments={"name": "Ann"})
    assert "Ann" in filled["result"]["messages"][0]["content"]["text"]
    assert in_session("prompts/get", name=listed["name"])["error"]["code"] == -32602
    assert in_session("prompts/get", name="part", arguments={"name": "Ann"})["error"]["code"] == -32602


def test_unknown_tool() -> None:
    """An unknown tool is a protocol error that names it, with status 200 in both eras."""
    assert in_session("tools/call", name="nope")["error"] == {"code": -32602, "message": "Unknown tool: nope"}
    answer = stateless("tools/call", name="nope")
    assert isinstance(answer, Reply)
    assert (answer.status, answer.message["error"]["code"]) == (200, -32602)


def test_bad_argument_is_a_result() -> None:
    """Bad arguments are told to the model as a failed result, so that it can correct itself."""
    result = in_session("tools/call", name="add", arguments={"a": 1})["result"]
    assert result["isError"]
    assert "'b'" in result["content"][0]["text"]


def test_stream_ends_with_the_response() -> None:
    """A streamed answer is progress, then the response to the request, dressed as any other result."""
    meta = {**METADATA, "progressToken": "t"}
    answer = stateless("tools/call", name="count", arguments={"to": 2, "interval_s": 3}, _meta=meta)
    assert isinstance(answer, Stream)
    first, second, last = answer.steps
    assert [pause_s for _, pause_s in (first, second, last)] == [3, 3, 0]
    assert first[0] is not None
    assert first[0]["params"] == {"progressToken": "t", "progress": 1, "total": 2}
    assert last[0] is not None
    assert (last[0]["id"], last[0]["result"]["resultType"]) == (1, "complete")


def test_no_progress_without_token() -> None:
    """Who gave no progress token gets no progress, only the time it takes."""
    answer = stateless("tools/call", name="count", arguments={"to": 2, "interval_s": 3})
    assert isinstance(answer, Stream)
    assert [message is None for message, _ in answer.steps] == [True, True, False]


@pytest.mark.parametrize("missing", [VERSION_KEY, CAPABILITIES_KEY])
def test_missing_metadata(missing: str) -> None:
    """Both the version and the client's capabilities must be there, and the error names what is not."""
    answer = stateless("tools/list", _meta={key: METADATA[key] for key in METADATA if key != missing})
    assert isinstance(answer, Reply)
    assert (answer.status, answer.message["error"]["code"]) == (400, -32602)
    assert missing in answer.message["error"]["message"]


def test_repeated_header() -> None:
    """A mirrored header that comes twice is refused even if both say the same: readers may differ."""
    headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/list"),
        ("mcp-method", "tools/list"),
    ]
    answer = answer_stateless(Request(1, "tools/list", {"_meta": METADATA}), headers)
    assert isinstance(answer, Reply)
    assert (answer.status, answer.message["error"]["code"]) == (400, -32020)


def test_wrapped_header() -> None:
    """A name that is not safe as header text is compared after unwrapping."""
    wrapped = "=?base64?" + base64.b64encode("grüß".encode()).decode() + "?="
    answer = stateless("prompts/get", {"mcp-name": wrapped}, name="grüß")
    assert isinstance(answer, Reply)
    assert "the only prompt" in answer.message["error"]["message"]  # not a mismatch


@given(st.text())
def test_wrapping_is_undone(value: str) -> None:
    """Any text survives being wrapped."""
    encoded = base64.b64encode(value.encode("utf-8", "replace")).decode()
    assert plain_header_value(f"=?base64?{encoded}?=") == value.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("value", ["=?base64?x?=", "=?base64?/w==?=", "=?base64?????=", "=?base64?ä?="])
def test_bad_wrapping(value: str) -> None:
    """A value that is wrapped badly equals nothing."""
    assert plain_header_value(value) is None


@given(st.sampled_from(METHODS), PARAMETERS)
def test_any_params(method: str, params: Json) -> None:
    """Whatever the parameters are, the answer in each era is a stream or one message that can be sent."""
    headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)]
    name = params.get("uri" if method == "resources/read" else "name")
    if isinstance(name, str):
        headers.append(("mcp-name", name))
    request = Request(1, method, {**params, "_meta": METADATA})
    for answer in (answer_in_session(request, headers), answer_stateless(request, headers)):
        if isinstance(answer, Reply):
            assert json.loads(json.dumps(answer.message))["id"] == 1
        else:
            assert method in ("tools/call", "subscriptions/listen")
