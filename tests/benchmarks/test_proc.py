"""benchmarks.proc: what the kernel's own texts mean."""

from __future__ import annotations

import os

import pytest

from benchmarks import proc

STAT = "4242 (ngi (x) nx) S 17 4242 4242 0 -1 4194560 12 0 0 0 700 30 5 6 20 0 1 0 99 1000 200 99"


def test_a_stat_line_gives_parent_and_ticks() -> None:
    """User and system time count, those of ended children apart, whatever the program calls itself."""
    assert proc.parse_stat(STAT) == proc.Usage(pid=4242, parent=17, own_ticks=730, reaped_ticks=11)


@pytest.mark.parametrize("text", ["", "4242 (nginx)", "4242 (nginx) S 17 4242"])
def test_a_cut_stat_line_is_refused(text: str) -> None:
    """A text that is not a whole stat line gives no figure."""
    with pytest.raises(ValueError, match="not a stat line"):
        proc.parse_stat(text)


def test_memory_is_read_by_its_exact_name() -> None:
    """``Pss`` is neither ``Pss_Anon`` nor ``SwapPss``."""
    assert proc.parse_kib("Rss:  900 kB\nPss_Anon:  1 kB\nPss:    350 kB\nSwapPss:  2 kB\n", "Pss") == 350


def test_missing_memory_is_a_fault() -> None:
    """A kernel that does not say it must not look like a process without memory."""
    with pytest.raises(ValueError, match="no Pss"):
        proc.parse_kib("Rss: 1 kB\n", "Pss")


def test_the_tree_holds_all_generations_and_nobody_else() -> None:
    """Workers of workers count; other people's processes do not."""
    parents = {9: 3, 1: 0, 3: 2, 2: 1, 7: 1, 8: 7}
    usages = [proc.Usage(pid, parent, 0, 0) for pid, parent in parents.items()]
    assert sorted(usage.pid for usage in proc.descendants(2, usages)) == [2, 3, 9]


def test_this_process_is_measured() -> None:
    """On a real /proc the tree of this process has it as its root, with time and memory."""
    tree = proc.ProcessTree(os.getpid())
    assert tree.pids()[0] == os.getpid()
    assert tree.cpu_s() > 0
    assert 0 < tree.pss_kib() <= tree.peak_kib()
