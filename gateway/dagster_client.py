"""Asks Dagster by its GraphQL API: nothing of the pipeline, or of Dagster, is imported."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self

import httpx

from gateway.consoles import DAGSTER_READY

SECONDS = 30.0
"""A start waits so long: the pipeline's code may have to be loaded."""
LONG_AGO = 100
"""Runs in a row that planned a check and did not come to it."""
GOING = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
OVER = ["SUCCESS", "FAILURE", "CANCELED"]

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
RUNS = f"""query Runs($job: String!, $going: [RunStatus!]!, $over: [RunStatus!]!) {{
    going: runsOrError(filter: {{pipelineName: $job, statuses: $going}}, limit: 1) {{ {_RUN} }}
    over: runsOrError(filter: {{pipelineName: $job, statuses: $over}}, limit: 1) {{ {_RUN} }}
}}"""
ASSETS = """query Assets { assetNodes {
    assetKey { path } groupName isMaterializable
    assetMaterializations(limit: 1) { timestamp }
} }"""
CHECKS = """query Checks { assetNodes {
    assetKey { path } assetChecksOrError { ... on AssetChecks { checks { name } } }
} }"""
REPOSITORIES = """query Repositories { repositoriesOrError {
    ... on RepositoryConnection { nodes { name location { name } jobs { name } } }
} }"""
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


@dataclass(frozen=True)
class Run:
    """A run of a job; times in epoch seconds."""

    run_id: str
    status: str
    started_at: float | None
    ended_at: float | None


@dataclass(frozen=True)
class Asset:
    """``materialized_at``: epoch seconds; None: never."""

    name: str
    group: str
    materialized_at: float | None


@dataclass(frozen=True)
class RunRequest:
    """How a schedule starts its job: tags, and the configuration in YAML."""

    tags: dict[str, str]
    config: str


class DagsterClient:
    """Of Dagster's webserver at ``address``. All calls raise ``DagsterAway``."""

    def __init__(self, address: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.address = address
        self._http = httpx.AsyncClient(base_url=address, timeout=SECONDS, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(
        self, query: str, variables: Mapping[str, Any] | None = None, seconds: float = SECONDS
    ) -> dict[str, Any]:
        """The data of the answer, which comes within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                response = await self._http.post(
                    "/graphql", json={"query": query, "variables": variables or {}}
                )
            body = response.json()
        except TimeoutError as error:
            raise DagsterAway(f"no answer within {seconds:g} s") from error
        except httpx.ConnectError as error:
            raise DagsterAway("nothing listens there") from error
        except (httpx.HTTPError, ValueError) as error:
            raise DagsterAway(str(error) or type(error).__name__) from error
        data = body.get("data") if isinstance(body, dict) else None
        if not data:
            raise DagsterAway(_refusal(response.status_code, body))
        return data

    async def code_is_away(self, seconds: float) -> bool:
        """Whether the process with the pipeline's code is, while the web server answers."""
        try:
            answer = await self._http.get(DAGSTER_READY, timeout=seconds)
        except httpx.HTTPError:
            return False  # the whole web server is, which other calls find
        return answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE

    async def newest_runs(self, job: str, seconds: float) -> tuple[Run | None, Run | None]:
        """The newest run of the job that is on its way, and the newest that is over."""
        answer = await self.ask(RUNS, {"job": job, "going": GOING, "over": OVER}, seconds)
        return _first(answer["going"]), _first(answer["over"])

    async def assets(self, seconds: float = SECONDS) -> list[Asset]:
        """All that can be materialized, by name."""
        nodes = (await self.ask(ASSETS, seconds=seconds))["assetNodes"]
        return sorted(
            (_asset(node) for node in nodes if node["isMaterializable"]),
            key=lambda asset: asset.name,
        )

    async def checks_passed(self) -> dict[str, bool]:
        """By asset: whether all its checks passed, or only warned, when they last ran. Assets of
        which none ever ran are left out."""
        nodes = (await self.ask(CHECKS))["assetNodes"]
        left = [
            (node["assetKey"]["path"], check["name"])
            for node in nodes
            for check in node["assetChecksOrError"].get("checks") or []
        ]
        passed: dict[str, bool] = {}
        for limit in (1, LONG_AGO):
            if not left:
                break
            executions = await self.ask(_executions_query(left, limit))
            never = []
            for number, (path, name) in enumerate(left):
                ran = _last_that_ran(executions[f"check{number}"])
                if ran is None:
                    never.append((path, name))
                else:
                    asset = "/".join(path)
                    passed[asset] = passed.get(asset, True) and _held(ran)
            left = never
        return passed

    async def repository(self, job: str) -> dict[str, str]:
        """Selector of the one that has the job."""
        answer = await self.ask(REPOSITORIES)
        for node in answer["repositoriesOrError"].get("nodes") or []:
            if any(other["name"] == job for other in node["jobs"]):
                return {
                    "repositoryName": node["name"],
                    "repositoryLocationName": node["location"]["name"],
                }
        raise DagsterAway("it has not loaded the pipeline: see its page Deployment")

    async def run_request(self, schedule: str, repository: Mapping[str, str]) -> RunRequest:
        """The run that a schedule would ask for now."""
        variables = {
            "schedule": {**repository, "scheduleName": schedule},
            "at": datetime.now(UTC).timestamp(),
        }
        tick = (await self.ask(DRY_RUN, variables))["scheduleDryRun"]
        result = tick.get("evaluationResult") or {}
        requests = result.get("runRequests") or []
        if not requests:
            why = (result.get("error") or tick).get("message") or result.get("skipReason")
            raise DagsterAway(_plain(str(why or tick["__typename"])))
        tags = {tag["key"]: tag["value"] for tag in requests[0]["tags"]}
        return RunRequest(tags, requests[0]["runConfigYaml"])

    async def launch(
        self,
        job: str,
        config: str | Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
        repository: Mapping[str, str] | None = None,
    ) -> str:
        """Start a run, or put it in the queue.

        Args:
            repository: of the job; None: it is looked up.

        Returns:
            The run's id.
        """
        params = {
            "selector": {**(repository or await self.repository(job)), "jobName": job},
            "runConfigData": config,
            "mode": "default",
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]
            },
        }
        launched = (await self.ask(LAUNCH, {"params": params}))["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise DagsterAway(f"the run was refused: {_plain(launched.get('message') or '')}")
        return launched["run"]["runId"]


def _refusal(status: int, body: Any) -> str:
    """Why there is no data."""
    errors = body.get("errors") if isinstance(body, dict) else None
    messages = [str(error.get("message")) for error in errors or [] if isinstance(error, dict)]
    return _plain(messages[0]) if messages else f"it answers {status}"


def _plain(message: str) -> str:
    """An error of Dagster's in a line, those that everybody meets in our words."""
    for word, plain in PLAIN.items():
        if word in message:
            return plain
    return next((line.strip()[:300] for line in message.splitlines() if line.strip()), "no message")


def _first(runs: dict[str, Any]) -> Run | None:
    for run in runs.get("results") or []:
        began = run["startTime"] or run["creationTime"]
        return Run(run["runId"], run["status"], began, run["endTime"])
    return None


def _asset(node: dict[str, Any]) -> Asset:
    times = [float(made["timestamp"]) / 1000 for made in node["assetMaterializations"]]
    name = "/".join(node["assetKey"]["path"])
    return Asset(name, node.get("groupName") or "", max(times, default=None))


def _executions_query(checks: list[tuple[list[str], str]], limit: int) -> str:
    parts = [
        f"check{number}: assetCheckExecutions(assetKey: {{path: {json.dumps(path)}}}, "
        f"checkName: {json.dumps(name)}, limit: {limit}) "
        "{ status evaluation { success severity } }"
        for number, (path, name) in enumerate(checks)
    ]
    return f"query Executions {{ {' '.join(parts)} }}"


def _last_that_ran(executions: list[dict[str, Any]]) -> dict[str, Any] | None:
    """A run plans its checks at its start, and skips those of assets that it does not come to."""
    return next((each for each in executions if each["status"] in ("SUCCEEDED", "FAILED")), None)


def _held(execution: dict[str, Any]) -> bool:
    evaluation = execution["evaluation"]
    if evaluation is None:
        return execution["status"] == "SUCCEEDED"
    return evaluation["success"] or evaluation["severity"] == "WARN"
