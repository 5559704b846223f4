"""Every container's command, run on loopback with the container's environment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from benchmarks.common.ports import free_port
from storage.settings import with_driver
from tests.conftest import url_of
from tests.deploy.compose import DEPLOY, ROOT, SECRETS, copies, image_environment, load, ours

HOME = "/var/lib/feedwright"
PORTS = {"mlflow": "5000", "pipeline": "4000", "webserver": "3001", "feed": "3000"}
ONE_WORKER = {"FEEDWRIGHT_FEED_WORKERS": "1"}
SECONDS = 150  # until all are up; the machine may be busy


@dataclass
class Stack:
    """Containers without the walls: folders, addresses and ports are of this machine."""

    folder: Path
    database: str
    services: dict[str, dict[str, Any]] = field(
        default_factory=lambda: ours(load(SECRETS | ONE_WORKER))
    )
    ports: dict[str, str] = field(
        default_factory=lambda: {name: str(free_port()) for name in PORTS}
    )
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        app, home = self.folder / "app", self.folder / "home"
        (home / "dagster").mkdir(parents=True)
        app.mkdir()
        for _, sources, target in copies():
            for source in sources:
                if target.startswith(HOME):
                    continue
                link = app / source
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(ROOT / source)
        for file in (DEPLOY / "dagster").iterdir():
            text = file.read_text().replace("host: pipeline", "host: 127.0.0.1")
            text = text.replace("port: 4000", f"port: {self.ports['pipeline']}")
            (home / "dagster" / file.name).write_text(self.here(text))

    def here(self, text: str) -> str:
        """``text`` with folders and addresses of containers replaced by ours."""
        text = text.replace("/tmp/", f"{self.folder}/tmp-").replace("0.0.0.0", "127.0.0.1")
        text = text.replace(HOME, str(self.folder / "home"))
        for name, port in PORTS.items():
            for host in (name, "gateway", "127.0.0.1"):
                text = text.replace(f"http://{host}:{port}", self.url(name))
        return str(self.folder / "app") if text == "/app" else text

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def command(self, name: str, parts: list[str]) -> list[str]:
        own = {PORTS[name]: self.ports[name]} if name in PORTS else {}
        return [own.get(part, self.here(part)) for part in parts]

    def environment(self, name: str) -> dict[str, str]:
        """The image's and the service's variables, and none of this process."""
        given: Mapping[str, str] = image_environment() | self.services[name]["environment"]
        databases = {
            "FEEDWRIGHT_DATABASE_URL": self.database,
            "FEEDWRIGHT_DAGSTER_DATABASE_URL": with_driver(
                self.database, "psycopg2", schema="dagster"
            ),
            "MLFLOW_BACKEND_STORE_URI": with_driver(self.database, "psycopg2", schema="mlflow"),
        }
        return {
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            **{variable: self.here(value) for variable, value in given.items()},
            **(self._console_ports() if name == "gateway" else {}),
            **{variable: url for variable, url in databases.items() if variable in given},
        }

    def _console_ports(self) -> dict[str, str]:
        return {
            "FEEDWRIGHT_DAGSTER_PORT": self.ports["webserver"],
            "FEEDWRIGHT_MLFLOW_PORT": self.ports["mlflow"],
        }

    def run(self, name: str, parts: list[str]) -> subprocess.Popen[bytes]:
        with self.log(name).open("ab") as output:
            return subprocess.Popen(
                self.command(name, parts),
                cwd=self.folder / "app",
                env=self.environment(name),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def is_healthy(self, name: str) -> bool:
        """What Docker finds by the health check of the service."""
        kind, *parts = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        checked = subprocess.run(
            self.command(name, parts),
            cwd=self.folder / "app",
            env=self.environment(name),
            capture_output=True,
            timeout=60,
        )
        return checked.returncode == 0

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not ready():
            log = self.log(name).read_text()
            assert self.running[name].poll() is None, f"{name} stopped:\n{log}"
            assert time.monotonic() < deadline, f"{name} is not ready:\n{log}"
            time.sleep(0.5)

    def up(self) -> None:
        """Start all side by side: harder than the order that Compose keeps."""
        migration = self.run("migrate", self.services["migrate"]["command"])
        assert migration.wait(SECONDS) == 0, self.log("migrate").read_text()
        for name, service in self.services.items():
            if name != "migrate":
                self.running[name] = self.run(name, service["command"])

    def down(self) -> None:
        """As Docker does, but with less patience: SIGTERM, and SIGKILL for what is left."""
        for process in self.running.values():
            process.terminate()
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and any(
            process.poll() is None for process in self.running.values()
        ):
            time.sleep(0.1)
        for process in self.running.values():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            process.wait()


@pytest.fixture(scope="module")
def stack(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    name = "composed"
    _server.execute(f"CREATE DATABASE {name}")
    folder = tmp_path_factory.mktemp("composed")
    running = Stack(folder, url_of(postgres_url, name))
    try:
        running.up()
        yield running
    finally:
        running.down()
        _server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        shutil.rmtree(folder)


def get_ok(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.TransportError:
        return False


def test_the_migration_makes_all_tables(stack: Stack):
    with psycopg.connect(stack.database) as connection:
        for table in ("feed.interactions", "dagster.runs"):
            assert connection.execute("SELECT to_regclass(%s)", [table]).fetchone() != (None,)


def test_the_gateway_knows_its_name_in_the_network_and_no_other(stack: Stack):
    stack.wait("mlflow", lambda: get_ok(f"{stack.url('mlflow')}/health"))
    search = f"{stack.url('mlflow')}/api/2.0/mlflow/registered-models/search"

    def status(host: str) -> int:
        return httpx.get(search, headers={"Host": host}, timeout=30).status_code

    assert status("gateway:5000") == 200
    assert status("localhost:5000") == 200
    for stranger in ("evil.example", "10.0.0.1:5000", "10.evil.example"):
        assert status(stranger) == 403


def test_mlflow_takes_and_hands_out_artifacts(stack: Stack):
    stack.wait("mlflow", lambda: get_ok(f"{stack.url('mlflow')}/health"))
    artifact = f"{stack.url('mlflow')}/api/2.0/mlflow-artifacts/artifacts/here/it.bin"
    assert httpx.put(artifact, content=b"\0\1", timeout=30).is_success
    assert httpx.get(artifact, timeout=30).content == b"\0\1"
    assert (stack.folder / "home" / "artifacts" / "here" / "it.bin").exists()


def test_the_feed_answers(stack: Stack):
    stack.wait("feed", lambda: get_ok(f"{stack.url('feed')}/readyz"))
    answer = httpx.get(f"{stack.url('feed')}/api/v1/feed", params={"user_id": "1"})
    assert answer.status_code == 200
    assert answer.json()["fallback_reason"]
    assert "feedwright_feed_requests_total" in httpx.get(f"{stack.url('feed')}/metrics").text


def test_the_feeds_admin_page_reaches_mlflow_and_dagster(stack: Stack):
    stack.wait("feed", lambda: get_ok(f"{stack.url('feed')}/readyz"))
    stack.wait("webserver", lambda: get_ok(f"{stack.url('webserver')}/server_info"))
    found: dict[str, Any] = {}

    def reached() -> bool:
        answer = httpx.get(f"{stack.url('feed')}/api/v1/admin/status", timeout=30)
        found.update(answer.raise_for_status().json())
        return bool(found["registry_up"] and found["freshness"])

    # Dagster shows no assets before it has loaded the pipeline.
    stack.wait("webserver", reached)
    assert found["dagster_up"]
    assert {"interactions", "snapshot"} <= {one["asset"] for one in found["freshness"]}
    links = {"dagster": stack.url("webserver"), "mlflow": stack.url("mlflow")}
    assert found["addresses"] == links


def test_dagster_shows_the_pipeline(stack: Stack):
    stack.wait("webserver", lambda: get_ok(f"{stack.url('webserver')}/server_info"))
    query = """{
      workspaceOrError { ... on Workspace { locationEntries {
        name loadStatus locationOrLoadError { __typename } } } }
      assetNodes { id }
      instance { daemonHealth { allDaemonStatuses { daemonType healthy required } } }
    }"""
    found: dict[str, Any] = {}

    def loaded() -> bool:
        answer = httpx.post(
            f"{stack.url('webserver')}/graphql", json={"query": query}, timeout=60
        ).json()
        found.update(answer["data"])
        entries = found["workspaceOrError"]["locationEntries"]
        daemons = found["instance"]["daemonHealth"]["allDaemonStatuses"]
        return (
            [entry["locationOrLoadError"]["__typename"] for entry in entries]
            == ["RepositoryLocation"]
            and bool(found["assetNodes"])
            and all(daemon["healthy"] for daemon in daemons if daemon["required"])
        )

    # The daemon and the webserver look again by themselves when the pipeline was not up yet.
    stack.wait("webserver", loaded)
    assert found["workspaceOrError"]["locationEntries"][0]["name"] == "feedwright"
    assert len(found["assetNodes"]) >= 10


def test_status_within_a_container_asks_the_others(stack: Stack):
    stack.wait("feed", lambda: get_ok(f"{stack.url('feed')}/readyz"))
    stack.wait("webserver", lambda: get_ok(f"{stack.url('webserver')}/code_ready"))
    stack.wait("mlflow", lambda: get_ok(f"{stack.url('mlflow')}/health"))
    for command in ("status", "--json"), ("feed", "nobody"):
        shown = stack.run("pipeline", ["python", "-m", "feedwright", *command])
        status = shown.wait(SECONDS)
        said = stack.log("pipeline").read_text()
        assert status == (command[0] == "status"), said  # 1: no model is live yet
    found = json.loads(said[said.index('{\n  "services"') : said.rindex("\n}") + 2])
    assert {name: one["ready"] for name, one in found["services"].items()} == {
        "feed": True,
        "dagster": True,
        "mlflow": True,
    }
    assert found["feed"]["fallback_reason"] is not None


def test_every_health_check_passes(stack: Stack):
    watched = [name for name in stack.services if name != "migrate"]
    with ThreadPoolExecutor(2) as pool:
        for name, healthy in zip(watched, pool.map(stack.is_healthy, watched), strict=True):
            assert healthy, f"{name}:\n{stack.log(name).read_text()}"


def test_a_health_check_can_fail(stack: Stack):
    for code in ("http://127.0.0.1:1/", f"{stack.url('feed')}/nothing"):
        checked = subprocess.run(
            [sys.executable, DEPLOY / "healthy.py", code], capture_output=True, text=True
        )
        assert checked.returncode == 1
        assert checked.stderr.startswith(code)
