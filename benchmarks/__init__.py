"""
What the gateway costs, next to nginx, in the same run on the same machine.

``python -m benchmarks`` prints the ratios. One file per question (``requests``, ``sse``, ``memory``,
``bodies``; ``passing`` asks the code alone); ``peers`` says how each subject is set up, ``harness`` runs it on
a CPU of its own, ``upstream`` and ``load`` stand at its two ends, ``figures`` does the arithmetic.
"""
