"""
Addresses and paths as they are written in the configuration: hosts, origins, upstream URLs, paths, listen
strings.

Pure functions, strict on purpose: what two readers could understand differently is refused. Each raises
:class:`ValueError` with a message that reads on after "this value is" and never repeats the value.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass
from typing import NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_HOST_LENGTH = 253  # RFC 1035 section 2.3.4, without the root's dot
_MAX_PORT = 65535
#: By scheme (RFC 9110 section 4.2).
DEFAULT_PORTS = {"http": 80, "https": 443}
# RFC 3986 section 3.3, without percent-encoding and the semicolon, which readers of paths disagree about.
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)+/?")
_ENCODED_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})+)*/?")
_DOT = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
#: The gateway answers these itself, on every data listener.
OWN_PATHS = ("/mcp/discovery", "/v0.1", "/.well-known")

# The parameters of Twisted's endpoint strings by kind: which stand in order, which are named.
_LISTEN_PARAMETERS: dict[str, tuple[str, ...]] = {
    "tcp": ("port", "interface", "backlog"),
    "ssl": (
        "port",
        "privateKey",
        "certKey",
        "sslmethod",
        "interface",
        "extraCertChain",
        "dhParameters",
        "backlog",
    ),
    "tls": ("path", "port", "backlog", "interface"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
_LISTEN_DEFAULTS = {"tls": {"port": "443", "interface": "::"}}
_LISTEN_REQUIRED = {"tcp": "port", "ssl": "port", "tls": "path", "unix": "address", "systemd": "domain"}
_LISTEN_EXAMPLE = "expected a Twisted endpoint such as tcp:8700:interface=127.0.0.1"


class Authority(NamedTuple):
    """A host, without brackets if it is an IPv6 address, in lower case; and the port, if one is written."""

    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


class UpstreamUrl(NamedTuple):
    """Where a replica listens; ``base_path`` is empty or starts with a slash and does not end with one."""

    scheme: str
    host: str
    port: int
    base_path: str


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """
    One Twisted endpoint string, taken apart as far as the gateway must understand it.

    ``port`` is None for unix and systemd; ``host`` is empty where all interfaces are meant; ``path`` is the
    socket of a unix address.
    """

    kind: str
    host: str = ""
    port: int | None = None
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A systemd socket is not known, so it is not."""
        return self.kind == "unix" or _is_loopback(self.host)

    def collides(self, other: ListenAddress) -> bool:
        """Whether the system would not let both be open at once, as far as that can be read from the text."""
        if self.port is None or other.port is None:
            return self.kind == other.kind == "unix" and self.path == other.path
        everywhere = {"", "0.0.0.0", "::"}
        overlap = self.host == other.host or not everywhere.isdisjoint((self.host, other.host))
        return overlap and self.port == other.port != 0

    @property
    def origin(self) -> str | None:
        """The origin by which a client on this machine reaches it, or None where there is no such thing."""
        if self.port is None:
            return None
        scheme = "http" if self.kind == "tcp" else "https"
        port = None if self.port == DEFAULT_PORTS[scheme] else self.port
        return f"{scheme}://{Authority(self.local_host, port)}"

    @property
    def local_host(self) -> str:
        """Its host as seen from this machine: the loopback address where all interfaces are meant."""
        return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)


def authority(text: str) -> Authority:
    """A host name, IPv4 address or bracketed IPv6 address, with or without a port (RFC 3986 section 3.2)."""
    if "@" in text:
        raise ValueError("an address with a user name or password, expected none; see headers.set")
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise ValueError("not a host, expected one such as mcp.example.com, 10.0.0.1:8080 or [::1]")
    six, name, port = match.groups()
    if port is not None and int(port) > _MAX_PORT:
        raise ValueError(f"an address with an impossible port, expected 1 to {_MAX_PORT}")
    host = _ipv6(six) if six is not None else _host_name(name)
    return Authority(host, None if port is None else int(port))


def host(text: str) -> str:
    """One entry of the hosts a gateway answers to, in lower case, with its port if that is written."""
    return str(authority(text))


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError("not an IPv6 address, expected one such as [::1]")


def _host_name(text: str) -> str:
    labels = text.split(".")
    if len(text) > _MAX_HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("not a host name, expected labels of letters, digits and hyphens between dots")
    # A name that ends in a number is an IPv4 address to some resolvers ("127.1", "0x7f.0.0.1") and a name to
    # others.
    if re.fullmatch("[0-9]+|0[xX][0-9A-Fa-f]*", labels[-1]):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            raise ValueError("not an IPv4 address, expected four decimal numbers such as 127.0.0.1")
    return text.lower()


def origin(text: str) -> str:
    """
    An origin as browsers send it: scheme, host, and a port that is not the scheme's (RFC 6454 section 6.2).

    Scheme and host come back in lower case.
    """
    scheme, where, path, rest = _split(text)
    if path or rest:
        raise ValueError("more than an origin, expected nothing behind the host and port, not even a slash")
    named = authority(where)
    port = None if named.port == DEFAULT_PORTS.get(scheme) else named.port
    return f"{scheme}://{Authority(named.host, port)}"


def web_origin(text: str) -> str:
    """An origin whose scheme is http or https."""
    found = origin(text)
    if not found.startswith(("http://", "https://")):
        raise ValueError("an address with another scheme, expected http:// or https://")
    return found


def _split(text: str) -> tuple[str, str, str, str]:
    """Scheme (lower case), authority, path, and everything from the first ``?`` or ``#`` on."""
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("not a URL, expected one such as http://127.0.0.1:3010")
    scheme, where, path, rest = match.groups()
    return scheme.lower(), where, path, rest


def upstream_url(text: str) -> UpstreamUrl:
    """A replica's address: http or https, a host, perhaps a port, perhaps a base path; nothing else."""
    scheme, where, path, rest = _split(text)
    if scheme not in DEFAULT_PORTS:
        raise ValueError("a URL with another scheme, expected http:// or https://")
    named = authority(where)
    if rest:
        raise ValueError("a URL with a query or fragment, expected neither")
    if _ENCODED_PATH.fullmatch(path) is None:
        raise ValueError("a URL with a malformed base path, expected one such as /base")
    _refuse_dot_segments(path)
    return UpstreamUrl(scheme, named.host, named.port or DEFAULT_PORTS[scheme], path.rstrip("/"))


def upstream_text(text: str) -> str:
    """The same check, giving the text back."""
    upstream_url(text)
    return text


def web_page(text: str) -> str:
    """A link for people: http or https and a host; the rest is not looked at closely."""
    scheme, where, _path, _rest = _split(text)
    if scheme not in DEFAULT_PORTS or not text.isprintable() or " " in text:
        raise ValueError("not a link, expected an http:// or https:// URL")
    authority(where)
    return text


def issuer(text: str) -> str:
    """
    What tokens name as their issuer, given back as it was written: it is compared character by character.

    An http or https URL without query and fragment (RFC 8414 section 2; http for issuers in the same network).
    """
    scheme, where, path, rest = _split(text)
    if scheme not in DEFAULT_PORTS:
        raise ValueError("a URL with another scheme, expected https:// or http://")
    authority(where)
    if rest:
        raise ValueError("a URL with a query or fragment, expected neither")
    if not path.isprintable() or " " in path:
        raise ValueError("not a URL, expected one such as https://idp.example.com/")
    return text


def issuer_host(text: str) -> str:
    """The host of an issuer, without its port; empty if it has none."""
    try:
        return authority(_split(text)[1]).host
    except ValueError:
        return ""


def keys_url(text: str) -> str:
    """
    Where signing keys are fetched: https, or http from this machine itself, where nobody can put others in between.
    """
    scheme, where, path, rest = _split(text)
    named = authority(where)
    if scheme not in DEFAULT_PORTS:
        raise ValueError("a URL with another scheme, expected https://")
    if scheme == "http" and not _is_loopback(named.host):
        raise ValueError("an http:// URL of another machine, expected https://: who signs tokens must be certain")
    if "#" in rest or not (path + rest).isprintable() or " " in path + rest:
        raise ValueError("not the URL of keys, expected one without blanks and fragment")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_path(text: str) -> str:
    """The path under which a server appears: absolute, no slash at the end, not one of the gateway's own."""
    if text == "/":
        raise ValueError("the root, expected a path such as /mcp/github")
    endpoint_path(text)
    if text.endswith("/"):
        raise ValueError("a path with a slash at the end, expected none")
    taken = next((own for own in OWN_PATHS if text == own or text.startswith(f"{own}/")), None)
    if taken is not None:
        raise ValueError(f"an address of the gateway itself, expected one that is not {taken} or below it")
    return text


def endpoint_path(text: str) -> str:
    """The path of an MCP endpoint below its server's address; ``/`` is the address itself with a slash."""
    if not text.startswith("/"):
        raise ValueError("not an absolute path, expected it to start with a slash")
    if "?" in text or "#" in text:
        raise ValueError("a path with a query or fragment, expected neither")
    if text != "/" and _PATH.fullmatch(text) is None:
        raise ValueError("not a plain path, expected segments without blanks, %, ; and empty segments")
    _refuse_dot_segments(text)
    return text


def _refuse_dot_segments(path: str) -> None:
    if any(_DOT.fullmatch(segment) for segment in path.split("/")):
        raise ValueError("a path with a dot segment, expected the path that it stands for")


def network(text: str) -> Network:
    """An IP network or a single address, such as ``10.0.0.0/8`` or ``::1``."""
    if "%" in text:
        raise ValueError("an address with a zone, expected none")
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("not a network, expected one such as 10.0.0.0/8 or 127.0.0.1")
    raise ValueError("a network with bits set behind its prefix, expected its first address")


def listen_address(text: str) -> ListenAddress:
    """
    A Twisted endpoint string, checked as far as that is possible without opening anything.

    :raises ValueError: for an unknown kind or parameter, and for an impossible port.
    """
    words = _endpoint_words(text)
    kind = words[0][0]
    if kind not in _LISTEN_PARAMETERS or len(words[0]) > 1:
        kinds = " ".join(f"{known}:" for known in _LISTEN_PARAMETERS)
        raise ValueError(f"not a listen address ({kinds}), {_LISTEN_EXAMPLE}")
    given = _LISTEN_DEFAULTS.get(kind, {}) | _endpoint_parameters(kind, words[1:])
    if not given.get(_LISTEN_REQUIRED[kind]):
        raise ValueError(f"a {kind}: address without {_LISTEN_REQUIRED[kind]}, {_LISTEN_EXAMPLE}")
    port = _listen_port(given["port"]) if "port" in given else None
    return ListenAddress(kind, given.get("interface", ""), port, given.get("address", ""))


def listen_text(text: str) -> str:
    """The same check, giving the text back."""
    listen_address(text)
    return text


def _endpoint_words(text: str) -> list[list[str]]:
    """Colons separate parameters, ``=`` a name from its value; a backslash takes the next one literally."""
    if not text.isprintable():
        raise ValueError(f"text with control characters, {_LISTEN_EXAMPLE}")
    words = [[""]]
    characters = iter(text)
    for character in characters:
        if character == ":":
            words.append([""])
        elif character == "=" and len(words[-1]) == 1:
            words[-1].append("")
        else:
            words[-1][-1] += next(characters, "") if character == "\\" else character
    return words


def _endpoint_parameters(kind: str, words: list[list[str]]) -> dict[str, str]:
    names = _LISTEN_PARAMETERS[kind]
    ordered = [word[0] for word in words if len(word) == 1]
    if len(ordered) > len(names):
        raise ValueError(f"an address with too many parameters for {kind}:, expected {' '.join(names)}")
    given = dict(zip(names, ordered, strict=False))
    for name, value in (word for word in words if len(word) == 2):
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f", did you mean {near[0]}?" if near else ""
            known = " ".join(names)
            raise ValueError(f"an address with a parameter unknown to {kind}:, expected {known}{hint}")
        given[name] = value
    return given


def _listen_port(text: str) -> int:
    # 0 lets the system choose, which tests and one-off runs want.
    if re.fullmatch("0|[1-9][0-9]{0,4}", text) is None or int(text) > _MAX_PORT:
        raise ValueError(f"an address with an impossible port, expected 0 to {_MAX_PORT}; {_LISTEN_EXAMPLE}")
    return int(text)
