"""One question in each file: what it measures, in which unit, and what the goal is."""
