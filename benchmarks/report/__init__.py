"""
What a run has found, told: as JSON, in the terminal, as Markdown, as plots.

``python -m benchmarks.report RESULTS.json FOLDER`` makes tables and plots anew from what a run has written.
"""
