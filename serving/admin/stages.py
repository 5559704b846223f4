"""``/admin/stages``: feeds after each stage, to be held against a test set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.feed.engine import FeedEngine
from serving.feed.excluded import ExcludedItem, sorted_out
from serving.feed.shapes import FeedRequest
from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Body, Endpoints
from serving.http.fields import Id, whole_number
from serving.http.inputs import parse, read_object
from serving.versions.fallback import FallbackReason, Variant

SECONDS = 2.5
"""Users are ranked for so long."""
MAX_USERS, MAX_ITEMS = 100, 10_000


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class StagesOfUser(_Shape):
    user_id: Id
    item_ids: Annotated[list[Id], Field(max_length=MAX_ITEMS)] = Field(
        default=[], description="Items of which it is told which rule keeps them out of the feed."
    )


class StagesBody(_Shape):
    users: Annotated[list[StagesOfUser], Field(min_length=1, max_length=MAX_USERS)]
    limit: Annotated[int, Field(ge=1, le=100), BeforeValidator(whole_number)] = Field(
        default=10, description="Items of each list."
    )


class StagedUser(BaseModel):
    """A user's list after each stage; best item first."""

    user_id: str
    variant: Variant = Field(description="What ranked.")
    model_version: str | None = Field(description="Of what ranked; null: no model did.")
    fallback_reason: FallbackReason | None
    model: list[str] = Field(
        description="What the sources name and the rules allow, in the order of the recommender, "
        "or of what ranked in its place."
    )
    ranker: list[str] = Field(description="After the ranker; without one, the same.")
    feed: list[str] = Field(description="The feed: after diversity.")
    excluded: list[ExcludedItem] = Field(description="Of the `item_ids`.")


class StagedUsers(BaseModel):
    users: list[StagedUser] = Field(
        description="The first of those asked for: as many as there was time for, at least one. "
        "Ask for the others again."
    )
    request_id: str


endpoints = Endpoints(tag="admin", scope="admin", problems=(503,))
EXAMPLE: dict[str, Any] = {
    "user_id": "196",
    "variant": "champion",
    "model_version": "3",
    "fallback_reason": None,
    "model": ["242", "302", "51"],
    "ranker": ["302", "242", "51"],
    "feed": ["302", "51", "242"],
    "excluded": [{"item_id": "257", "rule": "seen"}],
}


class StagesCalls:
    def __init__(self, engine: Callable[[], FeedEngine]) -> None:
        """
        Args:
            engine: asked at each request, since it is made after the routes.
        """
        self._engine = engine

    @endpoints.declare(
        "POST /api/v1/admin/stages",
        Answer("The lists", StagedUsers, {"users": [EXAMPLE]}),
        audited=False,
        compressed=True,
        body=Body(
            StagesBody, {"users": [{"user_id": "196", "item_ids": ["302", "257"]}], "limit": 3}
        ),
    )
    async def stages(self, request: Request) -> Response:
        """Feeds after each stage.

        What `GET /feed?exclude_seen=true` would rank for these users now, by flags and experiments,
        with nothing explored: to hold the feed against a test set of your own, as
        `feedwright evaluate` does. Nothing is kept, and nothing counts as served.
        """
        asked = parse(StagesBody, await read_object(request))
        end = perf_counter() + SECONDS
        users: list[dict[str, Any]] = []
        for user in asked.users:
            users.append(await self._staged(user, asked.limit))
            if perf_counter() > end:
                break
            await asyncio.sleep(0)
        return answer_json(request, {"users": users})

    async def _staged(self, user: StagesOfUser, limit: int) -> dict[str, Any]:
        ranked = await self._engine().stages(FeedRequest(user_id=user.user_id, exclude_seen=True))
        if ranked is None:
            raise HTTPException(503, "There is no catalogue to rank yet: load data and train.")
        visit, stages = ranked
        live = visit.catalogue.live
        model, ranker, feed = (
            [live.item_id(row) for row in stages.lists[stage].rows[:limit].tolist()]
            for stage in ("candidates", "ranker", "diversity")
        )
        _, excluded = sorted_out(
            live, visit.viewer, visit.profile, user.item_ids,
            now=visit.now, exclude_seen=True, exclude_applied=None,
        )  # fmt: skip
        return {
            "user_id": user.user_id,
            "variant": stages.variant,
            "model_version": visit.choice.version if stages.is_by_version else None,
            "fallback_reason": stages.fallback,
            "model": model,
            "ranker": ranker,
            "feed": feed,
            "excluded": excluded,
        }
