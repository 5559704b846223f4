"""What the client makes of Dagster's answers; a real Dagster is asked in tests/serving."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from gateway.dagster_client import LONG_AGO, DagsterClient

WARNED = {"status": "FAILED", "evaluation": {"success": False, "severity": "WARN"}}
FAILED = {"status": "FAILED", "evaluation": {"success": False, "severity": "ERROR"}}
PASSED = {"status": "SUCCEEDED", "evaluation": {"success": True, "severity": "ERROR"}}
SKIPPED = {"status": "SKIPPED", "evaluation": None}
EXECUTIONS: dict[str, list[dict[str, Any]]] = {  # newest first
    "a": [PASSED, FAILED], "b": [WARNED], "c": [SKIPPED, SKIPPED, FAILED], "d": [SKIPPED], "e": [],
}  # fmt: skip


def answer(request: httpx.Request) -> httpx.Response:
    query = json.loads(request.content)["query"]
    if "query Checks" in query:
        nodes = [
            {"assetKey": {"path": [name]}, "assetChecksOrError": {"checks": [{"name": "good"}]}}
            for name in EXECUTIONS
        ]
        return httpx.Response(200, json={"data": {"assetNodes": [*nodes, NO_CHECKS]}})
    limit = LONG_AGO if f"limit: {LONG_AGO})" in query else 1
    asked = [part.split('"')[1] for part in query.split("assetKey:")[1:]]
    data = {f"check{number}": EXECUTIONS[name][:limit] for number, name in enumerate(asked)}
    return httpx.Response(200, json={"data": data})


NO_CHECKS = {"assetKey": {"path": ["f"]}, "assetChecksOrError": {"checks": []}}


def test_a_check_counts_as_when_it_last_ran() -> None:
    client = DagsterClient("http://dagster", httpx.MockTransport(answer))
    assert asyncio.run(client.checks_passed()) == {"a": True, "b": True, "c": False}
