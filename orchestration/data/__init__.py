"""Sources, lake, checks and features: from Postgres to what models learn from, and the deletion
of what is old. Imports ``resources``, ``policies`` and ``plots`` alone of its neighbours."""
