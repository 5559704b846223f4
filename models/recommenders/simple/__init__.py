"""Recommenders without training: what is popular, and the hybrid of the scorers."""
