"""What runs, when, in which order: Dagster assets over plain functions."""

import warnings

from dagster import BetaWarning

# We know that owners and backfill policies are young; each command need not say it.
warnings.filterwarnings("ignore", category=BetaWarning)
