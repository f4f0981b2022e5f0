"""What of an answer is written anew for one client."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mcpgate.errors import BadAnswer
from mcpgate.plan import REWRITTEN
from mcpgate.policy.publication import Publication, Sealing
from mcpgate.policy.sessions import Bond, Seal
from mcpgate.wire import cors, headers
from mcpgate.wire.http1 import AnswerHead, HeadLimits, parse_answer

SEAL = Seal([b"k" * 32])
BOND = Bond(b"x", b"tag-01", b"alice")
METADATA = b"https://gate.example/.well-known/oauth-protected-resource/mcp/x/mcp"


def _published(url: bytes) -> bytes:
    return METADATA




def _head(*fields: bytes, status: bytes = b"200 OK") -> AnswerHead:
    lines = b"".join(b"%b\r\n" % field for field in fields)
    return parse_answer(b"HTTP/1.1 %b\r\n%b\r\n" % (status, lines), HeadLimits(10_000, 100))


def _block(publication: Publication, head: AnswerHead) -> bytes:
    return publication.block(head, head.block)


def test_nothing_to_change_is_known_beforehand() -> None:
    """So that most answers need not be looked at."""
    assert not Publication(None, None, b"").is_needed()
    assert Publication(None, None, cors.lines(b"https://app.example")).is_needed()
    assert Publication(Sealing(SEAL, BOND), None, b"").is_needed()


def test_a_session_id_reaches_the_client_sealed() -> None:
    """And opens for that principal at that server only."""
    head = _head(b"Content-Type: text/plain", b"mcp-session-id: abc.def")
    block = _block(Publication(Sealing(SEAL, BOND), None, b""), head)
    before, _, sealed = block.removesuffix(b"\r\n").partition(b"Mcp-Session-Id: ")
    assert before == b"Content-Type: text/plain\r\n"
    assert b"mcp-session-id" not in before
    opened = SEAL.open_id(sealed, b"x", b"alice")
    assert opened is not None
    assert opened[:2] == (b"tag-01", b"abc.def")
    assert SEAL.open_id(sealed, b"x", b"bob") is None


def test_an_answer_without_a_session_stays_as_it_is() -> None:
    """Byte for byte."""
    head = _head(b"X-A:  1", b"Set-Thing: 2")
    assert _block(Publication(Sealing(SEAL, BOND), _published, b""), head) == head.block


def test_the_endpoint_of_a_legacy_stream_is_sealed_too() -> None:
    """One parameter more, and none without a seal."""
    target = Publication(Sealing(SEAL, BOND), None, b"").endpoint(b"/mcp/x/message?sessionId=1")
    assert target.startswith(b"/mcp/x/message?sessionId=1&mcpgate=")
    assert Publication(None, _published, b"").endpoint(b"/mcp/x/message?sessionId=1") == b"/mcp/x/message?sessionId=1"


def test_the_challenge_of_a_server_with_its_own_oauth_leads_to_us() -> None:
    """Where its document is published under the address that the client knows."""
    head = _head(
        b'WWW-Authenticate: Bearer resource_metadata="http://10.0.0.1/x", scope="a"', status=b"401 Unauthorized"
    )
    block = _block(Publication(None, _published, b""), head)
    assert b'resource_metadata="%b"' % METADATA in block
    assert b"10.0.0.1" not in block
    assert b'scope="a"' in block
    assert _block(Publication(Sealing(SEAL, BOND), None, b""), head) == head.block


def test_a_browser_is_told_by_us_alone_what_it_may_read() -> None:
    """Two Access-Control-Allow-Origin fields would be none."""
    lines = cors.lines(b"https://app.example")
    head = _head(b"Access-Control-Allow-Origin: *", b"Vary: Accept", b"X-A: 1")
    assert _block(Publication(None, None, lines), head) == b"Vary: Accept\r\nX-A: 1\r\n" + lines


@pytest.mark.parametrize("sealing", [None, Sealing(SEAL, BOND)])
@pytest.mark.parametrize("metadata_of", [None, _published])
@pytest.mark.parametrize("query", [b"", b"?sessionId=abc"])
def test_an_answer_without_certain_fields_is_the_same_for_every_client(
    sealing: Sealing | None, metadata_of: Callable[[bytes], bytes] | None, query: bytes
) -> None:
    """So that it is kept for the next one, whoever that is; see `mcpgate.plan.answer_of`."""
    publication = Publication(sealing, metadata_of, b"", query)
    values = {b"location": b"/mcp?sessionId=abc", b"mcp-session-id": b"abc", b"www-authenticate": b'Bearer realm="x"'}
    for name in headers.ANSWER.usual:
        field = b"%b: %b" % (name, values.get(name, b"7"))
        try:
            head = _head(field)
        except BadAnswer:
            continue
        if REWRITTEN.isdisjoint(head.noted):
            assert _block(publication, head) == head.block
