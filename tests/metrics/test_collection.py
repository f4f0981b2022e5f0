"""mcpgate.metrics.collection: a scrape holds nobody up, and what it says fits together."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.metrics.gate import OPENMETRICS, Connection, Gate, Relay, families_of, samples_of, text_of, told

from mcpgate.exchange import Ended, Era
from mcpgate.metrics.collection import LETTERS, TOUCHED, WRITTEN, Scrape
from mcpgate.metrics.families import FAMILIES, Kind

SERVER_NAMES = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?", fullmatch=True)

COUNTERS = {family.name for family in FAMILIES if family.kind is Kind.COUNTER}


def busy_gate(server_count: int) -> Gate:
    """Everything has happened on every server."""
    gate = Gate()
    for number in range(server_count):
        name = f"server-{number}"
        gate.add(name)
        tally = gate.tallies.of(name)
        tally.requests[b"POST", 200, Era.SESSION] = number
        tally.opened["sse"] = tally.open["sse"] = 1
        tally.ends[Ended.DRAIN] = 1
        for histogram in (tally.durations, tally.upstream_durations, tally.stream_durations, tally.first_events):
            histogram.observe(0.2)
    return gate


def test_both_formats_are_read_by_the_official_parsers() -> None:
    """They agree on every sample, and have all families in the same order."""
    scrape = Scrape(busy_gate(3).observed())
    plain, open_metrics = text_of(scrape), text_of(scrape, OPENMETRICS)
    changing = ("process_", "python_gc_", "mcpgate_last_scrape")

    def still(text: str) -> dict[Any, float]:
        return {key: value for key, value in samples_of(text).items() if not key[0].startswith(changing)}

    assert still(plain) == still(open_metrics)
    # The library takes the suffix off the name of a counter in either format.
    assert [family.name for family in families_of(open_metrics)] == [family.stem for family in FAMILIES]
    assert [family.name for family in families_of(plain)] == [family.stem for family in FAMILIES]
    assert {family.name: family.unit for family in families_of(open_metrics)} == {
        family.stem: family.unit for family in FAMILIES
    }


def test_the_content_type_says_which_format_it_is() -> None:
    """With its version, as Prometheus wants it."""
    scrape = Scrape(Gate().observed())
    assert scrape.pieces(b"")[0] == b"text/plain; version=0.0.4; charset=utf-8"
    assert scrape.pieces(OPENMETRICS)[0] == b"application/openmetrics-text; version=1.0.0; charset=utf-8"


def test_little_is_touched_between_two_pieces() -> None:
    """Streams and connections by the thousand hold nobody up, however long a scrape takes in all."""
    gate = Gate()
    relays = [Relay("sse") for _ in range(2_300)]
    clients = [Connection("stream") for _ in range(3_700)]
    gate.add("a").relays.update(cast(Any, relays[:2_000]))
    gate.add("b").relays.update(cast(Any, relays[2_000:]))
    gate.connections["data"] = set(clients)
    before, pieces = 0, 0
    for _ in Scrape(gate.observed()).pieces(b"")[1]:
        touched = sum(relay.settled for relay in relays) + sum(client.asked for client in clients)
        assert touched - before <= TOUCHED
        before, pieces = touched, pieces + 1
    assert before == 6_000
    assert pieces >= 6_000 / TOUCHED


def test_little_is_written_between_two_pieces() -> None:
    """Two hundred busy servers come in many pieces, none of them long."""
    pieces = list(Scrape(busy_gate(200).observed()).pieces(b"")[1])
    longest = max(len(text) for text in b"".join(pieces).split(b"\n"))
    assert all(len(piece) < LETTERS + 20 * longest for piece in pieces)  # a histogram is written whole
    assert all(piece.count(b"{") <= 20 * WRITTEN for piece in pieces)
    assert len(pieces) > 20


def test_the_bytes_of_open_exchanges_are_settled_before_bytes_are_told() -> None:
    """A stream that has run for a day is in the counter of bytes, though it has not ended."""
    gate = Gate()
    relay = Relay("sse")
    gate.add("a").relays.add(cast(Any, relay))
    _, pieces = Scrape(gate.observed()).pieces(b"")
    assert b"mcpgate_bytes_total{" in next(piece for piece in pieces if piece)
    assert relay.settled == 1


def test_servers_may_come_and_go_during_a_scrape() -> None:
    """So may every key of every tally; the text is still one that can be read."""
    gate = busy_gate(25)
    texts = []
    for number, piece in enumerate(Scrape(gate.observed()).pieces(OPENMETRICS)[1]):
        texts.append(piece)
        gate.servers.pop(f"server-{number}", None)
        gate.tallies.forget([f"server-{number}"])
        gate.add(f"late-{number}")
        for name in gate.servers:
            tally = gate.tallies.of(name)
            tally.requests[b"GET", 200 + number % 300, Era.OTHER] = 1
            tally.errors[f"reason_{number}"] = tally.tools[f"tool-{number}", True] = 1
            tally.opened[f"t{number}"] = tally.open[f"t{number}"] = 1
        gate.tallies.auth[f"reason_{number}"] = 1
        gate.tallies.operation((f"method/{number}", "", ""))
    assert samples_of(b"".join(texts).decode())


def test_a_scrape_that_nobody_finishes_leaves_nothing_behind() -> None:
    """The client has left; the next one gets everything, and two at the same time get the same."""
    gate = busy_gate(10)
    scrape = Scrape(gate.observed())
    _, left = scrape.pieces(b"")
    next(left)
    cast(Any, left).close()
    pairs = list(zip(scrape.pieces(b"")[1], scrape.pieces(b"")[1], strict=True))
    first, second = (samples_of(b"".join(pieces).decode()) for pieces in zip(*pairs, strict=True))
    assert first.keys() == second.keys()
    assert told(scrape, "mcpgate_requests_total", server="server-7", method="POST", status="200", era="session") == 7


def test_a_scrape_tells_how_long_the_one_before_took() -> None:
    """Only the time in which it was made: what the reactor did in between does not count."""
    gate = busy_gate(20)
    scrape = Scrape(gate.observed())
    assert told(scrape, "mcpgate_last_scrape_seconds") == 0
    count = 0
    for _ in scrape.pieces(b"")[1]:
        gate.now_s += 60
        count += 1
    last_s = told(scrape, "mcpgate_last_scrape_seconds")
    assert last_s is not None
    assert abs(last_s - 0.001 * (count + 1)) < 1e-6  # the clock of this gateway moves whenever it is read


def test_half_a_character_in_a_name_spoils_nothing() -> None:
    """A name of a tool that no encoding can say is told as far as it can be."""
    gate = Gate()
    gate.tallies.of("a").tools["x\ud800y", True] = 1
    assert told(Scrape(gate.observed()), "mcpgate_tool_calls_total", server="a", tool="x?y", outcome="ok") == 1


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_whatever_happens_the_numbers_fit_together_and_never_fall(draw: st.DataObject) -> None:
    """Names of servers and tools of any kind, and any number of requests between two scrapes."""
    gate = Gate()
    scrape = Scrape(gate.observed())
    names = draw.draw(st.lists(SERVER_NAMES, min_size=1, max_size=3, unique=True))
    for name in names:
        gate.add(name)
    before: dict[Any, float] = {}
    for _ in range(3):
        for name in draw.draw(st.lists(st.sampled_from(names), max_size=4)):
            tally = gate.tallies.of(name)
            key = draw.draw(
                st.tuples(st.sampled_from([b"GET", b"POST", b"LOCK"]), st.integers(0, 999), st.sampled_from(Era))
            )
            tool = draw.draw(st.tuples(st.text(max_size=8), st.booleans()))
            tally.requests[key] = tally.requests.get(key, 0) + 1
            tally.tools[tool] = tally.tools.get(tool, 0) + 1
            tally.durations.observe(draw.draw(st.floats(0, 1e4)))
        now = samples_of(text_of(scrape, draw.draw(st.sampled_from([b"", OPENMETRICS]))))
        _check_sums(gate, now)
        assert [key for key, value in before.items() if key[0] in COUNTERS and now[key] < value] == []
        before = now


def _check_sums(gate: Gate, found: dict[Any, float]) -> None:
    for name, tally in gate.tallies.servers.items():
        server = ("server", name or "_gateway")
        requests = sum(
            n for (series, labels), n in found.items() if series == "mcpgate_requests_total" and server in labels
        )
        assert requests == sum(tally.requests.values())
        calls = {
            dict(labels)["tool"]: n
            for (series, labels), n in found.items()
            if series == "mcpgate_tool_calls_total" and server in labels
        }
        assert set(calls) == {tool for tool, _ in tally.tools}
        if requests:
            assert found["mcpgate_request_duration_seconds_count", (server,)] == requests
            assert found["mcpgate_request_duration_seconds_bucket", (("le", "+Inf"), server)] == requests
