"""What a worker keeps of Postgres in memory, a second old at most: catalogue, users, traffic. It
needs ``postgres`` and ``telemetry``."""
