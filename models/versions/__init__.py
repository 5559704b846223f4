"""A model version: its name and state in the registry, its data and run, and its settings.

The registry, orchestration, serving and the gate enter. It needs the profile alone.
"""
