"""What comes before a process uses the database: it is started, migrated, and follows its home."""

from __future__ import annotations

from storage import artifact_paths
from storage.home import make_closed
from storage.postgres.database import database_url, migrate
from storage.settings import Settings


def prepare(settings: Settings) -> str:
    """Start the database if it is ours to start, migrate it, and return its address.

    After the home was moved it follows to the new place. Safe to be called by several processes
    at once, and quick when there is nothing to do.

    Raises:
        DatabaseError, EmbeddedPostgresError: see ``migrate``, ``database_url`` and
            ``artifact_paths.follow_home``.
    """
    make_closed(settings.home)
    url = database_url(settings)
    migrate(url)
    artifact_paths.follow_home(settings, url)
    return url
