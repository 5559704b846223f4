"""How good a model is before users see it: metrics, comparison, gate, search, drift, off-policy.

Orchestration calls it. It needs everything else in ``models``.
"""
