"""Recommenders of neighbours: what goes with what, or who goes with whom."""
