"""Read calls that a worker answers from its live state; none of them asks Postgres anything.

One module a group, as in ``serving/routes/catalogue``.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Route

from serving.feed.engine import FeedEngine
from serving.postgres.database import Database
from serving.routes.reads import features, nearby, ranking, settings, similar, trending
from serving.routes.reads.view import Views
from serving.versions.live_state import LiveState

GROUPS = tuple(
    group.endpoints for group in (trending, nearby, similar, ranking, features, settings)
)


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
        *trending.endpoints.routes(trending.TrendingCalls(views)),
        *nearby.endpoints.routes(nearby.NearbyCalls(views)),
        *similar.endpoints.routes(similar.SimilarCalls(views)),
        *ranking.endpoints.routes(ranking.RankingCalls(views, engine)),
        *features.endpoints.routes(features.FeatureCalls(views)),
        *settings.endpoints.routes(settings.SettingsCalls(views)),
    ]
