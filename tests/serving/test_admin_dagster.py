"""What the admin calls ask of Dagster, asked of a real one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.common.ports import free_port
from gateway.consoles import DAGSTER_READY
from gateway.dagster_client import DagsterAway, DagsterClient
from serving.admin.dagster import TRIGGER_TAG, Dagster, Seen, TrainingRuns

DEFINITIONS = """
import time
import dagster as dg

@dg.asset(group_name="model", partitions_def=dg.DailyPartitionsDefinition("2026-01-01"),
          backfill_policy=dg.BackfillPolicy.single_run())
def trained(context):
    context.log.info(str(context.partition_key_range))
    time.sleep(60)

@dg.asset(group_name="feed")
def lists(): ...

daily = dg.define_asset_job("daily", selection=[trained])

@dg.schedule(job=daily, cron_schedule="0 2 * * *")
def daily_at_two():
    return dg.RunRequest(tags={
        "dagster/asset_partition_range_start": "2026-01-02",
        "dagster/asset_partition_range_end": "2026-01-04",
        "feedwright/trigger": "schedule",
    })

defs = dg.Definitions([trained, lists], jobs=[daily], schedules=[daily_at_two],
                      executor=dg.in_process_executor)
"""


def test_a_training_starts_over_the_days_of_its_schedule(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text(DEFINITIONS)
    # Without the daemon nothing takes runs from a queue.
    (tmp_path / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}\n"
    )
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "dagster_webserver", "-f", str(tmp_path / "pipeline.py"),
            "-h", "127.0.0.1", "-p", str(port),
        ],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        asyncio.run(_train(DagsterClient(f"http://127.0.0.1:{port}")))
    finally:
        os.killpg(process.pid, 15)
        process.wait(120)


async def _train(client: DagsterClient) -> None:
    dagster = Dagster(client, "https://dagster.example")
    seen = await _seen(dagster)
    assert [(asset.group, asset.name, asset.materialized_at) for asset in seen.assets] == [
        ("feed", "lists", None),
        ("model", "trained", None),
    ]
    assert seen.going is None
    run_id = await dagster.train("ann: because")
    assert dagster.run_address(run_id) == f"https://dagster.example/runs/{run_id}"
    with pytest.raises(TrainingRuns, match=run_id):
        await dagster.train("again")
    seen = await dagster.look()
    assert seen.going is not None
    assert seen.going.run_id == run_id
    query = "query Run($id: ID!) { runOrError(runId: $id) { ... on Run { tags { key value } } } }"
    found = await client.ask(query, {"id": run_id}, 10)
    tags = {tag["key"]: tag["value"] for tag in found["runOrError"]["tags"]}
    assert tags["dagster/asset_partition_range_start"] == "2026-01-02"
    assert tags["dagster/asset_partition_range_end"] == "2026-01-04"
    assert tags[TRIGGER_TAG] == "ann: because"


async def _seen(dagster: Dagster) -> Seen:
    """What is there once the webserver is up."""
    deadline = time.monotonic() + 150
    while True:
        try:
            seen = await dagster.look()
            if seen.assets:
                return seen
        except DagsterAway:
            pass
        assert time.monotonic() < deadline
        await asyncio.sleep(0.3)


POSTGRES_AWAY = (
    "(psycopg2.OperationalError) server closed the connection unexpectedly\n"
    "\tThis probably means the server terminated abnormally\n[SQL: SELECT runs.id FROM runs]"
)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, {"data": None, "errors": [{"message": POSTGRES_AWAY}]}), "its database did not"),
        ((502, {"detail": "Dagster does not answer"}), "it answers 502"),
        (
            (200, {"errors": [{"message": "Cannot query field x\non type y"}]}),
            "Cannot query field x",
        ),
    ],
)
def test_what_dagster_refuses_is_told_in_a_sentence(answer: tuple[int, Any], said: str) -> None:
    async def asked() -> None:
        dagster = _answering({"/graphql": answer, DAGSTER_READY: (200, {})})
        with pytest.raises(DagsterAway) as told:
            await dagster.look()
        assert str(told.value).startswith(said)
        assert "\n" not in str(told.value)
        assert "psycopg" not in str(told.value)

    asyncio.run(asked())


@pytest.mark.parametrize("status", [200, 404, 503])
def test_a_code_server_that_is_away_is_seen(status: int) -> None:
    nothing: dict[str, Any] = {"going": {}, "over": {}, "assetNodes": []}
    answers = {"/graphql": (200, {"data": nothing}), DAGSTER_READY: (status, {})}
    seen = asyncio.run(_answering(answers).look())
    assert seen.code_away == (status == 503)


def _answering(answers: dict[str, tuple[int, Any]]) -> Dagster:
    """A client of a Dagster that answers so, by path."""

    def answer(request: httpx.Request) -> httpx.Response:
        status, body = answers[request.url.path]
        return httpx.Response(status, json=body)

    client = DagsterClient("http://dagster", httpx.MockTransport(answer))
    return Dagster(client, "http://dagster")
