"""The feed's application with a tenth of its patience with Postgres, for tests."""

from __future__ import annotations

from starlette.applications import Starlette

from serving.app import FeedApp
from serving.ingest import connection as events
from serving.postgres import connection, database
from storage.settings import get_settings


def of_settings() -> Starlette:
    """For ``uvicorn --factory``, on the settings of the environment."""
    connection.ANSWER_SECONDS /= 10
    database.HEALTH_SECONDS /= 10
    database.CALL_SECONDS /= 10
    events.CALL_SECONDS /= 10
    return FeedApp(get_settings()).asgi
