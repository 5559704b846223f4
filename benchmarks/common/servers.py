"""The servers under load: the real Bento with all that it leans on, and a constant one."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import yaml

from benchmarks.common.ports import free_port
from benchmarks.common.report import BenchmarkError, log
from models.profile.schema import Profile
from serving.launch import ROOT, feed_command, feed_environment
from storage.postgres.database import migrate
from storage.postgres.embedded import EmbeddedPostgres
from storage.settings import Settings

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 20.0


class Memory(NamedTuple):
    """Bytes that one worker holds for itself, and bytes that the workers map together."""

    worker: float
    shared: float


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen[bytes]

    def workers(self) -> list[psutil.Process]:
        """Processes that answer; not what these start in their turn, which may just have ended."""
        runner = psutil.Process(self.process.pid)
        return [
            child
            for child in runner.children()
            if child.status() != psutil.STATUS_ZOMBIE and "serving.worker" in child.cmdline()
        ] or [runner]

    def held(self) -> dict[int, float]:
        """Bytes that each worker holds for itself, by its process id."""
        return {worker.pid: float(worker.memory_full_info().uss) for worker in self.workers()}

    def memory(self) -> Memory:
        workers = self.workers()
        used = [worker.memory_full_info() for worker in workers]
        own = sum(process.uss for process in used)
        return Memory(own / len(used), sum(process.pss for process in used) - own)


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """Address of an embedded Postgres with our tables, all empty; removed afterwards."""
    server = EmbeddedPostgres(folder / "postgres")
    try:
        url = server.start()
        migrate(url)
        yield url
    finally:
        server.remove()


@contextmanager
def registry(version: str) -> Iterator[str]:
    """Address of a server that says, as MLflow's REST API does, that ``version`` is champion."""
    champion = {"name": "feedwright", "version": version, "run_id": "run", "tags": []}
    body = json.dumps({"model_version": champion}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing: two lines a second tell nobody anything."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def feed_server(
    snapshot: Path,
    version: str,
    workers: int,
    database_url: str,
    registry_url: str,
    folder: Path,
    profile: Profile,
) -> Iterator[Server]:
    """The real Bento, as ``feedwright up`` starts it, with ``snapshot`` as its champion."""
    folder.mkdir()
    written = folder / "profile.yaml"
    written.write_text(yaml.safe_dump(profile.model_dump(mode="json")))
    settings = Settings(
        home=folder / "home",
        profile=str(written),
        database_url=database_url,
        mlflow_url=registry_url,
        host=HOST,
        feed_port=free_port(),
        feed_workers=workers,
    )
    settings.snapshots.mkdir(parents=True)
    (settings.snapshots / version).symlink_to(snapshot)
    with serving(
        feed_command(settings), feed_environment(settings), settings.feed_port, folder / "feed.log"
    ) as server:
        yield server


@contextmanager
def constant_server(body: bytes, workers: int, folder: Path) -> Iterator[Server]:
    """The same kind of server, which returns ``body`` to everybody."""
    settings = Settings(
        home=folder / "constant", host=HOST, feed_port=free_port(), feed_workers=workers
    )
    file = folder / "constant.json"
    file.write_bytes(body)
    command = [*feed_command(settings), "benchmarks.common.constant:Constant"]
    environment = feed_environment(settings) | {"CONSTANT_BODY": str(file)}
    with serving(command, environment, settings.feed_port, folder / "constant.log") as server:
        yield server


@contextmanager
def serving(
    command: list[str], environment: Mapping[str, str], port: int, output: Path
) -> Iterator[Server]:
    with open(output, "wb") as file:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    server = Server(f"http://{HOST}:{port}", process)
    try:
        _wait_ready(server, output)
        yield server
    finally:
        stop_tree(process)


def _wait_ready(server: Server, output: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS and server.process.poll() is None:
        try:
            with httpx.Client(trust_env=False, timeout=5) as client:
                if client.get(f"{server.url}/readyz").status_code == 200:
                    log.info("%s ready after %.1f s", output.stem, time.monotonic() - began)
                    return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise BenchmarkError(
        f"{output.stem} does not start:\n{output.read_text(errors='replace')[-2000:]}"
    )


def stop_tree(process: subprocess.Popen[Any]) -> None:
    """End a process, and its children if they stay behind."""
    if process.poll() is not None:
        return
    family = [*psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in psutil.wait_procs(family, timeout=STOP_SECONDS)[1]:
        child.kill()
