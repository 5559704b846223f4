"""Tests with an installation each."""
