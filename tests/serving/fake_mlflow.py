"""A loopback server that answers for a champion alias as MLflow 3 does."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeMlflow:
    """Set ``version`` to move the alias; None: no alias. ``broken``: answers HTML, status 502."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.run_id: str | None = "run"
        self.tags: dict[str, str] = {"snapshot_artifact": "snapshot"}
        self.broken = False
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, body = fake.answer()
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

    def answer(self) -> tuple[int, bytes]:
        if self.broken:
            return 502, b"<html>Bad Gateway</html>"
        if self.version is None:
            error = {"error_code": "INVALID_PARAMETER_VALUE", "message": "alias not found"}
            return 400, json.dumps(error).encode()
        found = {
            "name": "feedwright",
            "version": self.version,
            "run_id": self.run_id,
            "tags": [{"key": key, "value": value} for key, value in self.tags.items()],
        }
        return 200, json.dumps({"model_version": found}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
