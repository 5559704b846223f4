"""Users, items and owners in Postgres, and the log of what changed.

The API and the pipeline enter. It needs ``postgres``.
"""
