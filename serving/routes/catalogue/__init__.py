"""Calls of the API that Postgres answers: catalogue, users, preferences, ready lists.

One module a group: its routes, and ``PATHS`` and ``SHAPES`` that describe them.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Route

from serving.http.answers import Api
from serving.postgres.database import Database
from serving.routes.catalogue import items, owners, preferences, recommendations, users

GROUPS = (items, users, owners, preferences, recommendations)


def catalogue_routes(
    database: Database,
    *,
    written: Callable[[], None],
    may_show: Callable[[str, list[str]], list[bool]],
) -> list[Route]:
    """The routes of all groups; see ``Api`` for what they take."""
    api = Api(database, written, may_show)
    return [route for group in GROUPS for route in group.routes(api)]
