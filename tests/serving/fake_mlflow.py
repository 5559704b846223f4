"""A loopback server that answers for aliases as MLflow 3 does."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class FakeMlflow:
    """Set ``version`` to move the alias champion, ``challenger`` to move that one; None: no alias.
    ``broken``: answers HTML, status 502. ``asked``: aliases that were asked for, in order."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.challenger: str | None = None
        self.asked: list[str] = []
        self.run_id: str | None = "run"
        self.tags: dict[str, str] = {"snapshot_artifact": "snapshot"}
        self.broken = False
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                alias = parse_qs(urlsplit(self.path).query).get("alias", ["champion"])[0]
                status, body = fake.answer(alias)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def answer(self, alias: str) -> tuple[int, bytes]:
        self.asked.append(alias)
        if self.broken:
            return 502, b"<html>Bad Gateway</html>"
        version = self.version if alias == "champion" else self.challenger
        if version is None:
            error = {"error_code": "INVALID_PARAMETER_VALUE", "message": "alias not found"}
            return 400, json.dumps(error).encode()
        found = {
            "name": "feedwright",
            "version": version,
            "run_id": self.run_id,
            "tags": [{"key": key, "value": value} for key, value in self.tags.items()],
        }
        return 200, json.dumps({"model_version": found}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
