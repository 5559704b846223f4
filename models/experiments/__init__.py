"""The statistics of experiments: assignment, sequential tests, sample ratio, guardrails.

``going_live`` and serving call it. It needs NumPy and SciPy alone.
"""
