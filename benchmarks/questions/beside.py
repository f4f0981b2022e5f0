"""Other subjects beside the one that is asked, on the same CPUs: for questions that compare a subject with itself."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from benchmarks.harness import Cpus, Subject, running
from benchmarks.peers.ground import Peer


def beside(subject: Subject, peer: Peer) -> AbstractContextManager[Subject]:
    """
    Run another one where the subject runs, with an upstream of its own; idle ones do not disturb each other.

    :raises HarnessFault: as `running`, when it is entered or left.
    """
    root, *_ = subject.tree.pids()
    return running(peer, Cpus(frozenset(os.sched_getaffinity(root)), frozenset(os.sched_getaffinity(0))))
