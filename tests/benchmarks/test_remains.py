"""benchmarks.remains: nothing of a subject stays running."""

from __future__ import annotations

import subprocess
import sys

_RUNNER = """
import os, subprocess, sys, time
from benchmarks import remains
remains.adopt_orphans()
# A subject that leaves behind a child in a session of its own, and ends.
subject = "import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True)"
subprocess.run([sys.executable, "-c", subject], check=True)
print(remains.end_remains(), remains.end_remains())
"""


def test_a_child_that_outlives_its_subject_is_ended() -> None:
    """Even one that has left the process group; otherwise it would disturb what is measured next."""
    ran = subprocess.run([sys.executable, "-c", _RUNNER], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.strip() == "['sleep'] []"
