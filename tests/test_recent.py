"""What went wrong lately."""

from __future__ import annotations

from mcpgate.recent import Recent, Trouble

TROUBLE = Trouble(1.0, "id-1", "x", "127.0.0.1", "alice", 502, "connect_failed", "refused", "text", "detail")


def test_the_newest_comes_first_and_the_oldest_are_forgotten() -> None:
    """There are fifty at most, however much goes wrong."""
    recent = Recent()
    for number in range(60):
        recent.note(TROUBLE._replace(at_s=float(number)))
    assert [trouble.at_s for trouble in recent] == [float(number) for number in range(59, 9, -1)]


def test_long_details_are_cut() -> None:
    """Servers have a say in them, and nobody reads a page of one."""
    recent = Recent()
    recent.note(TROUBLE._replace(detail="x" * 10_000, text="y" * 250_000))
    assert [(len(trouble.detail), len(trouble.text)) for trouble in recent] == [(300, 300)]
