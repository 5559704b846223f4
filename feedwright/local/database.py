"""The database for one command: as it is, or started for it and then stopped again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from feedwright.processes import record as records
from storage.postgres.embedded import EmbeddedPostgres
from storage.preparation import prepare
from storage.settings import Settings


def database_address(settings: Settings) -> str | None:
    """Of the database if it is up; it is not started."""
    if settings.database_url is not None:
        return settings.database_url
    server = EmbeddedPostgres(settings.postgres_dir)
    return server.url if server.is_running() else None


@contextmanager
def running_database(settings: Settings) -> Iterator[str]:
    """Address of the migrated database.

    An embedded server that this started is stopped at the end, unless `feedwright up`
    came to need it meanwhile.

    Raises:
        DatabaseError, EmbeddedPostgresError: see ``storage.preparation.prepare``.
    """
    server = EmbeddedPostgres(settings.postgres_dir) if settings.database_url is None else None
    was_running = server is None or server.is_running()
    try:
        yield prepare(settings)
    finally:
        record = records.read(settings.home)
        supervised = record is not None and record.is_alive
        if server is not None and not was_running and not supervised:
            server.stop()
