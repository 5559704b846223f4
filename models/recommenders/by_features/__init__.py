"""Recommenders that go by what items and users are described as."""
