"""``/admin/experiments``: make, start, watch and end them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import psycopg
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from going_live import experiments, ramps
from going_live.definitions import ArmDefinition, ExperimentDefinition
from going_live.experiments import (
    Challenger,
    ExperimentError,
    InvalidExperiment,
    UnknownExperiment,
)
from models.profile.operation_sections import RampStep
from models.versions.version import RegistryAway
from serving.admin.parts import Asked, actor_of, asked, with_connection
from serving.admin.registry import VersionList
from serving.http.answers import answer_json
from serving.http.describe import path_id
from serving.http.endpoints import Answer, Body, Endpoints, Handler
from serving.http.fields import Id
from serving.http.inputs import id_in, parse, parse_query, read_object
from serving.http.problems import InvalidParameters, problem
from serving.versions.live_state import LiveState
from storage.operations import experiments as stored
from storage.operations.experiments import ExperimentRow, Status
from storage.settings import Settings

T = TypeVar("T")
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


EXAMPLE: dict[str, Any] = {
    "id": "new-model-may",
    "description": "Is the model of May better?",
    "arms": [{"name": "as-now"}, {"name": "new-model", "ranked_by": "challenger"}],
}
ID = path_id("id", "The experiment's id.")
endpoints = Endpoints(tag="admin", scope="admin", problems=(503,))


def _move(
    call: str, shape: type[BaseModel], example: Any, *, required: bool = False
) -> Callable[[Handler], Handler]:
    return endpoints.declare(
        f"POST /api/v1/admin/experiments/{{id:id}}/{call}",
        Answer("The experiment", ExperimentAnswer),
        parameters=[ID],
        body=Body(shape, example, required=required),
        problems=(404, 409),
    )


class ExperimentCalls:
    def __init__(
        self, settings: Settings, versions: VersionList, state: Callable[[], LiveState]
    ) -> None:
        self._settings = settings
        self._versions = versions
        self._state = state

    @endpoints.declare(
        "GET /api/v1/admin/experiments",
        Answer("The experiments", ExperimentList),
        audited=False,
        compressed=True,
        query=ExperimentsAsked,
    )
    async def find_experiments(self, request: Request) -> Response:
        """Every experiment, the newest first."""
        asked_for = parse_query(ExperimentsAsked, request.query_params)
        statuses = (asked_for.status,) if asked_for.status else ()
        rows = await self._run(lambda c: stored.listed(c, *statuses))
        return answer_json(request, {"experiments": [described(row) for row in rows]})

    @endpoints.declare(
        "POST /api/v1/admin/experiments",
        Answer("The draft", ExperimentAnswer, status=201),
        compressed=True,
        body=Body(ExperimentDefinition, EXAMPLE),
        problems=(409,),
    )
    async def create_experiment(self, request: Request) -> Response:
        """Make an experiment, which is a draft at first."""
        body = parse(ExperimentDefinition, await read_object(request))
        return await self._change(
            request,
            lambda c: experiments.create(c, body, self._profile, actor=actor_of(request)),
            201,
        )

    @_move("start", Asked, {"reason": "planned"})
    async def start_experiment(self, request: Request) -> Response:
        """Let a draft run."""
        id, challenger = id_in(request), await self._challenger()
        await asked(Asked, request)
        return await self._change(
            request,
            lambda c: experiments.start(
                c, id, self._profile, actor=actor_of(request), challenger=challenger
            ),
        )

    @_move("pause", Asked, {"reason": "sale this weekend"})
    async def pause_experiment(self, request: Request) -> Response:
        """Everybody gets what they would without it.

        Its slice of the layer stays its own.
        """
        id, body = id_in(request), await asked(Asked, request)
        return await self._change(
            request,
            lambda c: experiments.pause(c, id, actor=actor_of(request), reason=body.reason),
        )

    @_move("resume", Asked, {"reason": "the sale is over"})
    async def resume_experiment(self, request: Request) -> Response:
        """Let it run again.

        Its step of the ramp begins anew.
        """
        id, challenger = id_in(request), await self._challenger()
        await asked(Asked, request)
        return await self._change(
            request,
            lambda c: experiments.resume(c, id, actor=actor_of(request), challenger=challenger),
        )

    @_move("ramp", ShareAsked, {"share": 0.25})
    async def ramp_experiment(self, request: Request) -> Response:
        """Set its share of the users."""
        id, body = id_in(request), await asked(ShareAsked, request)
        return await self._change(
            request,
            lambda c: experiments.set_share(
                c, id, body.share, actor=actor_of(request), reason=body.reason
            ),
        )

    @_move("end", EndAsked, {"winner": "new-model"})
    async def end_experiment(self, request: Request) -> Response:
        """End it, for good.

        Nothing goes live by that: activate the version that won.
        """
        id, body = id_in(request), await asked(EndAsked, request)
        return await self._change(
            request,
            lambda c: experiments.end(
                c, id, actor=actor_of(request), winner=body.winner, reason=body.reason
            ),
        )

    @_move("assign", AssignAsked, {"user_id": "196", "arm": "new-model"}, required=True)
    async def assign_user(self, request: Request) -> Response:
        """Give a user an arm by hand.

        To look at it. At most a thousand users of an experiment; they are left out of the sample
        ratio.
        """
        id, body = id_in(request), await asked(AssignAsked, request)
        return await self._change(
            request,
            lambda c: experiments.assign(c, id, body.user_id, body.arm, actor=actor_of(request)),
        )

    @endpoints.declare(
        "GET /api/v1/admin/experiments/{id:id}",
        Answer("The experiment", ExperimentDetail),
        compressed=True,
        parameters=[ID],
        problems=(404,),
    )
    async def get_experiment(self, request: Request) -> Response:
        """One experiment, and who saw it."""
        id = id_in(request)

        def work(connection: psycopg.Connection) -> dict[str, Any]:
            row = experiments.find(connection, id)
            shown = stored.shown(connection, row)
            return described(row) | {
                "shown": {
                    arm: {"users": of.users, "impressions": of.impressions,
                          "fallbacks": of.fallbacks}
                    for arm, of in shown.items()
                },
                "sample_ratio_p": ramps.sample_ratio_p(row, shown),
                "assigned": stored.assigned(connection, id),
            }  # fmt: skip

        return answer_json(request, await self._run(work))

    @endpoints.declare(
        "PATCH /api/v1/admin/experiments/{id:id}",
        Answer("The draft", ExperimentAnswer),
        compressed=True,
        parameters=[ID],
        body=Body(ExperimentDefinition, {"ramp": [{"share": 0.5, "hours": 48}, {"share": 1}]}),
        problems=(404, 409),
    )
    async def patch_experiment(self, request: Request) -> Response:
        """Change a draft.

        JSON merge patch (RFC 7396) of its definition; a list is replaced whole.
        """
        id, changes = id_in(request), await read_object(request)
        return await self._change(
            request,
            lambda c: experiments.patch(c, id, changes, self._profile, actor=actor_of(request)),
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
        return answer_json(request, described(row), status)

    async def _run(self, work: Callable[[psycopg.Connection], T]) -> T:
        try:
            return await with_connection(self._settings, work)
        except UnknownExperiment as error:
            raise HTTPException(404, str(error)) from error
        except ExperimentError as error:
            raise HTTPException(409, str(error)) from error
        except InvalidExperiment as error:
            raise InvalidParameters(error.problems) from error


def described(row: ExperimentRow) -> dict[str, Any]:
    """An experiment as the calls tell it."""
    step, due = ramps.next_step(row.ramp, row.share), ramps.due_at(row)
    following = {"share": step.share, "not_before": due} if step and due else None
    return asdict(row) | {"next_step": following}
