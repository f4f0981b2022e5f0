"""
The configuration files of MCP clients: what to paste into them, and what to take over from them.

Clients differ in one or two words of the same JSON, and fail silently on the wrong ones; they are kept here
in one table. Text in, text out; nothing is opened or written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mcpgate.values import addresses, grammar

#: The transports of :class:`~mcpgate.settings.ServerSettings`, as the clients call them.
_CLIENT_WORDS: Final[Mapping[str, str]] = {"streamable-http": "http", "sse": "sse"}


#: Stands for the token, which nobody but its holder knows.
_BEARER: Final = "Bearer YOUR_TOKEN"


@dataclass(frozen=True, slots=True)
class Offer:
    """
    What a client needs to know about one server; ``transport`` is streamable-http or sse.

    ``wants_token`` says that a token of the gateway must come with each request; clients find OAuth by themselves.
    """

    name: str
    url: str
    transport: str = "streamable-http"
    wants_token: bool = False


@dataclass(frozen=True, slots=True)
class Snippet:
    """A text to paste, and the place where it belongs."""

    text: str
    place: str


def _named(top: str, offer: Offer, entry: Mapping[str, str]) -> str:
    headers = {"headers": {"Authorization": _BEARER}} if offer.wants_token else {}
    return json.dumps({top: {offer.name: {**entry, **headers}}}, indent=2)


def _cursor(offer: Offer) -> Snippet:
    return Snippet(_named("mcpServers", offer, {"url": offer.url}), "~/.cursor/mcp.json")


def _vscode(offer: Offer) -> Snippet:
    # VS Code reads `servers` and passes over `mcpServers` without a word.
    entry = {"type": _CLIENT_WORDS[offer.transport], "url": offer.url}
    return Snippet(_named("servers", offer, entry), ".vscode/mcp.json")


def _claude_code(offer: Offer) -> Snippet:
    word = _CLIENT_WORDS[offer.transport]
    header = f' --header "Authorization: {_BEARER}"' if offer.wants_token else ""
    return Snippet(f"claude mcp add --transport {word} {offer.name} {offer.url}{header}", "a terminal")


def _generic(offer: Offer) -> Snippet:
    entry = {"type": _CLIENT_WORDS[offer.transport], "url": offer.url}
    return Snippet(_named("mcpServers", offer, entry), "the client's list of MCP servers")


#: By the word that stands behind ``--client``.
CLIENTS: Final[Mapping[str, Callable[[Offer], Snippet]]] = {
    "cursor": _cursor,
    "vscode": _vscode,
    "claude-code": _claude_code,
    "generic": _generic,
}

_WORDS_OF_TRANSPORTS: Final[Mapping[str, str]] = {
    "http": "streamable-http",
    "streamable-http": "streamable-http",
    "streamable_http": "streamable-http",
    "streamablehttp": "streamable-http",
    "sse": "sse",
}
# Windsurf, Antigravity and Warp say serverUrl, Gemini httpUrl, all others url.
_URL_KEYS = ("url", "serverUrl", "httpUrl")


@dataclass(slots=True)
class _Taken:
    """The names that are in use in the file being written."""

    names: set[str] = field(default_factory=lambda: {"discovery"})

    def name_for(self, title: str) -> str:
        """A server name as close to the title as the grammar allows, and not yet in use."""
        longest = grammar.MAX_NAME_LENGTH - len("-9999")
        plain = re.sub(r"[^a-z0-9._-]+", "-", title.lower()).strip("._-")[:longest].rstrip("._-") or "server"
        name, number = plain, 1
        while name in self.names:
            number += 1
            name = f"{plain}-{number}"
        self.names.add(name)
        return name


def import_servers(text: str) -> str:
    """
    Turn a client's ``mcpServers`` (or VS Code's ``servers``) JSON into a gateway configuration.

    Entries that start a process become comments, because the gateway starts none. Header values become
    ``${VAR}``: secrets stay where they are.

    :returns: YAML text; every server in it is complete once the variables are set.
    :raises ValueError: if the text is not such a file, saying why.
    """
    taken = _Taken()
    lines = ["servers:"]
    for title, entry in _entries(text).items():
        lines.extend(f"  {line}" for line in _server(title, entry, taken))
    if not any(line.startswith("  - ") for line in lines):
        lines[0] = "servers: []"
    return "\n".join(lines) + "\n"


def _entries(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as refused:
        where = f", line {refused.lineno}" if isinstance(refused, json.JSONDecodeError) else ""
        raise ValueError(f"not JSON{where}; remove comments and trailing commas, if there are any")
    for key in ("mcpServers", "servers"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            return {str(title): entry for title, entry in found[key].items()}
    raise ValueError("no mcpServers or servers in it, expected the configuration file of an MCP client")


def _server(title: str, entry: Any, taken: _Taken) -> Iterator[str]:
    shown = _comment_text(title)
    url = _url_of(entry)
    if url is None:
        starts = isinstance(entry, dict) and "command" in entry
        why = "it starts a process; the gateway starts none, so put it behind an HTTP bridge"
        yield f"# {shown}: left out: {why if starts else 'it has no URL'}"
        return
    try:
        transport = _transport_of(entry, url)
        upstream, endpoint = _split_endpoint(url)
    except ValueError as objection:
        yield f"# {shown}: left out: {objection}"
        return
    name = taken.name_for(title)
    yield f"- name: {_value(name)}"
    if name != title:
        yield f"  title: {_value(_plain(title))}"
    yield f"  endpoints: {{{transport}: {_value(endpoint)}}}"
    yield "  upstreams:"
    yield f"    - url: {_value(upstream)}"
    yield from _headers(name, entry.get("headers"))


def _url_of(entry: Any) -> str | None:
    found = (entry.get(key) for key in _URL_KEYS) if isinstance(entry, dict) else ()
    return next((each for each in found if isinstance(each, str)), None)


def _transport_of(entry: Mapping[str, Any], url: str) -> str:
    word = entry.get("type", entry.get("transport"))
    if word is None:
        return "sse" if url.rstrip("/").endswith("/sse") else "streamable-http"
    if str(word).lower() not in _WORDS_OF_TRANSPORTS:
        raise ValueError("a transport that the gateway does not know")
    return _WORDS_OF_TRANSPORTS[str(word).lower()]


def _split_endpoint(url: str) -> tuple[str, str]:
    """An endpoint's URL as the upstream's URL and the path below it, which is the last segment."""
    parts = addresses.upstream_url(url)
    slash = "/" if url.endswith("/") and parts.base_path else ""
    above, _, last = parts.base_path.rpartition("/")
    endpoint = addresses.endpoint_path(f"/{last}{slash}")
    port = None if parts.port == addresses.DEFAULT_PORTS[parts.scheme] else parts.port
    return f"{parts.scheme}://{addresses.Authority(parts.host, port)}{above}", endpoint


def _headers(name: str, headers: Any) -> Iterator[str]:
    given = {header.lower(): header for header in headers} if isinstance(headers, dict) else {}
    settable = {header for header in given.values() if _is_settable(header)}
    if settable:
        yield "  headers:"
        yield "    set:"
    for header in given.values():
        if header not in settable:
            yield f"  # header {_comment_text(header)}: left out: the gateway writes it itself, or it is none"
            continue
        variable = re.sub(r"[^A-Z0-9]+", "_", f"MCP_{name}_{header}".upper())
        value = f"${{{variable}:?set it to the value of the header}}"
        yield f"      {json.dumps(header)}: {json.dumps(value)}"


def _is_settable(header: str) -> bool:
    try:
        return bool(grammar.header_name(header))
    except ValueError:
        return False


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)[:200]


def _comment_text(text: str) -> str:
    return _plain(text) or "(no name)"


def _value(text: str) -> str:
    """A YAML value: JSON's strings are YAML's double-quoted ones, as long as no surrogate is escaped."""
    if re.fullmatch(r"[a-z][a-z0-9-]*", text) and text not in {"true", "false", "null"}:
        return text
    return json.dumps(text.replace("$", "$$"), ensure_ascii=False)
