"""Where data lives: Postgres and its schema, bulk load, the interaction lake."""
