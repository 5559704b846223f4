"""Cells and what they mean: ids, times, numbers, and the rules by which a row is good.

Ingest, quarantine and the suites of ``data_checks`` share its bounds.
"""
