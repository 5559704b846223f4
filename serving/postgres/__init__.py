"""Calls of Postgres that end in time, whatever the server does. Imports nothing of ``serving``."""
