"""``/experiments``: the arms and flags of a user."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from models.experiments.assignment import BUILT_IN_FLAGS
from serving.access.caller import require_user
from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Endpoints
from serving.http.fields import Id
from serving.http.inputs import parse_query
from storage.operations.experiments import Polled


class UserExperimentsAsked(BaseModel):
    """Query of ``GET /experiments``."""

    user_id: Id | None = Field(
        default=None, description="Left out: an anonymous user.", examples=["196"]
    )


class PublicArm(BaseModel):
    name: str
    weight: float


class PublicDefinition(BaseModel):
    """What the tracker's `assign` needs to find a user's arm by itself."""

    id: str
    salt: str
    layer: str
    layer_from: float
    layer_to: float
    share: float
    arms: list[PublicArm]


class UserExperiments(BaseModel):
    """What a user gets."""

    experiments: dict[str, str] = Field(description="Arm by experiment.")
    flags: dict[str, bool] = Field(description="Whether each is on for the user.")
    definitions: list[PublicDefinition] = Field(description="Experiments that run.")
    request_id: str


endpoints = Endpoints(tag="feed", scope="read", user="query")


class UserExperimentCalls:
    """Answered from what the worker knows, without a question to anybody."""

    def __init__(self, polled: Callable[[], Polled]) -> None:
        self._polled = polled

    @endpoints.declare(
        "GET /api/v1/experiments",
        Answer(
            "What the user gets",
            UserExperiments,
            {
                "experiments": {"new-model-may": "new-model"},
                "flags": dict.fromkeys(BUILT_IN_FLAGS, True),
                "definitions": [],
            },
        ),
        compressed=True,
        query=UserExperimentsAsked,
    )
    async def user_experiments(self, request: Request) -> Response:
        """The arms and flags of a user.

        The feed goes by them without being told; this is for what else a product shows. As of a
        second ago, also while the database is away.
        """
        given = parse_query(UserExperimentsAsked, request.query_params)
        user_id, traffic = require_user(request, given.user_id), self._polled().traffic
        names = sorted({*BUILT_IN_FLAGS, *traffic.flags})
        arms = traffic.arms(user_id)
        return answer_json(
            request,
            {
                "experiments": {id: arm.name for id, arm in arms.items()},
                "flags": {name: traffic.flag(name, user_id) for name in names},
                "definitions": [
                    {
                        "id": experiment.id,
                        "salt": experiment.salt,
                        "layer": experiment.layer,
                        "layer_from": experiment.layer_from,
                        "layer_to": experiment.layer_to,
                        "share": experiment.share,
                        "arms": [
                            {"name": arm.name, "weight": arm.weight} for arm in experiment.arms
                        ],
                    }
                    for experiment in traffic.experiments
                ],
            },
        )
