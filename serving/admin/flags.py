"""``/admin/flags``: switches for a share of the users."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from going_live.definitions import Environment, Name
from going_live.flags import set_flag, unset_flag
from serving.admin.parts import Asked, actor_of, asked, with_connection
from serving.http.answers import answer_json, not_found
from serving.http.describe import path_id
from serving.http.endpoints import Answer, Body, Endpoints
from serving.http.inputs import parse, parse_query
from serving.http.request_ids import request_id_of
from storage.operations import experiments as stored
from storage.operations.experiments import EVERYWHERE
from storage.settings import Settings


class FlagName(BaseModel):
    """A name in a path."""

    name: Name


class FlagAsked(Asked):
    """A flag, as it should be."""

    enabled: Annotated[bool, Field(strict=True)]
    share: Annotated[float, Field(ge=0, le=1, strict=True, allow_inf_nan=False)] = Field(
        default=1.0, description="Of the users, for whom it is on if it is enabled."
    )
    environment: Environment = Field(
        default=EVERYWHERE, description="Where; `default`: in each that has none of its own."
    )

    @model_validator(mode="after")
    def _off_for_all(self) -> Self:
        if not self.enabled and self.share < 1:
            raise ValueError(
                "share is of the users for whom the flag is on: leave it out to switch off for "
                "all, or send enabled true"
            )
        return self


class FlagQuery(BaseModel):
    """Query of ``DELETE``."""

    environment: Environment = Field(default=EVERYWHERE, description="Of which.")


class FlagTold(BaseModel):
    """A flag, as it is now."""

    name: str
    environment: str
    enabled: bool
    share: float
    updated_at: datetime


class FlagAnswer(FlagTold):
    request_id: str


class FlagList(BaseModel):
    """All flags. The three that are built in are on where they are not here."""

    flags: list[FlagTold]
    environment: str = Field(description="The one that this service is of.")
    request_id: str


NAME = path_id("name", "The flag's name.")
endpoints = Endpoints(tag="admin", scope="admin", problems=(503,))


class FlagCalls:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @endpoints.declare(
        "GET /api/v1/admin/flags", Answer("The flags", FlagList), audited=False, problems=(503,)
    )
    async def find_flags(self, request: Request) -> Response:
        """Every flag, of every environment."""
        rows = await with_connection(self._settings, stored.flags)
        return answer_json(
            request,
            {
                "flags": [asdict(row) for row in rows],
                "environment": self._settings.environment,
            },
        )

    @endpoints.declare(
        "PUT /api/v1/admin/flags/{name:id}",
        Answer("The flag", FlagAnswer),
        parameters=[NAME],
        body=Body(FlagAsked, {"enabled": True, "share": 0.1}),
    )
    async def set_flag(self, request: Request) -> Response:
        """Make or change a flag.

        Workers go by it within two seconds. Built in are `ml_recommendations` (off: the heuristic
        ranks), `personalized_feed` (off: without what is known of the user) and
        `engagement_ranking` (off: by time).
        """
        name, body = _name(request), await asked(FlagAsked, request)
        row = await with_connection(
            self._settings,
            lambda c: set_flag(
                c,
                name,
                enabled=body.enabled,
                share=body.share,
                environment=body.environment,
                actor=actor_of(request),
            ),
        )
        return answer_json(request, asdict(row))

    @endpoints.declare(
        "DELETE /api/v1/admin/flags/{name:id}",
        Answer("It is gone", status=204),
        parameters=[NAME],
        query=FlagQuery,
        problems=(404,),
    )
    async def unset_flag(self, request: Request) -> Response:
        """Remove a flag."""
        name, place = _name(request), parse_query(FlagQuery, request.query_params)
        gone = await with_connection(
            self._settings,
            lambda c: unset_flag(c, name, environment=place.environment, actor=actor_of(request)),
        )
        if not gone:
            raise not_found("flag", name)
        return Response(status_code=204, headers={"X-Request-Id": request_id_of(request)})


def _name(request: Request) -> str:
    return parse(FlagName, {"name": request.path_params["name"]}).name
