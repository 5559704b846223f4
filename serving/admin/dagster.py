"""What Dagster knows and does, by its GraphQL API: serving imports nothing of the pipeline."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx

from gateway.consoles import DAGSTER_READY

TRAINING_JOB = "daily"
TRAINING_SCHEDULE = "daily_at_two"
"""It knows which days a training has to read."""
TRIGGER_TAG = "feedwright/trigger"
GOING = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
OVER = ["SUCCESS", "FAILURE", "CANCELED"]

LOOK_SECONDS = 1.5
START_SECONDS = 30.0
KEPT_SECONDS = 4.0
"""How long what was seen is good enough."""

CODE_AWAY = (
    "the process with the pipeline's code is away; it is started anew within seconds, and until "
    "then no training can be started from here or from Dagster's pages"
)
PLAIN = {
    "psycopg": "its database did not answer: try again in a moment",
    "DagsterUserCodeUnreachableError": CODE_AWAY,
    "DagsterUserCodeProcessError": "the pipeline's code does not load: see Deployment in Dagster",
}
"""What is said in place of a message that has such a word."""

_RUN = "... on Runs { results { runId status creationTime startTime endTime } }"
_RUNS = f"""
    going: runsOrError(filter: {{pipelineName: $job, statuses: $going}}, limit: 1) {{ {_RUN} }}
    over: runsOrError(filter: {{pipelineName: $job, statuses: $over}}, limit: 1) {{ {_RUN} }}
"""
_VARIABLES = "($job: String!, $going: [RunStatus!]!, $over: [RunStatus!]!)"
LOOK = f"""query Look{_VARIABLES} {{
    {_RUNS}
    assetNodes {{
        assetKey {{ path }} groupName isMaterializable
        assetMaterializations(limit: 1) {{ timestamp }}
    }}
}}"""
PLACE = f"""query Place{_VARIABLES} {{
    {_RUNS}
    repositoriesOrError {{
        ... on RepositoryConnection {{ nodes {{ name location {{ name }} schedules {{ name }} }} }}
    }}
}}"""
DRY_RUN = """mutation DryRun($schedule: ScheduleSelector!, $at: Float!) {
    scheduleDryRun(selectorData: $schedule, timestamp: $at) {
        __typename
        ... on PythonError { message }
        ... on DryRunInstigationTick { evaluationResult {
            error { message } skipReason runRequests { runConfigYaml tags { key value } }
        } }
    }
}"""
LAUNCH = """mutation Launch($params: ExecutionParams!) {
    launchRun(executionParams: $params) {
        __typename
        ... on LaunchRunSuccess { run { runId } }
        ... on Error { message }
    }
}"""


class DagsterAway(RuntimeError):
    """Dagster does not answer, or cannot do what it is asked."""


class TrainingRuns(RuntimeError):
    """A training is on its way already.

    Attributes:
        run_id: of it; None: it is only being started.
    """

    def __init__(self, run_id: str | None) -> None:
        super().__init__(f"run {run_id}" if run_id else "it is being started")
        self.run_id = run_id


@dataclass(frozen=True)
class Run:
    """A run of the training job; times in epoch seconds."""

    run_id: str
    status: str
    started_at: float | None
    ended_at: float | None


@dataclass(frozen=True)
class Freshness:
    """When an asset was last made, in epoch seconds; None: never."""

    asset: str
    group: str
    materialized_at: float | None


@dataclass(frozen=True)
class Seen:
    """What a look at Dagster found.

    Attributes:
        going, ended: the newest training that is on its way, and that is over.
        code_away: whether the process with the pipeline's code is.
    """

    going: Run | None
    ended: Run | None
    freshness: list[Freshness]
    code_away: bool


class Dagster:
    """Dagster's webserver at ``address``, whose pages people open at ``public_address``."""

    def __init__(self, address: str, public_address: str) -> None:
        self.address = address
        self.public_address = public_address
        self._client = httpx.AsyncClient(base_url=address, timeout=START_SECONDS)
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
                    found, code_away = await asyncio.gather(
                        self._ask(LOOK, _FILTERS, LOOK_SECONDS), self._code_away()
                    )
                    seen = _seen(found, code_away)
                except DagsterAway as error:
                    seen = error
                self._seen = time.monotonic(), seen
            last = self._seen[1]
        if isinstance(last, DagsterAway):
            raise last
        return last

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
            found = await self._ask(PLACE, _FILTERS, LOOK_SECONDS)
            going = _first(found["going"])
            if going is not None:
                raise TrainingRuns(going.run_id)
            place = _place(found)
            tags, config = await self._wanted(place)
            params = {
                "selector": {**place, "jobName": TRAINING_JOB},
                "runConfigData": config,
                "mode": "default",
                "executionMetadata": {
                    "tags": [{"key": k, "value": v} for k, v in (tags | {TRIGGER_TAG: why}).items()]
                },
            }
            answer = await self._ask(LAUNCH, {"params": params}, START_SECONDS)
            launched = answer["launchRun"]
            if launched["__typename"] != "LaunchRunSuccess":
                raise DagsterAway(f"the run was refused: {launched.get('message')}")
            self._seen = None
            return launched["run"]["runId"]

    async def _wanted(self, place: dict[str, str]) -> tuple[dict[str, str], str]:
        """Tags and configuration of the run that the schedule would ask for now."""
        schedule = {**place, "scheduleName": TRAINING_SCHEDULE}
        at = datetime.now(UTC).timestamp()
        tick = (await self._ask(DRY_RUN, {"schedule": schedule, "at": at}, START_SECONDS))[
            "scheduleDryRun"
        ]
        result = tick.get("evaluationResult") or {}
        requests = result.get("runRequests") or []
        if not requests:
            told = (result.get("error") or tick).get("message") or result.get("skipReason")
            why = _plain(str(told or tick["__typename"]))
            raise DagsterAway(f"the days to train on are not known: {why}")
        tags = {tag["key"]: tag["value"] for tag in requests[0]["tags"]}
        return tags, requests[0]["runConfigYaml"]

    async def _ask(self, query: str, variables: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds):
                response = await self._client.post(
                    "/graphql", json={"query": query, "variables": variables}
                )
            body = response.json()
        except TimeoutError as error:
            raise DagsterAway(f"no answer within {seconds:g} s") from error
        except (httpx.HTTPError, ValueError) as error:
            raise DagsterAway(str(error) or type(error).__name__) from error
        data = body.get("data") if isinstance(body, dict) else None
        if not data:
            raise DagsterAway(_refusal(response.status_code, body))
        return data

    async def _code_away(self) -> bool:
        try:
            answer = await self._client.get(DAGSTER_READY, timeout=LOOK_SECONDS)
        except httpx.HTTPError:
            return False  # the whole web server is, which the other question finds
        return answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE


_FILTERS: dict[str, Any] = {"job": TRAINING_JOB, "going": GOING, "over": OVER}


def _refusal(status: int, body: Any) -> str:
    """Why there is no data."""
    errors = body.get("errors") if isinstance(body, dict) else None
    told = [str(error.get("message")) for error in errors or [] if isinstance(error, dict)]
    return _plain(told[0]) if told else f"it answers {status}"


def _plain(message: str) -> str:
    """An error of Dagster's in a line, those that everybody meets in our words."""
    for word, said in PLAIN.items():
        if word in message:
            return said
    return next((line.strip()[:300] for line in message.splitlines() if line.strip()), "no message")


def _seen(found: dict[str, Any], code_away: bool) -> Seen:
    freshness = [
        Freshness(
            "/".join(node["assetKey"]["path"]),
            node.get("groupName") or "",
            max(
                (float(m["timestamp"]) / 1000 for m in node["assetMaterializations"]), default=None
            ),
        )
        for node in found["assetNodes"]
        if node["isMaterializable"]
    ]
    freshness.sort(key=lambda one: (one.group, one.asset))
    return Seen(_first(found["going"]), _first(found["over"]), freshness, code_away)


def _first(runs: dict[str, Any]) -> Run | None:
    for run in runs.get("results") or []:
        began = run["startTime"] or run["creationTime"]
        return Run(run["runId"], run["status"], began, run["endTime"])
    return None


def _place(found: dict[str, Any]) -> dict[str, str]:
    for node in found["repositoriesOrError"].get("nodes") or []:
        if any(schedule["name"] == TRAINING_SCHEDULE for schedule in node["schedules"]):
            return {
                "repositoryName": node["name"],
                "repositoryLocationName": node["location"]["name"],
            }
    raise DagsterAway("it has not loaded the pipeline: see its page Deployment")
