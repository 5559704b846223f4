"""Versions that go live and back, experiments, and the guardrails that watch them. It needs
``training`` and ``feed``."""
