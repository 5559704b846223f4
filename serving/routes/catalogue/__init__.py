"""Calls of the API that Postgres answers: catalogue, users, preferences, ready lists.

One module a group; each call is declared beside its handler.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Route

from serving.postgres.database import Database
from serving.routes.catalogue import items, owners, preferences, recommendations, users
from serving.routes.catalogue.entities import EntityCalls
from serving.routes.catalogue.items import ItemCalls
from serving.routes.catalogue.preferences import PreferenceCalls
from serving.routes.catalogue.recommendations import RecommendationCalls
from serving.routes.catalogue.users import UserCalls

GROUPS = tuple(group.endpoints for group in (items, users, owners, preferences, recommendations))


def catalogue_routes(
    database: Database,
    *,
    written: Callable[[], None],
    may_show: Callable[[str, list[str]], list[bool]],
) -> list[Route]:
    """The routes of all groups.

    Args:
        written: called after each call that wrote.
        may_show: whether a user may be shown each of some items, as of now.
    """
    return [
        *items.endpoints.routes(ItemCalls(database, written)),
        *users.endpoints.routes(UserCalls(database, written)),
        *owners.endpoints.routes(EntityCalls(database, written, owners.KIND)),
        *preferences.endpoints.routes(PreferenceCalls(database, written)),
        *recommendations.endpoints.routes(RecommendationCalls(database, may_show)),
    ]
