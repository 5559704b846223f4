"""A loopback server with what MLflow 3 keeps of one model: read and changed as by its REST API."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Answer = tuple[int, dict[str, Any]]


class FakeRegistry:
    """Versions of the model ``feedwright``.

    Attributes:
        versions: tags and metrics by number.
        aliases, tags: of the model.
        broken: it answers HTML with status 502.
        slow: seconds that every answer takes.
    """

    def __init__(self) -> None:
        self.versions: dict[str, tuple[dict[str, str], dict[str, float]]] = {}
        self.aliases: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.broken = False
        self.slow = 0.0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                self._answer(json.loads(self.rfile.read(size) or b"{}"))

            do_DELETE = do_POST

            def _answer(self, body: dict[str, Any]) -> None:
                time.sleep(fake.slow)
                parts = urlsplit(self.path)
                path = parts.path.removeprefix("/api/2.0/mlflow/")
                status, told = fake.answer(
                    f"{self.command} {path}", {**dict(parse_qsl(parts.query)), **body}
                )
                sent = b"<html>Bad Gateway</html>" if fake.broken else json.dumps(told).encode()
                self.send_response(502 if fake.broken else status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def add(self, version: str, metrics: dict[str, float], **tags: str) -> None:
        self.versions[version] = {"snapshot_artifact": "snapshot", **tags}, metrics

    def answer(self, call: str, given: dict[str, Any]) -> Answer:
        match call:
            case "GET registered-models/get":
                aliases = [{"alias": a, "version": v} for a, v in self.aliases.items()]
                return 200, {"registered_model": {"name": "feedwright", "aliases": aliases,
                                                  "tags": _pairs(self.tags)}}  # fmt: skip
            case "GET registered-models/alias":
                number = self.aliases.get(given["alias"])
                if number is None:
                    return _error("INVALID_PARAMETER_VALUE")
                return 200, {"model_version": self._version(number)}
            case "POST registered-models/alias":
                self.aliases[given["alias"]] = given["version"]
            case "DELETE registered-models/alias":
                self.aliases.pop(given["alias"], None)
            case "POST registered-models/set-tag":
                self.tags[given["key"]] = given["value"]
            case "GET model-versions/get":
                if given["version"] not in self.versions:
                    return _error("RESOURCE_DOES_NOT_EXIST")
                return 200, {"model_version": self._version(given["version"])}
            case "GET model-versions/search":
                return 200, {"model_versions": [self._version(v) for v in self.versions]}
            case "POST model-versions/set-tag":
                self.versions[given["version"]][0][given["key"]] = given["value"]
            case "DELETE model-versions/delete-tag":
                self.versions[given["version"]][0].pop(given["key"], None)
            case "GET runs/get":
                metrics = self.versions[given["run_id"].removeprefix("run-")][1]
                told = [{"key": k, "value": v, "timestamp": 1, "step": 0}
                        for k, v in metrics.items()]  # fmt: skip
                info = {
                    "run_id": given["run_id"],
                    "experiment_id": "1",
                    "status": "FINISHED",
                    "artifact_uri": f"mlflow-artifacts:/{given['run_id']}",
                }
                return 200, {"run": {"info": info, "data": {"metrics": told}}}
            case "GET /api/2.0/mlflow-artifacts/artifacts":
                return 200, {"files": [{"path": "manifest.json", "is_dir": False, "file_size": 1}]}
        return 200, {}

    def _version(self, number: str) -> dict[str, Any]:
        return {
            "name": "feedwright",
            "version": number,
            "run_id": f"run-{number}",
            "tags": _pairs(self.versions[number][0]),
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _error(code: str) -> Answer:
    return 404, {"error_code": code, "message": "there is no such thing"}
