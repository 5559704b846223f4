"""Runs of Dagster that give signs of life, and their end when they give none. Knows no asset."""
