"""Dagster's own processes as an installation runs them. Imports ``environment`` alone."""
