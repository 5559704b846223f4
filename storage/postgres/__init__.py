"""The server and the ways to it: embedded or given, connections, bulk statements.

Everybody in ``storage`` may enter; it needs psycopg and the settings.
"""
