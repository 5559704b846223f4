"""Dagster's own processes as an installation runs them. Imports ``environment`` alone."""

from storage.large_imports import expect_large_imports

expect_large_imports()
