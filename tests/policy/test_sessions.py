"""Session ids that are bound to a server, a replica and a principal."""

from __future__ import annotations

import base64
import hmac
import sys
from collections.abc import Iterator
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.policy.sessions import Bond, Opened, Seal, is_marked, names_session, replica_tag

KEY, OLDER, FOREIGN = b"k" * 32, b"o" * 32, b"f" * 32
TAG = replica_tag("http://10.0.0.5:3010/")
BOND = Bond(b"github-pm", TAG, b"alice")
SEAL = Seal([KEY])
ID = b"0d1c8a5e-9a3b-4b53-8f0e-5bb3f2a3cd11"
TARGET = b"/mcp/github-pm/messages/?session_id=0d1c8a5e"

#: What a session id may be made of (MCP 2025-11-25, "Session Management").
_ids = st.lists(st.sampled_from(range(0x21, 0x7F)), max_size=40).map(bytes)
_names = st.binary(max_size=12)
_bonds = st.builds(Bond, _names, st.binary(min_size=6, max_size=6), _names)
_queries = st.sampled_from(
    [
        b"",
        b"?",
        b"?a=b",
        b"?a=b&",
        b"?&",
        b"?a",
        b"?a=b?c=d",
        b"?a=%26&b=+",
        b"?a;b",
        b"??",
        b"?=",
        b"?mcpgate=",
        b"?a=b#",
    ]
)
_targets = st.builds(bytes.__add__, _ids.map(lambda path: b"/" + path.replace(b"?", b"")), _queries)


@PURE
@given(session=_ids, bond=_bonds)
def test_a_sealed_id_opens_again(session: bytes, bond: Bond) -> None:
    """Whatever the server calls its sessions, dots and all; and a client can send it in a header."""
    sealed = SEAL.seal_id(session, bond)
    assert SEAL.open_id(sealed, bond.server, bond.principal) == Opened(bond.tag, session)
    assert all(0x21 <= letter <= 0x7E for letter in sealed)
    assert len(sealed) == len(session) + 31


@PURE
@given(target=_targets, bond=_bonds)
def test_a_sealed_target_opens_again(target: bytes, bond: Bond) -> None:
    """Byte for byte: the server finds its own query in it, and nothing else."""
    sealed = SEAL.seal_target(target, bond)
    assert SEAL.open_target(sealed, bond.server, bond.principal) == Opened(bond.tag, target)
    assert sealed.startswith(target)
    assert is_marked(sealed)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/messages", b"/messages?mcpgate="),
        (b"/messages?", b"/messages?&mcpgate="),
        (b"/messages?a=b", b"/messages?a=b&mcpgate="),
        (b"/messages?a=b&", b"/messages?a=b&&mcpgate="),
    ],
)
def test_a_target_gets_one_more_parameter_at_its_end(target: bytes, expected: bytes) -> None:
    """Nothing else of it changes, so that any client can resolve it as it would have resolved the server's own."""
    sealed = SEAL.seal_target(target, BOND)
    assert sealed[:-30] == expected


@pytest.mark.parametrize(
    ("server", "principal"),
    [(b"github-pm", b"bob"), (b"gitlab", b"alice"), (b"github-pm", b""), (b"", b"alice"), (b"github-pma", b"lice")],
)
def test_a_seal_opens_for_its_server_and_principal_only(server: bytes, principal: bytes) -> None:
    """A session that somebody found or guessed is as good as lost to him."""
    assert SEAL.open_id(SEAL.seal_id(ID, BOND), server, principal) is None
    assert SEAL.open_target(SEAL.seal_target(TARGET, BOND), server, principal) is None


def test_another_key_opens_nothing() -> None:
    """Of another gateway, or one that nobody uses any more."""
    assert SEAL.open_id(Seal([FOREIGN]).seal_id(ID, BOND), b"github-pm", b"alice") is None
    assert SEAL.open_target(Seal([FOREIGN]).seal_target(TARGET, BOND), b"github-pm", b"alice") is None


def test_keys_are_exchanged_one_after_the_other() -> None:
    """The first one seals; sessions of older ones live on."""
    old, new = Seal([OLDER]), Seal([KEY, OLDER])
    assert new.open_id(old.seal_id(ID, BOND), b"github-pm", b"alice") == Opened(TAG, ID)
    assert new.open_target(old.seal_target(TARGET, BOND), b"github-pm", b"alice") == Opened(TAG, TARGET)
    assert old.open_id(new.seal_id(ID, BOND), b"github-pm", b"alice") is None
    assert new.seal_id(ID, BOND) == Seal([KEY]).seal_id(ID, BOND)


@pytest.mark.parametrize("keys", [[], [b""], [KEY, b"short"]])
def test_a_seal_needs_good_keys(keys: list[bytes]) -> None:
    """With an empty key everybody could seal."""
    with pytest.raises(ValueError, match="key"):
        Seal(keys)


def _with_one_bit_changed(whole: bytes) -> Iterator[bytes]:
    for place, letter in enumerate(whole):
        for bit in range(8):
            yield whole[:place] + bytes([letter ^ 1 << bit]) + whole[place + 1 :]


def test_an_id_with_a_changed_bit_opens_nothing() -> None:
    """In the id, in the dot, in the tag or in the MAC."""
    changed = _with_one_bit_changed(SEAL.seal_id(ID, BOND))
    assert {SEAL.open_id(each, b"github-pm", b"alice") for each in changed} == {None}


def test_a_target_with_a_changed_bit_opens_nothing() -> None:
    """Not in the server's own path or query either: nobody may take a seal to another address."""
    changed = _with_one_bit_changed(SEAL.seal_target(TARGET, BOND))
    assert {SEAL.open_target(each, b"github-pm", b"alice") for each in changed} == {None}


def test_a_seal_can_be_written_in_one_way_only() -> None:
    """The spare bits of its last letter, padding and other alphabets would be second names for the same session."""
    sealed = SEAL.seal_id(ID, BOND)
    last = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=\n"
    others = [sealed[:-1] + bytes([letter]) for letter in last]
    assert [other for other in others if SEAL.open_id(other, b"github-pm", b"alice") is not None] == [sealed]
    assert SEAL.open_id(sealed + b"==", b"github-pm", b"alice") is None


_SEALED = SEAL.seal_id(ID, BOND)


@pytest.mark.parametrize(
    "presented",
    [
        b"",
        b".",
        ID,
        ID + b".",
        _SEALED[:-1],
        _SEALED[1:],
        _SEALED[-30:],
        _SEALED[-31:],
        _SEALED + b".",
        _SEALED + _SEALED,
        _SEALED + b"," + _SEALED,
        _SEALED + b", " + _SEALED,
        _SEALED + _SEALED[-31:],
        _SEALED.upper(),
        b" " + _SEALED,
        _SEALED + b" ",
        b"." * 31,
        b"\xff" * 80,
    ],
)
def test_what_is_no_sealed_id_opens_nothing(presented: bytes) -> None:
    """Empty, cut, doubled, bare: as if the session were lost."""
    assert SEAL.open_id(presented, b"github-pm", b"alice") is None


_MARKED = SEAL.seal_target(TARGET, BOND)
_BARE = SEAL.seal_target(b"/messages", BOND)
_MARK = _MARKED[-30:]


@pytest.mark.parametrize(
    "presented",
    [
        b"",
        b"/",
        TARGET,
        TARGET + b"&mcpgate=",
        b"?mcpgate=" + _MARK,
        _MARKED[:-1],
        _MARKED + b"&",
        _MARKED + b"&a=b",
        _MARKED + b"#",
        _MARKED + b"&mcpgate=" + _MARK,
        TARGET + b"&mcpgate=x&mcpgate=" + _MARK,
        TARGET + b"&mcpgate=" + _MARK[:-1] + b"%" + b"%x" % _MARK[-1],
        TARGET + b"&Mcpgate=" + _MARK,
        TARGET + b"&%6dcpgate=" + _MARK,
        TARGET + b";mcpgate=" + _MARK,
        TARGET + b"?mcpgate=" + _MARK,
        TARGET + b"&&mcpgate=" + _MARK,
        TARGET.replace(b"?", b"?mcpgate=" + _MARK + b"&"),
        TARGET.replace(b"?", b"%3f") + b"&mcpgate=" + _MARK,
        _BARE.replace(b"?", b"&"),
        _BARE.replace(b"?", b"?&"),
        _BARE.replace(b"?", b"??"),
    ],
)
def test_a_target_opens_only_as_it_was_sealed(presented: bytes) -> None:
    """Our parameter in the middle, twice, in another spelling, or with something behind it: refused, not guessed."""
    assert SEAL.open_target(presented, b"github-pm", b"alice") is None


@PURE
@given(presented=st.one_of(st.binary(max_size=80), _targets, _ids.map(lambda id_: id_ + _SEALED[-31:])))
def test_nobody_makes_a_seal_by_chance(presented: bytes) -> None:
    """Whatever bytes come, they open nothing and break nothing."""
    assert SEAL.open_id(presented, b"github-pm", b"alice") in (None, Opened(TAG, ID))
    assert SEAL.open_target(presented, b"github-pm", b"alice") is None


def test_a_seal_of_a_header_opens_no_target_nor_the_other_way_round() -> None:
    """Even where id and target are the same bytes."""
    text = b"/messages?a=b"
    of_id, of_target = SEAL.seal_id(text, BOND)[-30:], SEAL.seal_target(text, BOND)[-30:]
    assert of_id != of_target
    assert SEAL.open_id(text + b"." + of_target, b"github-pm", b"alice") is None
    assert SEAL.open_target(text + b"&mcpgate=" + of_id, b"github-pm", b"alice") is None


@PURE
@given(
    parts=st.tuples(*[st.binary(max_size=6)] * 3),
    cuts=st.tuples(st.integers(0, 18), st.integers(0, 18)),
)
def test_nothing_moves_from_one_part_of_a_bond_into_the_next(
    parts: tuple[bytes, bytes, bytes], cuts: tuple[int, int]
) -> None:
    """``ab`` at ``c`` is not ``a`` at ``bc``."""
    whole, (first, second) = b"".join(parts), sorted(cuts)
    others = whole[:first], whole[first:second], whole[second:]
    server, principal, session = parts
    opened = SEAL.open_id(others[2] + SEAL.seal_id(session, Bond(server, TAG, principal))[-31:], *others[:2])
    assert (opened is not None) is (others == parts)


def test_a_gateway_may_stand_behind_a_gateway() -> None:
    """The outer one seals what the inner one has sealed, and finds it again."""
    inner, outer = Seal([OLDER]), SEAL
    target = inner.seal_target(TARGET, BOND)
    opened = outer.open_target(outer.seal_target(target, BOND), b"github-pm", b"alice")
    assert opened == Opened(TAG, target)
    session = inner.seal_id(ID, BOND)
    assert outer.open_id(outer.seal_id(session, BOND), b"github-pm", b"alice") == Opened(TAG, session)


def test_a_seal_does_not_tell_where_the_replica_is() -> None:
    """From the hash of an address in a private network the address could be found by trying; so it is hidden."""
    first, second = SEAL.seal_id(b"a", BOND), SEAL.seal_id(b"b", BOND)
    assert first[-30:-22] != second[-30:-22]
    assert TAG not in first


def test_macs_are_compared_in_constant_time() -> None:
    """Byte by byte, how long it takes would tell how much of a guess is right."""
    compared = []

    def note(frame: FrameType, event: str, function: object) -> None:
        if event == "c_call" and function is hmac.compare_digest:
            compared.append(1)

    sealed = SEAL.seal_id(ID, BOND)
    sys.setprofile(note)
    SEAL.open_id(sealed, b"github-pm", b"bob")
    sys.setprofile(None)
    assert compared == [1]


def test_a_tag_is_the_same_everywhere() -> None:
    """Another process, or the same one after a reload, finds the replica."""
    assert replica_tag("http://127.0.0.1:3010") == bytes.fromhex("d66411b47b81")
    assert replica_tag("http://127.0.0.1:3010") != replica_tag("http://127.0.0.1:3011")


def test_a_seal_is_the_same_everywhere() -> None:
    """Sessions outlive an upgrade of the gateway: this one was sealed by the first version that sealed."""
    assert SEAL.seal_id(b"a.b", BOND) == b"a.b.CyJS0tpZ-h7VM3FEMlz3WXUCqkaENQ"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/mcp/x", False),
        (b"/mcp/x?", False),
        (b"/mcp/x?a=mcpgate", False),
        (b"/mcpgate=1", False),
        (b"/x?mcpgates=1", False),
        (b"/x?my_mcpgate=1", False),
        (b"/x?mcpgate", True),
        (b"/x?mcpgate=", True),
        (b"/x?mcpgate=1&a=b", True),
        (b"/x?a=b&mcpgate=1", True),
        (b"/x?a=b;mcpgate=1", True),
        (b"/x?MCPGATE=1", True),
        (b"/x?mcpgate[]=1", True),
        (b"/x?%6d%63pgate=1", True),
        (b"/x??mcpgate=1", True),
    ],
)
def test_our_parameter_is_seen_in_any_spelling(target: bytes, expected: bool) -> None:
    """What only looks sealed is refused, and does not go to the server as a parameter of its own."""
    assert is_marked(target) is expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/messages?sessionId=1", True),
        (b"/messages/?session_id=1", True),
        (b"/messages?sessionid=1", True),
        (b"/messages?SESSIONID=1", True),
        (b"/messages?session-id=1", True),
        (b"/messages?session=1", True),
        (b"/messages?Mcp-Session-Id=1", True),
        (b"/messages?mcp_session=1", True),
        (b"/messages?transportSessionId=1", True),
        (b"/messages?clientId=1", True),
        (b"/messages?a=b&sessionId=1", True),
        (b"/messages?a=b;sessionId=1", True),
        (b"/messages?&sessionId", True),
        (b"/messages?session%49d=1", True),
        (b"/messages?%73ession%5Fid=1", True),
        (b"/messages?sessionId[]=1", True),
        (b"/messages?sessionId[0]=1", True),
        (b"/messages?session[0]=1", True),
        (b"/messages?[sessionId]=1", True),
        (b"/messages?+sessionId=1", True),
        (b"/messages?session.id=1", True),
        (b"/messages?sessionId%00=1", True),
        (b"/messages", False),
        (b"/messages?", False),
        (b"/messages?a=sessionId", False),
        (b"/sessionId=1", False),
        (b"/authorize?client_id=1&state=2", False),
        (b"/messages?session_type=a", False),
        (b"/messages?new_session=1", False),
        (b"/messages?obsession=1", False),
        (b"/messages?id=1", False),
    ],
)
def test_a_query_that_names_a_session_is_seen(target: bytes, expected: bool) -> None:
    """As the servers in use name it, in all spellings that their readers of queries take for the same."""
    assert names_session(target) is expected


# --- what is remembered ---------------------------------------------------------------------------------------------


def test_a_remembered_session_opens_for_its_server_and_principal_only() -> None:
    """As one that is opened for the first time."""
    seal = Seal([KEY])
    sealed = seal.seal_id(ID, BOND)
    for _ in range(2):
        assert seal.open_id(sealed, b"github-pm", b"alice") == Opened(TAG, ID)
        assert seal.open_id(sealed, b"github-pm", b"bob") is None
        assert seal.open_id(sealed, b"gitlab", b"alice") is None
        assert {seal.open_id(each, b"github-pm", b"alice") for each in _with_one_bit_changed(sealed)} == {None}


def test_sessions_that_were_forgotten_open_again() -> None:
    """There are more of them than are remembered."""
    seal = Seal([KEY])
    sealed = [seal.seal_id(b"%d" % number, BOND) for number in range(1100)]
    opened = [seal.open_id(each, b"github-pm", b"alice") for each in sealed]
    assert opened == [Opened(TAG, b"%d" % number) for number in range(1100)]


@PURE
@given(secret=st.binary(min_size=16, max_size=100), session=_ids, bond=_bonds)
def test_the_mac_is_the_one_of_rfc_2104(secret: bytes, session: bytes, bond: Bond) -> None:
    """Keys longer than a block, too; so that anybody's HMAC-SHA-256 can check a seal."""
    seal = Seal([secret]).seal_id(session, bond)[-30:]
    packed = base64.urlsafe_b64decode(seal + b"==")
    server, tag, principal = bond
    text = b"id %d %d:" % (len(server), len(principal)) + server + principal + tag + session
    assert packed[6:] == hmac.digest(secret, text, "sha256")[:16]
