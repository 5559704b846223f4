"""The feed pipeline: sources, rules, scores, ranker, diversity, exploration; and the reasons.

Serving, orchestration and the evaluation rank through it. It needs ``catalogue`` and a ranker
of ``ranking``.
"""
