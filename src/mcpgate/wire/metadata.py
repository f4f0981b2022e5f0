"""
Metadata of protected resources (RFC 9728): where a client learns which authorization server gives tokens.

Lives here: the address of a resource's document, and the documents themselves, ours and those that we publish for a
server with its own OAuth. Does not live here: the challenge that names the address (``wire/bearer.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote, unquote_to_bytes

import msgspec

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "WELL_KNOWN",
    "document",
    "document_path",
    "named_target",
    "published_at",
    "republished",
    "resource_path",
    "upstream_candidates",
]

WELL_KNOWN = b"/.well-known/oauth-protected-resource"

#: Only what can stand in a request line.
_TARGET = re.compile(rb"/[!-\[\]-~]*")
_FROM = b"?from="

#: Documents have some hundred bytes; a long list of scopes makes some thousand.
MAX_DOCUMENT_BYTES = 65536

#: Signed claims rank above the plain ones (RFC 9728 section 2.2), and those name the server's own resource.
_SIGNED = "signed_metadata"


def document_path(resource: bytes) -> bytes:
    """
    The path of a resource's document: the well-known one put in front (RFC 9728 section 3.1).

    :param resource: the path of the resource; a lone slash counts as none.
    """
    return WELL_KNOWN + (resource if resource != b"/" else b"")


def resource_path(path: bytes) -> bytes | None:
    """
    The path of the resource whose document a client asks for: the inverse of `document_path`.

    :returns: ``b""`` for the whole host, ``None`` if this is not the path of a document.
    """
    rest = path[len(WELL_KNOWN) :]
    return rest if path.startswith(WELL_KNOWN) and rest[:1] in (b"", b"/") else None


def document(resource: str, authorization_servers: Sequence[str], scopes: Sequence[str] = (), name: str = "") -> bytes:
    """
    The document of a resource of ours (RFC 9728 section 2), as JSON.

    :param resource: URL. Clients want one whose path is a whole-segment prefix of the URL that they use.
    :param authorization_servers: issuers. RFC 9728 admits none, MCP wants one; Python clients read no document
        without.
    """
    members: dict[str, object] = {
        "resource": resource,
        "authorization_servers": list(authorization_servers),
        "scopes_supported": list(scopes),
        "bearer_methods_supported": ["header"],
        "resource_name": name,
    }
    # RFC 9728 section 3.2: what has no elements is left out.
    return msgspec.json.encode({key: value for key, value in members.items() if value})


def republished(body: bytes, resource: str) -> bytes:
    """
    A server's own document as we publish it: about the resource at our address, else as the server says.

    Encoded anew, so that it is one JSON object to every reader.

    :raises ValueError: if it is larger than ``MAX_DOCUMENT_BYTES``, or not the JSON of a document.
    """
    if len(body) > MAX_DOCUMENT_BYTES:
        raise ValueError("the document is too large")
    try:
        members = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a JSON object: {type(error).__name__}")
    if not isinstance(members.get("resource"), str):
        raise ValueError("the document names no resource")
    servers = members.get("authorization_servers", [])
    if not isinstance(servers, list) or not all(isinstance(server, str) for server in servers):
        raise ValueError("authorization_servers is not a list of URLs")
    members.pop(_SIGNED, None)
    return msgspec.json.encode(members | {"resource": resource})


def published_at(published: bytes, own_target: Callable[[bytes], bytes | None], url: bytes) -> bytes:
    """
    The address under which we publish the document that a server has at ``url``.

    One at a path of the server's own choice is named in the query, for `named_target` to find it again.

    :param published: our address for the resource.
    :param own_target: path and query of a URL at the server; ``None`` for others, which are never asked.
    """
    target = own_target(url)
    if target is None or WELL_KNOWN in target:
        return published
    return published + _FROM + quote(target, safe="/").encode("ascii")


def named_target(target: bytes, own_target: Callable[[bytes], bytes | None]) -> list[bytes]:
    """The path of the server's own choice in the target of a request for its document; empty if there is none."""
    _, mark, named = target.partition(_FROM)
    found = unquote_to_bytes(named)
    own = own_target(found) if mark and _TARGET.fullmatch(found) else None
    return [own] if own is not None else []


def upstream_candidates(base: bytes, resources: Iterable[bytes]) -> list[bytes]:
    """
    Where a server with its own OAuth may have its document: request targets to try, best first.

    A server that lies under a path knows of it (then the well-known path stands in front of all) or does not (then it
    stands behind that path). What serves one document for everything has it at the root.

    :param base: path of the replica's URL without trailing slash, ``b""`` for the root.
    :param resources: paths under which the server may know the resource: the mapped one, with the base in front; the
        public one, if it was told that; its endpoint.
    """
    found: list[bytes] = []
    for resource in (*resources, b""):
        found.append(document_path(resource))
        if base and resource in (b"", base):
            found.append(base + WELL_KNOWN)
        elif base and resource.startswith(base + b"/"):
            found.append(base + document_path(resource[len(base) :]))
    return list(dict.fromkeys(found))
