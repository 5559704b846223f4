"""Imports of Dagster, MLflow and Great Expectations, which take seconds."""

from __future__ import annotations

import gc

ALLOCATIONS = 50_000
"""After so many the collector looks for cycles; 700 is Python's own."""


def expect_large_imports() -> None:
    """Call it before the imports. What is imported stays, and to look through it again and again
    takes a seventh of their time."""
    gc.set_threshold(ALLOCATIONS)
