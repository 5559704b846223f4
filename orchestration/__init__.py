"""What runs, when, in which order: Dagster assets over plain functions."""
