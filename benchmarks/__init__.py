"""
What the gateway costs, next to what others cost, in the same run on the same machine.

``python -m benchmarks`` prints figures and ratios; ``--report`` writes them, too. One file per question in
``questions``, one per subject in ``peers``; ``asked`` says who is asked what, ``asking`` does it in turns, ``harness``
runs a subject on a CPU of its own, ``upstream`` and ``load`` stand at its two ends, ``figures`` does the arithmetic,
``report`` tells.
"""
