"""Two-stage recommenders for the tables of docs/quality.md: nothing of this is served.

Only ``benchmarks.quality`` and ``benchmarks.quality_by_time`` import it.
"""
