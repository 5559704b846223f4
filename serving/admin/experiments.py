"""``/admin/experiments``: make, start, watch and end them. ``/experiments``: what a user gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import psycopg
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from going_live import experiments, ramps
from going_live.definitions import ArmDefinition, ExperimentDefinition
from going_live.experiments import (
    Challenger,
    ExperimentError,
    InvalidExperiment,
    UnknownExperiment,
)
from models.experiments.assignment import BUILT_IN_FLAGS
from models.profile.schema import RampStep
from serving.access.caller import require_user
from serving.admin.parts import Asked, actor_of, asked, with_connection
from serving.admin.registry import RegistryAway, VersionList
from serving.http import describe
from serving.http.answers import Api, answer_json
from serving.http.fields import Id
from serving.http.inputs import parse, parse_query, path_id, read_object
from serving.http.problems import InvalidParameters, problem
from serving.versions.live_state import LiveState
from storage.operations import experiments as stored
from storage.operations.experiments import ExperimentRow, Polled, Status
from storage.settings import Settings

T = TypeVar("T")
PATH = "/api/v1/admin/experiments"
Name = Annotated[str, Field(min_length=1, max_length=63)]
Change = Callable[[psycopg.Connection], ExperimentRow]


class ExperimentsAsked(BaseModel):
    """Which ones."""

    status: Status | None = Field(default=None, description="Those alone.")


class ShareAsked(Asked):
    """A share by hand; a ramp goes on from there."""

    share: Annotated[float, Field(ge=0, le=1, strict=True, allow_inf_nan=False)] | None = Field(
        default=None, description="Of its users; null: that of the ramp's next step."
    )


class EndAsked(Asked):
    """The end, for good."""

    winner: Name | None = Field(
        default=None, description="An arm; null: the one that was found, if any."
    )


class AssignAsked(Asked):
    """A user's arm, whatever the share. Such users are left out of the sample ratio."""

    user_id: Id
    arm: Name | None = Field(default=None, description="Null: theirs by the hash again.")


class ExperimentCalls:
    def __init__(
        self, settings: Settings, versions: VersionList, state: Callable[[], LiveState]
    ) -> None:
        self._settings = settings
        self._versions = versions
        self._state = state

    async def browse(self, request: Request) -> Response:
        asked_for = parse_query(ExperimentsAsked, request.query_params)
        statuses = (asked_for.status,) if asked_for.status else ()
        rows = await self._run(lambda c: stored.listed(c, *statuses))
        return answer_json(request, {"experiments": [told(row) for row in rows]})

    async def get(self, request: Request) -> Response:
        id = path_id(request)

        def work(connection: psycopg.Connection) -> dict[str, Any]:
            row = experiments.find(connection, id)
            shown = stored.shown(connection, row)
            return told(row) | {
                "shown": {
                    arm: {"users": of.users, "impressions": of.impressions,
                          "fallbacks": of.fallbacks}
                    for arm, of in shown.items()
                },
                "sample_ratio_p": ramps.sample_ratio_p(row, shown),
                "assigned": stored.assigned(connection, id),
            }  # fmt: skip

        return answer_json(request, await self._run(work))

    async def create(self, request: Request) -> Response:
        body = parse(ExperimentDefinition, await read_object(request))
        return await self._change(
            request,
            lambda c: experiments.create(c, body, self._profile, actor=actor_of(request)),
            201,
        )

    async def patch(self, request: Request) -> Response:
        id, changes = path_id(request), await read_object(request)
        return await self._change(
            request,
            lambda c: experiments.patch(c, id, changes, self._profile, actor=actor_of(request)),
        )

    async def start(self, request: Request) -> Response:
        id, challenger = path_id(request), await self._challenger()
        await asked(Asked, request)
        return await self._change(
            request,
            lambda c: experiments.start(
                c, id, self._profile, actor=actor_of(request), challenger=challenger
            ),
        )

    async def pause(self, request: Request) -> Response:
        id, body = path_id(request), await asked(Asked, request)
        return await self._change(
            request,
            lambda c: experiments.pause(c, id, actor=actor_of(request), reason=body.reason),
        )

    async def resume(self, request: Request) -> Response:
        id, challenger = path_id(request), await self._challenger()
        await asked(Asked, request)
        return await self._change(
            request,
            lambda c: experiments.resume(c, id, actor=actor_of(request), challenger=challenger),
        )

    async def ramp(self, request: Request) -> Response:
        id, body = path_id(request), await asked(ShareAsked, request)
        return await self._change(
            request,
            lambda c: experiments.set_share(
                c, id, body.share, actor=actor_of(request), reason=body.reason
            ),
        )

    async def end(self, request: Request) -> Response:
        id, body = path_id(request), await asked(EndAsked, request)
        return await self._change(
            request,
            lambda c: experiments.end(
                c, id, actor=actor_of(request), winner=body.winner, reason=body.reason
            ),
        )

    async def assign(self, request: Request) -> Response:
        id, body = path_id(request), await asked(AssignAsked, request)
        return await self._change(
            request,
            lambda c: experiments.assign(c, id, body.user_id, body.arm, actor=actor_of(request)),
        )

    @property
    def _profile(self) -> Any:
        return self._state().profile

    async def _challenger(self) -> Challenger:
        """What tells the challenger's version, as it is now; raises only where it is needed."""
        try:
            listing = await self._versions.read()
        except RegistryAway as error:
            away = error

            def unknown() -> str | None:
                raise away

            return unknown
        version = listing.challenger.version if listing.challenger else None
        return lambda: version

    async def _change(self, request: Request, change: Change, status: int = 200) -> Response:
        try:
            row = await self._run(change)
        except RegistryAway as error:
            return problem(request, 503, f"{error}. Try again.", headers={"Retry-After": "5"})
        return answer_json(request, told(row), status)

    async def _run(self, work: Callable[[psycopg.Connection], T]) -> T:
        try:
            return await with_connection(self._settings, work)
        except UnknownExperiment as error:
            raise HTTPException(404, str(error)) from error
        except ExperimentError as error:
            raise HTTPException(409, str(error)) from error
        except InvalidExperiment as error:
            raise InvalidParameters(error.problems) from error


def told(row: ExperimentRow) -> dict[str, Any]:
    """An experiment as the calls tell it."""
    step, due = ramps.next_step(row.ramp, row.share), ramps.due_at(row)
    following = {"share": step.share, "not_before": due} if step and due else None
    return asdict(row) | {"next_step": following}


class UserExperimentsAsked(BaseModel):
    """Query of ``GET /experiments``."""

    user_id: Id | None = Field(
        default=None, description="Left out: an anonymous user.", examples=["196"]
    )


class UserCalls:
    """Answered from what the worker knows, without a question to anybody."""

    def __init__(self, polled: Callable[[], Polled]) -> None:
        self._polled = polled

    async def get(self, request: Request) -> Response:
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
                        "id": one.id,
                        "salt": one.salt,
                        "layer": one.layer,
                        "layer_from": one.layer_from,
                        "layer_to": one.layer_to,
                        "share": one.share,
                        "arms": [{"name": arm.name, "weight": arm.weight} for arm in one.arms],
                    }
                    for one in traffic.experiments
                ],
            },
        )


def routes(api: Api, calls: ExperimentCalls, users: UserCalls) -> list[Route]:
    return [
        api.route("/api/v1/experiments", compressed=True, GET=users.get),
        api.route(PATH, compressed=True, GET=calls.browse, POST=calls.create),
        *(
            api.route(f"{PATH}/{{id:id}}/{name}", POST=getattr(calls, name))
            for name in ("start", "pause", "resume", "ramp", "end", "assign")
        ),
        api.route(f"{PATH}/{{id:id}}", compressed=True, GET=calls.get, PATCH=calls.patch),
    ]


class NextStep(BaseModel):
    """What a ramp waits for."""

    share: float
    not_before: datetime


class ExperimentTold(BaseModel):
    """An experiment, as it is now."""

    id: str
    status: Status
    description: str
    environment: str | None
    layer: str
    layer_from: float
    layer_to: float
    share: float = Field(description="Of the users of its slice of the layer.")
    share_since: datetime | None
    ramp: list[RampStep]
    next_step: NextStep | None = Field(description="Null: there is none, or it does not run.")
    arms: list[ArmDefinition] = Field(description="The first one is the control.")
    salt: str = Field(description="Decides who gets which arm.")
    primary_metric: Literal["ctr", "conversion"]
    winner_takes_all: bool
    held_because: str | None = Field(description="Why the ramp waits, or it is paused.")
    winner: str | None
    challenger_version: str | None = Field(description="What the challenger was at the start.")
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class ExperimentAnswer(ExperimentTold):
    """One experiment."""

    request_id: str


class ArmShown(BaseModel):
    """What the users of an arm were shown."""

    users: int = Field(description="Each once; without those who have their arm by hand.")
    impressions: int
    fallbacks: int = Field(description="Of the impressions, those that something else ranked.")


class ExperimentDetail(ExperimentAnswer):
    """One experiment, and who saw it. Rates and intervals are in `/admin/metrics`."""

    shown: dict[str, ArmShown] = Field(description="By arm.")
    sample_ratio_p: float = Field(
        description="That users came by the arms' weights; below 0.001 they did not."
    )
    assigned: dict[str, str] = Field(description="Arm by user, of those who have it by hand.")


class ExperimentList(BaseModel):
    """Experiments, the newest first."""

    experiments: list[ExperimentTold]
    request_id: str


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


EXAMPLE: dict[str, Any] = {
    "id": "new-model-may",
    "description": "Is the model of May better?",
    "arms": [{"name": "as-now"}, {"name": "new-model", "ranked_by": "challenger"}],
}
_operation = partial(describe.operation, tag="admin")
_ID = describe.path_id("id", "The experiment's id.")
SHAPES = [
    (ExperimentDefinition, "validation"),
    (ShareAsked, "validation"),
    (EndAsked, "validation"),
    (AssignAsked, "validation"),
    (Asked, "validation"),
    (ExperimentList, "serialization"),
    (ExperimentAnswer, "serialization"),
    (ExperimentDetail, "serialization"),
    (UserExperiments, "serialization"),
]


def _move(
    call: str, name: str, summary: str, shape: type[BaseModel], example: Any, description: str = ""
) -> dict[str, Any]:
    return {
        f"{PATH}/{{id}}/{call}": {
            "parameters": [_ID],
            "post": _operation(
                name,
                summary,
                answers={200: describe.answer("The experiment", ExperimentAnswer)},
                description=description,
                body=describe.json_body(shape, example) | {"required": shape is AssignAsked},
                problems=(404, 409, *describe.BODY_PROBLEMS, 503),
            ),
        }
    }


PATHS: dict[str, Any] = {
    "/api/v1/experiments": {
        "get": describe.operation(
            "userExperiments",
            "The arms and flags of a user",
            "feed",
            {
                200: describe.answer(
                    "What the user gets",
                    UserExperiments,
                    {
                        "experiments": {"new-model-may": "new-model"},
                        "flags": dict.fromkeys(BUILT_IN_FLAGS, True),
                        "definitions": [],
                        "request_id": "5f0c3f6b3c1f4f0e9a57d7a1a5b9a2a1",
                    },
                )
            },
            description="The feed goes by them without being told; this is for what else a "
            "product shows. As of a second ago, also while the database is away.",
            parameters=describe.query(UserExperimentsAsked),
            problems=(422,),
        )
    },
    PATH: {
        "get": _operation(
            "findExperiments",
            "Every experiment, the newest first",
            answers={200: describe.answer("The experiments", ExperimentList)},
            parameters=describe.query(ExperimentsAsked),
            problems=(422, 503),
        ),
        "post": _operation(
            "createExperiment",
            "Make an experiment, which is a draft at first",
            answers={201: describe.answer("The draft", ExperimentAnswer)},
            body=describe.json_body(ExperimentDefinition, EXAMPLE),
            problems=(409, *describe.BODY_PROBLEMS, 503),
        ),
    },
    f"{PATH}/{{id}}": {
        "parameters": [_ID],
        "get": _operation(
            "getExperiment",
            "One experiment, and who saw it",
            answers={200: describe.answer("The experiment", ExperimentDetail)},
            problems=(404, 422, 503),
        ),
        "patch": _operation(
            "patchExperiment",
            "Change a draft",
            answers={200: describe.answer("The draft", ExperimentAnswer)},
            description="JSON merge patch (RFC 7396) of its definition; a list is replaced whole.",
            body=describe.json_body(
                ExperimentDefinition, {"ramp": [{"share": 0.5, "hours": 48}, {"share": 1}]}
            ),
            problems=(404, 409, *describe.BODY_PROBLEMS, 503),
        ),
    },
    **_move("start", "startExperiment", "Let a draft run", Asked, {"reason": "planned"}),
    **_move(
        "pause",
        "pauseExperiment",
        "Everybody gets what they would without it",
        Asked,
        {"reason": "sale this weekend"},
        "Its slice of the layer stays its own.",
    ),
    **_move(
        "resume",
        "resumeExperiment",
        "Let it run again",
        Asked,
        {"reason": "the sale is over"},
        "Its step of the ramp begins anew.",
    ),
    **_move("ramp", "rampExperiment", "Set its share of the users", ShareAsked, {"share": 0.25}),
    **_move(
        "end",
        "endExperiment",
        "End it, for good",
        EndAsked,
        {"winner": "new-model"},
        "Nothing goes live by that: activate the version that won.",
    ),
    **_move(
        "assign",
        "assignUser",
        "Give a user an arm by hand",
        AssignAsked,
        {"user_id": "196", "arm": "new-model"},
        "To look at it. At most a thousand users of an experiment; they are left out of "
        "the sample ratio.",
    ),
}
