"""Tests that share one running service with two workers."""
