"""Calls that answer from the database or from the live state: one module a group of calls. What
``app`` mounts; nothing else imports it."""
