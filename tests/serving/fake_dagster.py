"""A loopback server that answers the admin calls' GraphQL as Dagster 1.13 does."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOUR = 3600


class FakeDagster:
    """
    Attributes:
        going, over: runs of the daily job; one that is launched is going.
        launched: the tags of each.
        slow: seconds that every answer takes.
        code_away: whether the process with the pipeline's code is.
    """

    def __init__(self) -> None:
        now = time.time()
        self.going: list[dict[str, Any]] = []
        self.over = [_run("aaaa-1", "SUCCESS", now - 6 * HOUR, now - 5.9 * HOUR)]
        self.launched: list[dict[str, str]] = []
        self.slow = 0.0
        self.code_away = False
        self.assets = {
            ("sources", "interactions"): 0.4, ("sources", "items"): 6, ("sources", "users"): 6,
            ("features", "interaction_matrix"): 6, ("features", "item_similarities"): 6,
            ("features", "user_similarities"): 30, ("model", "trained_model"): 5.9,
            ("model", "model_evaluation"): 5.9, ("model", "snapshot"): 5.9,
            ("feed", "recommendations"): 5.8, ("feed", "engagement_metrics"): 0.7,
            ("feed", "trending_items"): 0.1, ("feed", "guardrail_metrics"): 0.6,
            ("feed", "off_policy"): None,
        }  # fmt: skip
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                time.sleep(fake.slow)
                told = {"data": fake.answer(body["query"], body["variables"])}
                sent = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def do_GET(self) -> None:  # DAGSTER_READY
                self.send_response(503 if fake.code_away else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        runs = {"going": {"results": self.going[:1]}, "over": {"results": self.over[:1]}}
        if "query Runs" in query:
            return runs
        if "query Assets" in query:
            return {"assetNodes": [self._node(*asset) for asset in self.assets.items()]}
        if "query Repositories" in query:
            repository = {"name": "__repository__", "location": {"name": "feedwright"},
                          "jobs": [{"name": "daily"}]}  # fmt: skip
            return {"repositoriesOrError": {"nodes": [repository]}}
        if "mutation DryRun" in query:
            tags = [{"key": "dagster/asset_partition_range_start", "value": "2026-11-20"},
                    {"key": "dagster/asset_partition_range_end", "value": "2026-11-21"},
                    {"key": "feedwright/trigger", "value": "schedule"}]  # fmt: skip
            found = {"error": None, "skipReason": None,
                     "runRequests": [{"runConfigYaml": "{}\n", "tags": tags}]}  # fmt: skip
            return {"scheduleDryRun": {"__typename": "DryRunInstigationTick",
                                       "evaluationResult": found}}  # fmt: skip
        sent = variables["params"]["executionMetadata"]["tags"]
        self.launched.append({tag["key"]: tag["value"] for tag in sent})
        run = _run(f"run-{len(self.launched)}", "STARTED", time.time(), None)
        self.going.insert(0, run)
        return {"launchRun": {"__typename": "LaunchRunSuccess", "run": run}}

    def _node(self, asset: tuple[str, str], hours: float | None) -> dict[str, Any]:
        made = [] if hours is None else [time.time() - hours * HOUR]
        return {
            "assetKey": {"path": [asset[1]]},
            "groupName": asset[0],
            "isMaterializable": True,
            "assetMaterializations": [{"timestamp": f"{at * 1000:.0f}"} for at in made],
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _run(id: str, status: str, began: float, ended: float | None) -> dict[str, Any]:
    return {"runId": id, "status": status, "creationTime": began, "startTime": began,
            "endTime": ended}  # fmt: skip
