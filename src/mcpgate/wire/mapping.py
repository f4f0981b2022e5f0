"""
Where a public path lies at the upstream, and back.

Lives here: the one mapping between the paths clients see (``/mcp/NAME/...``) and the paths one replica
sees, for request targets, ``Location``, ``Set-Cookie`` and the legacy ``endpoint`` event. Does not live here:
which server a path belongs to (``policy/routing.py``) and finding the ``endpoint`` event in a stream
(``wire/sse.py``).

Two rules hold for every address that is rewritten for a client. It is path-absolute, never a full URL, so
nothing here needs to know under which scheme and host the gateway is reached. And it lies under the server's
own public prefix: all servers share one origin, so a path outside the prefix would reach a neighbour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["ForeignEndpoint", "PathMap", "has_dot_segment"]

_SLASH, _DOT, _PERCENT = b"/.%"

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")

# RFC 3986 appendix B, but with the grammar of a scheme (3.1): clients' resolvers take "1a:b" for a path.
_REFERENCE = re.compile(
    rb"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?",
    re.DOTALL,
)
# No userinfo: "http://upstream@elsewhere/" must never look like the upstream.
_AUTHORITY = re.compile(rb"([^@:\[\]\\]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_DEFAULT_PORTS = {b"http": 80, b"https": 443}  # RFC 9110 4.2.1 and 4.2.2

# Both are written into header values, the prefix into a cookie attribute as well (hence no ";" there).
_PUBLIC_PREFIX = re.compile(rb"(?:/[^/?#;\\\x00-\x20\x7f]+)*")
_UPSTREAM_BASE = re.compile(rb"(?:/[^?#\\\x00-\x20\x7f]*(?<!/))?")

# Python resolves without the parameters of the last segment, so the ".." before them becomes a step up.
_PARAMETERS_BEHIND_DOTS = re.compile(rb"/\.\.;[^/]*\Z")

_DOT_SEGMENT = re.compile(rb"/(?:\.|%2[eE]){1,2}(?:/|\Z)")


class ForeignEndpoint(ValueError):
    """
    The upstream announced an endpoint that the gateway cannot or must not offer to its client.

    ``str()`` is the reason alone and safe to show. ``reference`` is what the upstream sent, without its query
    (which holds the session); it belongs in the log only.
    """

    def __init__(self, reason: str, reference: bytes) -> None:
        super().__init__(reason)
        self.reference = reference.partition(b"?")[0]


class _Reference(NamedTuple):
    """A URI reference taken apart; ``query`` and ``fragment`` keep their mark."""

    scheme: bytes | None
    authority: bytes | None
    path: bytes
    query: bytes
    fragment: bytes


@dataclass(frozen=True, slots=True)
class PathMap:
    """
    The mapping between one server's public prefix and one replica.

    :param public_prefix: such as ``b"/mcp/x"``; no trailing slash, ``b""`` for a server at the root.
    :param scheme: of the replica, ``b"http"`` or ``b"https"``.
    :param authority: ``host[:port]`` of the replica.
    :param base: path of the replica's URL without trailing slash, ``b""`` for the root.
    :param strip_prefix: false if the replica itself serves under the public prefix (behind ``base``).
    :param aliases: further origins (``b"http://localhost:3010"``) under which the replica speaks of itself.
    :raises ValueError: if a path or an origin is not of that form.
    """

    public_prefix: bytes
    scheme: bytes
    authority: bytes
    base: bytes = b""
    strip_prefix: bool = True
    aliases: tuple[bytes, ...] = ()
    _mount: bytes = field(init=False, repr=False, compare=False)
    _prefix_bytes: int = field(init=False, repr=False, compare=False)
    _origins: frozenset[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _PUBLIC_PREFIX.fullmatch(self.public_prefix) or has_dot_segment(self.public_prefix):
            raise ValueError(f"not a public prefix: {self.public_prefix!r}")
        if not _UPSTREAM_BASE.fullmatch(self.base) or has_dot_segment(self.base):
            raise ValueError(f"not an upstream base path: {self.base!r}")
        origins = frozenset(map(_plain_origin, (self.scheme + b"://" + self.authority, *self.aliases)))
        # What corresponds to the public prefix at the upstream; with it both kinds of server map alike.
        object.__setattr__(self, "_mount", self.base if self.strip_prefix else self.base + self.public_prefix)
        object.__setattr__(self, "_prefix_bytes", len(self.public_prefix))
        object.__setattr__(self, "_origins", origins)

    def to_upstream(self, target: bytes) -> bytes:
        """
        Give the upstream's request target for a public one.

        :param target: path and query; the path is the public prefix or lies under it, without dot segments.
        :returns: the same bytes with the prefix exchanged; ``/`` where nothing would be left.
        """
        rest = target[self._prefix_bytes :]
        if rest and rest[0] == _SLASH:  # 250 ns in all; 380 ns with startswith
            return self._mount + rest  # behind an empty mount this is the slice itself, not a copy
        return (self._mount or b"/") + rest

    def to_public(self, path: bytes) -> bytes | None:
        """
        Give the public path for an upstream path: the inverse of :meth:`to_upstream`.

        The upstream's root comes back with its slash (``/mcp/x/``), although ``/mcp/x`` leads there too.

        :param path: path-absolute, dot segments already resolved; a query may follow.
        :returns: ``None`` if the path does not lie where this server is mounted.
        """
        rest = path[len(self._mount) :]
        if not path.startswith(b"/") or not path.startswith(self._mount) or rest[:1] not in (b"", b"/", b"?"):
            return None
        return self.public_prefix + rest

    def location(self, value: bytes, request_target: bytes) -> bytes:
        """
        Rewrite the ``Location`` of an upstream's answer for the client (RFC 9110 10.2.2).

        An address at the upstream or an alias becomes path-absolute under the public prefix, whatever its
        form; query and fragment keep their bytes. Unchanged stay: other origins, what cannot be understood,
        and addresses of the upstream outside its base, since nothing public leads there.

        :param request_target: what the gateway sent upstream, against which relative references resolve.
        :returns: the value to send; ``b""`` means drop the header (it held control bytes).
        """
        if _CONTROL.search(value):
            return b""
        target = self._resolve(value, request_target)
        if target is None:
            return value
        path, _ = _without_dot_segments(target.path)
        public = self._publish(path, request_target)
        return value if public is None else public + target.query + target.fragment

    def own_target(self, url: bytes) -> bytes | None:
        """
        Path and query of an address where this server is mounted.

        :param url: absolute, at the replica or an alias, or path-absolute.
        :returns: ``None`` if it leads elsewhere, another path of the replica included, or holds a dot segment.
        """
        if _CONTROL.search(url) or url.startswith(b"//") or not (b"://" in url or url.startswith(b"/")):
            return None
        found = self._resolve(url, b"/")
        if found is None or has_dot_segment(found.path) or found.path.startswith(b"//"):
            return None
        return None if self.to_public(found.path) is None else found.path + found.query

    def public_fields(self, location: bytes | None, cookies: Iterable[bytes], request_target: bytes) -> bytes:
        """The `Location` and `Set-Cookie` lines of an answer as the client gets them; none for what is dropped."""
        fields = [(b"Location", self.location(location, request_target))] if location is not None else []
        fields += [(b"Set-Cookie", self.cookie(cookie)) for cookie in cookies]
        return b"".join(b"%b: %b\r\n" % (name, value) for name, value in fields if value)

    def endpoint(self, data: bytes, request_target: bytes) -> bytes:
        """
        Rewrite the data of a legacy ``endpoint`` event for the client (MCP 2024-11-05, HTTP with SSE).

        Clients resolve it against the public URL of their GET and demand the same origin; none keeps a
        prefix. So the answer is path-absolute under the prefix with the query byte for byte. A fragment is
        never sent and goes.

        :param request_target: what the gateway sent upstream for this stream.
        :raises ForeignEndpoint: for another origin or scheme, a path outside the upstream's base, dot
            segments that climb out, a backslash in the path (WHATWG resolvers read it as a slash) or
            control bytes.
        """
        if _CONTROL.search(data):
            raise ForeignEndpoint("the endpoint event holds control characters", data)
        data = data.partition(b"#")[0].strip(b" ")  # clients take spaces off, too
        target = self._resolve(data, request_target)
        if target is None:
            raise ForeignEndpoint("the endpoint event leads away from the server", data)
        path, climbed = _without_dot_segments(target.path)
        climbed = climbed or _PARAMETERS_BEHIND_DOTS.search(path) is not None
        public = None if climbed else self._publish(path, request_target)
        if public is None:
            raise ForeignEndpoint("the endpoint event leads out of the server's path", data)
        return public + target.query

    def cookie(self, value: bytes) -> bytes:
        """
        Confine a ``Set-Cookie`` value to this server's public prefix (RFC 6265 4.1.2, 5.2).

        ``Domain`` goes, ``Path`` is mapped or added, all other bytes stay.

        :returns: the value to send; ``b""`` means drop the header. That happens to ``__Host-`` cookies:
            browsers take them with ``Path=/`` only, which would hand them to every server behind the gateway,
            and refuse them with any other path. It also happens where the path lies outside the upstream's
            base: such a cookie would never come back to this server.
        """
        pair, *attributes = value.split(b";")
        named = [(_attribute_name(attribute), attribute) for attribute in attributes]
        paths = [attribute.partition(b"=")[2].strip() for name, attribute in named if name == b"path"]
        public = self._cookie_path(paths[-1] if paths else b"")  # the last one counts, RFC 6265 5.3
        # Browsers compare the prefix without regard to case (RFC 6265bis 5.7).
        if public is None or pair.strip().lower().startswith(b"__host-"):
            return b""
        kept = [pair]
        for name, attribute in named:
            if name == b"path":
                kept.append(attribute.partition(b"=")[0] + b"=" + public)
            elif name != b"domain":
                kept.append(attribute)
        if not paths:
            kept.append(b" Path=" + public)
        return b";".join(kept)

    def _cookie_path(self, path: bytes) -> bytes | None:
        mount = self._mount or b"/"
        if not path.startswith(b"/") or _cookie_path_matches(path, mount):
            return self.public_prefix or b"/"
        if _is_under(path, self.public_prefix) and not _is_under(mount, self.public_prefix):
            return path
        return self.to_public(path)

    def _resolve(self, reference: bytes, request_target: bytes) -> _Reference | None:
        """Resolve by RFC 3986 5.2.2, dot segments left in; ``None`` if it leads elsewhere or is malformed."""
        parts = _split(reference)
        if b"\\" in parts.path:
            return None
        if parts.scheme is not None or parts.authority is not None:
            if _origin(parts.scheme or self.scheme, parts.authority or b"") not in self._origins:
                return None
            return parts._replace(path=parts.path or b"/")
        here, mark, asked = request_target.partition(b"?")
        if not parts.path:
            return parts._replace(path=here, query=parts.query or mark + asked)
        if not parts.path.startswith(b"/"):
            return parts._replace(path=here[: here.rfind(b"/") + 1] + parts.path)
        return parts

    def _publish(self, path: bytes, request_target: bytes) -> bytes | None:
        """
        Give the public path for a resolved upstream path, also if the upstream knows its public prefix.

        A server that was told its prefix (an ASGI ``root_path``) sends public paths, and adding the prefix
        once more would break them. But where the upstream's own paths begin like the prefix (its base does,
        or this request's path did), such a path is the upstream's own and maps like any other.
        """
        prefix = self.public_prefix
        public = self.to_public(path)
        if not _is_under(request_target.partition(b"?")[0], prefix) and (
            path.startswith(prefix + b"/") or (path == prefix and public is None)
        ):
            return path
        # Can be without a prefix only: a path that a client would take for the name of a host.
        return None if public is not None and public.startswith(b"//") else public


def has_dot_segment(path: bytes) -> bool:
    """
    Say whether a segment is ``.`` or ``..``, plain or percent-encoded.

    Decoded once and split at literal slashes only (RFC 3986 6.2.2.3), so ``..%2f``, ``..;`` and
    ``%252e%252e`` are ordinary segments; they travel verbatim.

    :param path: path-absolute, without query.
    """
    # Most paths hold neither byte, and this costs 90 ns; the expression alone 400 ns. Looking for b"/." and
    # b"%2" would save it more often but takes 580 ns: `in` first tries its left side as a number and fails.
    if _DOT not in path and _PERCENT not in path:
        return False
    return _DOT_SEGMENT.search(path) is not None


def _without_dot_segments(path: bytes) -> tuple[bytes, bool]:
    """
    Remove dot segments from an absolute path (RFC 3986 5.2.4).

    Encoded ones too: WHATWG resolvers (browsers, Node) remove those, others do not, so only a path without
    them means the same to all. The second value says whether the path tried to climb above the root.
    """
    if not has_dot_segment(path):
        return path, False
    kept: list[bytes] = []
    climbed = False
    plain = b""
    for segment in path.split(b"/")[1:]:
        plain = segment.lower().replace(b"%2e", b".")
        if plain == b".." and kept:
            kept.pop()
        elif plain == b"..":
            climbed = True
        elif plain != b".":
            kept.append(segment)
    if plain in (b".", b".."):
        kept.append(b"")  # "/a/." is "/a/", not "/a"
    return b"/" + b"/".join(kept), climbed


def _split(reference: bytes) -> _Reference:
    found = _REFERENCE.fullmatch(reference)
    assert found is not None  # every part is optional, so anything matches
    scheme, authority, path, query, fragment = found.groups()
    return _Reference(scheme, authority, path, query or b"", fragment or b"")


def _origin(scheme: bytes, authority: bytes) -> bytes | None:
    """Write an origin in one way only, to be compared; ``None`` if the authority is not ``host[:port]``."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return None
    host, port = found.groups()
    scheme = scheme.lower()
    return b"%b://%b:%d" % (scheme, host.lower(), int(port) if port else _DEFAULT_PORTS.get(scheme, 0))


def _plain_origin(url: bytes) -> bytes:
    parts = _split(url)
    origin = _origin(parts.scheme or b"", parts.authority or b"")
    if origin is None or not parts.scheme or parts.path not in (b"", b"/") or parts.query or parts.fragment:
        raise ValueError(f"not an origin: {url!r}")
    return origin


def _is_under(path: bytes, prefix: bytes) -> bool:
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/")


def _cookie_path_matches(cookie_path: bytes, path: bytes) -> bool:
    """RFC 6265 5.1.4."""
    return path.startswith(cookie_path) and (
        cookie_path.endswith(b"/") or path[len(cookie_path) : len(cookie_path) + 1] in (b"", b"/")
    )


def _attribute_name(attribute: bytes) -> bytes:
    return attribute.partition(b"=")[0].strip().lower()
