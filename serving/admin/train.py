"""``/admin/train``: start the training in Dagster."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.admin.dagster import TRAINING_JOB, Dagster, DagsterAway, TrainingRuns
from serving.admin.parts import Asked, Unfinished, actor_of, asked, in_time
from serving.http import describe
from serving.http.answers import Api, answer_json
from serving.http.problems import problem

PATH = "/api/v1/admin/train"


class Train(Asked):
    """Train a model now."""


class TrainCalls:
    def __init__(self, dagster: Dagster) -> None:
        self._dagster = dagster
        self._running: set[asyncio.Future[Any]] = set()

    async def train(self, request: Request) -> Response:
        body = await asked(Train, request)
        why = f"{actor_of(request)}: {body.reason}"
        try:
            run_id = await in_time(self._dagster.train(why), self._running)
        except TrainingRuns as error:
            where = f": {self._dagster.run_address(error.run_id)}" if error.run_id else ""
            raise HTTPException(409, f"A training is on its way already{where}.") from error
        except DagsterAway as error:
            return problem(
                request,
                503,
                f"Dagster at {self._dagster.address} cannot start it: {error}.",
                headers={"Retry-After": "10"},
            )
        if isinstance(run_id, Unfinished):
            runs = f"{self._dagster.public_address}/jobs/{TRAINING_JOB}/runs"
            return answer_json(request, {"run_id": None, "address": runs}, 202)
        address = self._dagster.run_address(run_id)
        return answer_json(request, {"run_id": run_id, "address": address}, 202)


def routes(api: Api, calls: TrainCalls) -> list[Route]:
    return [api.route(PATH, POST=calls.train)]


class TrainingStarted(BaseModel):
    """A run of Dagster."""

    run_id: str | None = Field(description="Null: Dagster takes its time; the status will tell.")
    address: str = Field(description="Of its page.")
    request_id: str


SHAPES = [(TrainingStarted, "serialization"), (Train, "validation")]
PATHS: dict[str, Any] = {
    PATH: {
        "post": partial(describe.operation, tag="admin")(
            "train",
            "Start a training",
            answers={202: describe.answer("It has started", TrainingStarted)},
            description="The daily job over the days that changed, as its schedule would run it. "
            "409 while one is on its way.",
            body=describe.json_body(Train, {"reason": "new catalogue"}) | {"required": False},
            problems=(409, *describe.BODY_PROBLEMS, 503),
        )
    }
}
