"""
Sessions that lead back to their replica and are worth nothing to anybody else, without a table of them.

A client gets the server's own session id with a seal behind it: which replica it belongs to, and a MAC (HMAC-SHA-256,
128 bits of it) over server, replica, principal and id. Any process that has the key can read it. The tag of the replica
is masked, since from the hash of an internal address the address could be guessed.

A seal is 30 letters of base64url: the masked tag (6 bytes) and the MAC (16). It stands behind the id in a header
(``ID.SEAL``), and in the address of a legacy ``endpoint`` event as one more parameter at its end (``&mcpgate=SEAL``):
the bytes in front of it are the server's own.

What cannot be found out is a session that a server keeps in the path of the address; its seal can be left off.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

__all__ = ["Bond", "Opened", "Seal", "is_marked", "names_session", "replica_tag"]

_TAG_BYTES = 6  # 2**48: two of a server's replicas do not meet by accident, and nobody can choose them
_MAC_BYTES = 16
_SEAL_LETTERS = 30  # of base64 for 22 bytes, without padding
#: RFC 2104 section 2: the block of the hash, and what its bytes are combined with.
_BLOCK_BYTES = 64
_INNER, _OUTER = bytes(byte ^ 0x36 for byte in range(256)), bytes(byte ^ 0x5C for byte in range(256))
#: Sessions that were sealed or opened last: a client that was given one opens its stream next. 0.4 KiB each.
_MAX_REMEMBERED = 512
_MAX_REMEMBERED_BYTES = 256  # ids are UUIDs and the like, but a server may say what it likes
_PARAMETER = b"mcpgate="
#: A seal in a header opens nothing in a query, and the other way round.
_IN_HEADER, _IN_TARGET = b"id", b"target"

_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")  # RFC 4648 section 5
_SEAL = re.compile(rb"[A-Za-z0-9_-]{29}[AQgw]")  # the last letter has two bits only, so there is one spelling
_SEPARATORS = re.compile(rb"[&;]")  # WHATWG URL 5.1; ";" for older readers
_NO_LETTERS = re.compile(rb"[^a-z0-9]")
_SESSION = re.compile(rb".*sessionid.*|(?:mcp)?session[0-9]*", re.DOTALL)


class Bond(NamedTuple):
    """
    What a session is bound to.

    :ivar server: its name.
    :ivar tag: of the replica, from :func:`replica_tag`.
    :ivar principal: empty if nobody is known.
    """

    server: bytes
    tag: bytes
    principal: bytes


class Opened(NamedTuple):
    """The tag of the replica, and the session id or the target as the server wrote it."""

    tag: bytes
    text: bytes


class Seal:
    """
    Seals and opens session ids and the targets of ``endpoint`` events.

    :param keys: secrets of at least 16 bytes; the first one seals, all of them open.
    :raises ValueError: if there is no key, or a short one.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(map(_Key, keys))
        if not self._keys:
            raise ValueError("a seal needs a key")
        self._remembered: dict[tuple[bytes, bytes, bytes], Opened] = {}

    def seal_id(self, session: bytes, bond: Bond) -> bytes:
        """The session id for a client: the server's own one, and 31 more bytes."""
        sealed = session + b"." + self._keys[0].seal(_IN_HEADER, session, bond)
        self._remember((sealed, bond.server, bond.principal), Opened(bond.tag, session))
        return sealed

    def open_id(self, sealed: bytes, server: bytes, principal: bytes) -> Opened | None:
        """
        Open what a client presents as its session.

        It takes 6 us where the SHA-256 of 1 KiB takes 3.4, and 0.2 if it is remembered; once for each head that a
        connection repeats.

        :returns: ``None`` if it was not sealed by one of the keys, for this server and this principal; nobody is told
            which of it.
        """
        presented = sealed, server, principal
        opened = self._remembered.get(presented)  # the hash is keyed: how long this takes tells nothing of a guess
        if opened is None:
            opened = self._open_id(*presented)
            if opened is not None:
                self._remember(presented, opened)
        return opened

    def _open_id(self, sealed: bytes, server: bytes, principal: bytes) -> Opened | None:
        session, seal = sealed[: -_SEAL_LETTERS - 1], sealed[-_SEAL_LETTERS:]
        if sealed != session + b"." + seal:
            return None
        return self._open(_IN_HEADER, session, seal, server, principal)

    def _remember(self, presented: tuple[bytes, bytes, bytes], opened: Opened) -> None:
        if len(presented[0]) > _MAX_REMEMBERED_BYTES:
            return
        if len(self._remembered) >= _MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[presented] = opened

    def seal_target(self, target: bytes, bond: Bond) -> bytes:
        """The target for a client: ``target``, which has no fragment, and one more parameter at the end."""
        return target + _mark(target) + self._keys[0].seal(_IN_TARGET, target, bond)

    def open_target(self, target: bytes, server: bytes, principal: bytes) -> Opened | None:
        """
        Open the target of a request; one in whose middle or start the parameter stands is not opened.

        :returns: as :meth:`open_id`; ``text`` has the bytes that were sealed.
        """
        own, seal = target[: -_SEAL_LETTERS - len(_PARAMETER) - 1], target[-_SEAL_LETTERS:]
        if target != own + _mark(own) + seal:
            return None
        return self._open(_IN_TARGET, own, seal, server, principal)

    def _open(self, place: bytes, text: bytes, seal: bytes, server: bytes, principal: bytes) -> Opened | None:
        packed = _packed(seal)
        if packed is None:
            return None
        masked, mac = packed[:_TAG_BYTES], packed[_TAG_BYTES:]
        for key in self._keys:
            tag = key.masked(masked, mac)
            if hmac.compare_digest(mac, key.mac(place, text, (server, tag, principal))):
                return Opened(tag, text)
        return None


class _Key:
    """One secret, and what is made with it."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _MAC_BYTES:
            raise ValueError(f"a key of a seal has at least {_MAC_BYTES} bytes")
        # HMAC as RFC 2104 writes it, with both hashes begun: 1.4 us, against 2.1 for a copy of what `hmac.new` gives.
        block = (secret if len(secret) <= _BLOCK_BYTES else hashlib.sha256(secret).digest()).ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER))
        self._outer = hashlib.sha256(block.translate(_OUTER))
        self._mask = hashlib.sha256(hmac.digest(secret, b"mask", "sha256"))

    def seal(self, place: bytes, text: bytes, bond: Bond) -> bytes:
        mac = self.mac(place, text, bond)
        return _letters(self.masked(bond.tag, mac) + mac)

    def mac(self, place: bytes, text: bytes, bond: tuple[bytes, bytes, bytes]) -> bytes:
        server, tag, principal = bond
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(b"%b %d %d:%b%b%b%b" % (place, len(server), len(principal), server, principal, tag, text))
        outer.update(inner.digest())
        return outer.digest()[:_MAC_BYTES]

    def masked(self, tag: bytes, mac: bytes) -> bytes:
        """Hide a tag, or show a hidden one: each MAC has its own mask."""
        mask = self._mask.copy()
        mask.update(mac)
        shown = int.from_bytes(tag, "big") ^ int.from_bytes(mask.digest()[:_TAG_BYTES], "big")
        return shown.to_bytes(_TAG_BYTES, "big")


def is_marked(target: bytes) -> bool:
    """Say whether a query has our parameter, however that is spelled: such a target is opened, or it is refused."""
    return any(_NO_LETTERS.sub(b"", name.lower()) == b"mcpgate" for name in _parameter_names(target))


def names_session(target: bytes) -> bool:
    """
    Say whether a query names a session of the legacy transport, which must not pass unsealed where sessions are bound.

    Servers call it ``sessionId``, ``session_id``, ``sessionid`` or ``session``; and ``clientId`` (php-mcp), which
    counts in this spelling alone, since OAuth has a ``client_id``. Otherwise case, separators and brackets are left
    aside: ``[sessionId]=x`` is the same to Express, and ``sessionId[]=x`` a list that JavaScript takes for its member.
    """
    return any(
        name == b"clientId" or _SESSION.fullmatch(_NO_LETTERS.sub(b"", name.lower()))
        for name in _parameter_names(target)
    )


def replica_tag(url: str) -> bytes:
    """What stands for a replica in seals, the same in every process and after every reload (6 bytes)."""
    return hashlib.sha256(url.encode("utf-8")).digest()[:_TAG_BYTES]


def _parameter_names(target: bytes) -> Iterator[bytes]:
    query = target.partition(b"?")[2]
    return (unquote_to_bytes(part.partition(b"=")[0]) for part in _SEPARATORS.split(query)) if query else iter(())


def _mark(target: bytes) -> bytes:
    return (b"?" if target.find(b"?") < 0 else b"&") + _PARAMETER


def _letters(packed: bytes) -> bytes:
    return binascii.b2a_base64(packed, newline=False).translate(_TO_URL, b"=")


def _packed(letters: bytes) -> bytes | None:
    return binascii.a2b_base64(letters.translate(_FROM_URL) + b"==") if _SEAL.fullmatch(letters) else None
