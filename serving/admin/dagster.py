"""Trainings of Dagster, and the age of what it made: looked at and started."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from gateway.dagster_client import Asset, DagsterAway, DagsterClient, Run

TRAINING_JOB = "daily"
TRAINING_SCHEDULE = "daily_at_two"
"""It knows which days a training has to read."""
TRIGGER_TAG = "feedwright/trigger"

LOOK_SECONDS = 1.5
KEPT_SECONDS = 4.0
"""How long what was seen is good enough."""


class TrainingRuns(RuntimeError):
    """A training is on its way already.

    Attributes:
        run_id: of it; None: it is only being started.
    """

    def __init__(self, run_id: str | None) -> None:
        super().__init__(f"run {run_id}" if run_id else "it is being started")
        self.run_id = run_id


@dataclass(frozen=True)
class Seen:
    """What a look at Dagster found.

    Attributes:
        going, ended: the newest training that is on its way, and that is over.
        assets: by group and name.
        code_away: whether the process with the pipeline's code is.
    """

    going: Run | None
    ended: Run | None
    assets: list[Asset]
    code_away: bool


class Dagster:
    """What the admin calls need of Dagster, whose pages people open at ``public_address``."""

    def __init__(self, client: DagsterClient, public_address: str) -> None:
        self.address = client.address
        self.public_address = public_address
        self._client = client
        self._looking = asyncio.Lock()
        self._starting = asyncio.Lock()
        self._seen: tuple[float, Seen | DagsterAway] | None = None

    def run_address(self, run_id: str) -> str:
        """Of the run's page, for people."""
        return f"{self.public_address}/runs/{run_id}"

    async def look(self) -> Seen:
        """Trainings and the age of every asset, at most ``KEPT_SECONDS`` old.

        Raises:
            DagsterAway: no answer within ``LOOK_SECONDS``.
        """
        async with self._looking:
            now = time.monotonic()
            if self._seen is None or now - self._seen[0] > KEPT_SECONDS:
                seen: Seen | DagsterAway
                try:
                    seen = await self._look()
                except DagsterAway as error:
                    seen = error
                self._seen = time.monotonic(), seen
            last = self._seen[1]
        if isinstance(last, DagsterAway):
            raise last
        return last

    async def _look(self) -> Seen:
        (going, ended), assets, code_away = await asyncio.gather(
            self._client.newest_runs(TRAINING_JOB, LOOK_SECONDS),
            self._client.assets(LOOK_SECONDS),
            self._client.code_is_away(LOOK_SECONDS),
        )
        assets.sort(key=lambda asset: (asset.group, asset.name))
        return Seen(going, ended, assets, code_away)

    async def train(self, why: str) -> str:
        """Start the training job over the days that its schedule would choose now.

        Returns:
            The run's id.

        Raises:
            TrainingRuns: one is on its way.
            DagsterAway: it does not answer, or has not loaded the pipeline.
        """
        if self._starting.locked():
            raise TrainingRuns(None)
        async with self._starting:
            going, _ = await self._client.newest_runs(TRAINING_JOB, LOOK_SECONDS)
            if going is not None:
                raise TrainingRuns(going.run_id)
            repository = await self._client.repository(TRAINING_JOB)
            try:
                request = await self._client.run_request(TRAINING_SCHEDULE, repository)
            except DagsterAway as error:
                raise DagsterAway(f"the days to train on are not known: {error}") from error
            tags = request.tags | {TRIGGER_TAG: why}
            run_id = await self._client.launch(TRAINING_JOB, request.config, tags, repository)
            self._seen = None
            return run_id
