"""Recommenders of vectors: users and items as points, scores as products."""
