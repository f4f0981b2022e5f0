"""benchmarks.harness: who runs where, and what is said when this machine cannot do it."""

from __future__ import annotations

import pytest

from benchmarks import harness


def test_the_subject_has_a_cpu_to_itself() -> None:
    """Load and upstream never share the subject's CPU."""
    assert harness.divide_cpus({0, 1, 5}) == harness.Cpus(subject=frozenset({5}), load=frozenset({0, 1}))


def test_one_cpu_is_refused() -> None:
    """Figures from one shared CPU would mean nothing, so there are none."""
    with pytest.raises(harness.HarnessFault, match="two CPUs"):
        harness.divide_cpus({0})


def test_enough_descriptors_are_enough() -> None:
    """A subject needs one descriptor per stream on each side and some to spare."""
    harness.check_descriptors(5000, hard=10_300)


def test_too_few_descriptors_are_named() -> None:
    """Whoever lacks descriptors reads how many are needed, how many there are, and what would fit."""
    with pytest.raises(harness.HarnessFault, match=r"need 10300 .* limit is 4096: .* --streams 1898"):
        harness.check_descriptors(5000, hard=4096)
