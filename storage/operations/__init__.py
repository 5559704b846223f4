"""What the platform notes of itself: releases, experiments, keys, heartbeats, metrics.

``going_live``, serving and the pipeline enter. It needs ``postgres``.
"""
