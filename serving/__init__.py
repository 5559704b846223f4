"""The feed over HTTP: one Bento that always answers."""
