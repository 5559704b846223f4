"""What runs, when, in which order: Dagster assets over plain functions."""

import warnings

from storage.large_imports import expect_large_imports

expect_large_imports()

from dagster import BetaWarning  # noqa: E402

# We know that owners and backfill policies are young; each command need not say it.
warnings.filterwarnings("ignore", category=BetaWarning)
