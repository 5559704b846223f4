"""Read calls that a worker answers from its live state; none of them asks Postgres anything.

One module a group, as in ``serving/routes/catalogue``: its routes, and ``PATHS`` and ``SHAPES``
that describe them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.routing import Route

from serving.feed.engine import FeedEngine
from serving.postgres.database import Database
from serving.routes.reads import features, nearby, ranking, settings, similar, trending
from serving.routes.reads.view import Views
from serving.versions.live_state import LiveState

GROUPS = (trending, nearby, similar, ranking, features, settings)
SHAPES = [shape for group in GROUPS for shape in group.SHAPES]
PATHS: dict[str, Any] = {path: told for group in GROUPS for path, told in group.PATHS.items()}


def read_routes(
    live: Callable[[], LiveState], engine: Callable[[], FeedEngine], database: Database
) -> list[Route]:
    """The routes of all groups.

    Args:
        engine: asked at each request, since it is made after the routes.
        database: only whether it is up.
    """
    views = Views(live, lambda: database.up, lambda user_id, at: engine().history(user_id, at))
    return [
        *trending.routes(views),
        *nearby.routes(views),
        *similar.routes(views),
        *ranking.routes(views, engine),
        *features.routes(views),
        *settings.routes(views),
    ]
