"""Dagster's web server after its code server died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from gateway.consoles import DAGSTER_READY
from tests.orchestration.test_cancelling import wait_for

DEFINITIONS = """
import dagster as dg

@dg.job
def nothing(): ...

@dg.schedule(job=nothing, cron_schedule="0 2 * * *")
def daily(): return dg.SkipReason("it was asked")

defs = dg.Definitions(schedules=[daily])
"""
ASKED = """mutation { scheduleDryRun(selectorData: {
    repositoryName: "__repository__", repositoryLocationName: "pipeline", scheduleName: "daily"
}, timestamp: 1770000000) { ... on DryRunInstigationTick { evaluationResult { skipReason } } } }"""


@pytest.fixture
def webserver(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    (tmp_path / "pipeline.py").write_text(DEFINITIONS)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "feedwright.dagster.webserver",
         "--socket", str(tmp_path / "sock"), "-m", "pipeline"],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        start_new_session=True,
    )  # fmt: skip
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_code_server_that_was_killed_comes_back(
    webserver: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    transport = httpx.HTTPTransport(uds=str(tmp_path / "sock"))
    with httpx.Client(transport=transport, base_url="http://dagster", timeout=60) as client:

        def ready() -> int:
            try:
                return client.get(DAGSTER_READY).status_code
            except httpx.TransportError:
                return 0

        wait_for(lambda: ready() == 200, 90, "no 200")
        for server in psutil.Process(webserver.pid).children():
            server.kill()
        wait_for(lambda: ready() == 503, 90, "no 503")
        wait_for(lambda: ready() == 200, 90, "no 200")
        told = client.post("/graphql", json={"query": ASKED}).json()
    assert told["data"]["scheduleDryRun"] == {"evaluationResult": {"skipReason": "it was asked"}}
