"""``/admin/train``: start the training in Dagster."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.dagster_client import DagsterAway
from serving.admin.dagster import TRAINING_JOB, Dagster, TrainingRuns
from serving.admin.parts import Asked, Unfinished, actor_of, asked, in_time
from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Body, Endpoints
from serving.http.problems import problem


class Train(Asked):
    """Train a model now."""


class TrainingStarted(BaseModel):
    """A run of Dagster."""

    run_id: str | None = Field(description="Null: Dagster takes its time; the status will tell.")
    address: str = Field(description="Of its page.")
    request_id: str


endpoints = Endpoints(tag="admin", scope="admin", problems=(503,))


class TrainCalls:
    def __init__(self, dagster: Dagster) -> None:
        self._dagster = dagster
        self._running: set[asyncio.Future[Any]] = set()

    @endpoints.declare(
        "POST /api/v1/admin/train",
        Answer("It has started", TrainingStarted, status=202),
        body=Body(Train, {"reason": "new catalogue"}, required=False),
        problems=(409,),
    )
    async def train(self, request: Request) -> Response:
        """Start a training.

        The daily job over the days that changed, as its schedule would run it. 409 while one is on
        its way.
        """
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
