"""The promise, as a user has it: one command to a personalised feed that survives its parts.

Real sample data, real Postgres, Dagster, MLflow and Bento, on ports of their own. Root runs it all
as an ordinary user, so that what only root may do shows.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from playwright.sync_api import WebSocket, expect

from benchmarks.common.ports import free_port
from feedwright.local.status import counts
from storage.postgres.database import connect
from storage.postgres.embedded import EmbeddedPostgres
from storage.registry.registry import Registry
from storage.settings import Settings, mlflow_tracking_uri
from tests.browser import running_browser
from tests.orchestration.test_cancelling import wait_for
from tests.ordinary import ordinary_user

ROOT = Path(__file__).parents[2]
UP_SECONDS = 600
NOTICED_SECONDS = 120.0
pytestmark = pytest.mark.timeout(2 * UP_SECONDS)  # of all that a busy machine does in `up`


class Installation:
    """A running installation, used from outside as a person would."""

    said = ""
    """What `up` printed."""

    def __init__(self, home: Path) -> None:
        self.user = ordinary_user(home.parent / "python", ROOT)
        self.settings = Settings(
            home=home,
            feed_port=free_port(),
            dagster_port=free_port(),
            mlflow_port=free_port(),
            model_poll_seconds=0.5,
        )
        given = ("home", "feed_port", "dagster_port", "mlflow_port", "model_poll_seconds")
        self.environment = {
            **{name: value for name, value in os.environ.items() if "FEEDWRIGHT" not in name},
            **{f"FEEDWRIGHT_{name.upper()}": str(getattr(self.settings, name)) for name in given},
        }
        self.environment.pop("DAGSTER_HOME", None)
        if self.user is not None:
            self.environment |= {"HOME": str(home.parent), **self.user.variables}
            os.chown(home.parent, self.user.uid, self.user.gid)
        self.http = httpx.Client(base_url=self.settings.feed_address, trust_env=False, timeout=30)

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        command = ("-m", "feedwright", *arguments)
        how: dict[str, Any] = {"cwd": ROOT, "env": self.environment, "timeout": timeout}
        if self.user is not None:
            return self.user.run(self.user.python, *command, **how)
        return subprocess.run([sys.executable, *command], capture_output=True, text=True, **how)

    def feed(self, user: str, **parameters: Any) -> dict[str, Any]:
        answer = self.http.get("/api/v1/feed", params={"user_id": user, **parameters})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def until(self, user: str, reason: str | None) -> dict[str, Any]:
        """Ask for the feed until ``fallback_reason`` is that; every answer must be a 200."""
        deadline = time.monotonic() + NOTICED_SECONDS
        while time.monotonic() < deadline:
            page = self.feed(user)
            assert page["items"], page
            if page["fallback_reason"] == reason:
                return page
            time.sleep(0.05)
        raise AssertionError(f"fallback_reason is not {reason!r} but {page['fallback_reason']!r}")

    @property
    def registry(self) -> Registry:
        url = EmbeddedPostgres(self.settings.postgres_dir).url
        return Registry(
            mlflow_tracking_uri(self.settings, url),
            self.settings.model_name,
            self.settings.artifacts,
        )


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    home = Path(tempfile.mkdtemp(prefix="feedwright-e2e-"))
    there = Installation(home / "state")
    try:
        up = there.run("up", "--detach", timeout=UP_SECONDS)
        assert up.returncode == 0, up.stdout + up.stderr
        there.said = up.stdout
        yield there
    finally:
        down = there.run("down")
        cleaned = there.run("clean", "--yes")
        shutil.rmtree(home, ignore_errors=True)
        assert down.returncode == 0, down.stderr
        assert cleaned.returncode == 0, cleaned.stderr
        left = [
            process.info["cmdline"]
            for process in psutil.process_iter(["cmdline"])
            if str(home) in " ".join(process.info["cmdline"] or [])
        ]
        assert left == []


@pytest.fixture(scope="module")
def status(installation: Installation) -> dict[str, Any]:
    shown = installation.run("status", "--json")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return json.loads(shown.stdout)


@pytest.fixture(scope="module")
def users(status: dict[str, Any]) -> tuple[str, str]:
    first, second, *_ = status["sample_users"]
    return first, second


def test_up_says_what_to_do_next(installation: Installation) -> None:
    said = installation.said
    for address in ("feed_address", "dagster_address", "mlflow_address"):
        assert getattr(installation.settings, address) in said
    assert "curl -s '" in said
    assert "make down" in said


def test_status_tells_what_is_relied_on(status: dict[str, Any]) -> None:
    assert all(status["services"][name]["ready"] for name in ("feed", "dagster", "mlflow"))
    assert status["counts"] == {
        "users": 943,
        "items": 1682,
        "interactions": 100_000,
        "rejected": 0,
    }
    assert status["champion"]["version"] == "1"
    missing = {one["key"] for one in status["assets"] if not one["last_materialized_at"]}
    assert missing <= {"hyperparameter_search", "refreshed_tables"}  # with jobs of their own
    assert {asset["checks_passed"] for asset in status["assets"]} == {True, None}


def test_two_users_get_feeds_of_their_own_with_reasons(installation, users) -> None:
    pages = [installation.feed(user, limit=20) for user in users]
    for page in pages:
        assert page["fallback_reason"] is None
        assert page["variant"] == "champion"
        assert page["model_version"] == "1"
        assert all(item["reason"] for item in page["items"])
    first, second = ([item["item_id"] for item in page["items"]] for page in pages)
    assert len(set(first) & set(second)) < 15


def test_workers_share_the_lists_of_feeds(installation, users) -> None:
    """Each call by a connection of its own, which either worker may take."""
    workers: set[int] = set()
    for user in users:
        page = installation.feed(user, limit=5)
        shown = [item["item_id"] for item in page["items"]]
        for _ in range(12):
            with httpx.Client(base_url=installation.settings.feed_address, trust_env=False) as http:
                following = http.get(page["next"]).json()
                workers.add(http.get("/api/v1/status").json()["worker"])
            assert following["feed_id"] == page["feed_id"]
            page = following
            shown += [item["item_id"] for item in page["items"]]
        assert len(set(shown)) == len(shown)
    assert len(workers) == installation.settings.feed_workers


def test_nothing_is_open_to_other_accounts(installation, users) -> None:
    home = installation.settings.home
    modes = {path: path.lstat().st_mode for path in (home, *home.rglob("*"))}
    kinds = (stat.S_ISDIR, stat.S_ISREG)
    open_ones = {
        str(path.relative_to(home)): oct(mode)
        for path, mode in modes.items()
        if mode & 0o077 and any(is_kind(mode) for is_kind in kinds)
    }
    # Where root runs it all, Postgres' account passes through these, and runs programs of the last.
    passed = {".", "postgres", "postgres/binaries"} if home.stat().st_uid == 0 else set()
    assert {name for name in open_ones if not name.startswith("postgres/binaries/")} <= passed
    assert (home / "lake").is_dir()


def test_nothing_else_listens_on_tcp(installation, users) -> None:
    """A control port of any part would run programs for every account of the machine."""
    settings = installation.settings
    ports = {
        connection.laddr.port
        for process in psutil.process_iter()
        if belongs(process, installation)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert ports == {settings.feed_port, settings.dagster_port, settings.mlflow_port}


def test_lightfm_is_ahead_of_popularity_on_the_sample(status) -> None:
    metrics = status["champion"]["metrics"]
    assert metrics["ndcg_at_10"] > metrics["popularity.ndcg_at_10"]


def test_up_again_changes_nothing(installation, status) -> None:
    again = installation.run("up", "--detach")
    assert again.returncode == 0, again.stderr
    with connect(EmbeddedPostgres(installation.settings.postgres_dir).url) as connection:
        assert counts(connection) == status["counts"]
    champion = installation.registry.champion()
    assert champion is not None
    assert champion.version == "1"


def belongs(process: psutil.Process, installation: Installation) -> bool:
    try:
        return process.environ().get("FEEDWRIGHT_HOME") == str(installation.settings.home)
    except psutil.Error:  # gone, or not ours to look at
        return False


def bento_workers(installation: Installation) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "serving.worker" in (process.info["cmdline"] or []) and belongs(process, installation)
    ]


def test_a_killed_worker_comes_back(installation, users) -> None:
    workers = bento_workers(installation)
    assert len(workers) == installation.settings.feed_workers
    workers[0].send_signal(signal.SIGKILL)
    installation.http.close()
    installation.http = httpx.Client(
        base_url=installation.settings.feed_address, trust_env=False, timeout=30
    )
    deadline = time.monotonic() + 150
    while len(bento_workers(installation)) < len(workers):
        assert installation.feed(users[0])["items"]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert installation.until(users[0], None)["variant"] == "champion"


def test_without_postgres_the_heuristic_answers(installation, users) -> None:
    # By signal, as a crash would; `up` looks after it and starts it again.
    postgres = EmbeddedPostgres(installation.settings.postgres_dir)
    postgres.stop()
    page = installation.until(users[0], "database_unavailable")
    assert page["variant"] == "heuristic"
    assert installation.until(users[0], None)["variant"] == "champion"


def test_a_deleted_snapshot_is_fetched_again(installation, users) -> None:
    folder = installation.settings.snapshots / "1"
    shutil.rmtree(folder)
    assert installation.until(users[0], "snapshot_missing")["variant"] == "heuristic"
    assert installation.until(users[0], None)["model_version"] == "1"
    assert folder.is_dir()


@pytest.mark.parametrize("damage", ["not a number", "no snapshot"])
def test_a_version_that_does_not_load_never_reaches_a_user(
    installation, users, damage: str, tmp_path: Path
) -> None:
    registry = installation.registry
    good = registry.champion()
    assert good is not None
    bad = registry.register(
        good.run_id, f"runs:/{good.run_id}/nothing", {"trained_at": good.trained_at or ""}
    )
    if damage == "not a number":
        broken = tmp_path / "broken"
        shutil.copytree(installation.settings.snapshots / good.version, broken)
        (broken / "items.vectors.npy").write_bytes(b"not an array")
        shutil.copytree(broken, installation.settings.snapshots / bad.version)
        if installation.user is not None:
            installation.user.own(installation.settings.snapshots / bad.version)
        registry.client.set_model_version_tag(
            registry.model_name, bad.version, "snapshot_artifact", "snapshot"
        )

    def move(version: str) -> None:
        registry.client.set_registered_model_alias(registry.model_name, "champion", version)

    move(bad.version)
    try:
        assert installation.until(users[0], "model_load_failed")["variant"] == "heuristic"
    finally:
        move(good.version)
    assert installation.until(users[0], None)["model_version"] == good.version


def test_dagster_and_mlflow_show_the_run(installation) -> None:
    query = "{ assetNodes { groupName } runsOrError { ... on Runs { results { status } } } }"
    dagster = httpx.post(
        f"{installation.settings.dagster_address}/graphql", json={"query": query}, timeout=60
    ).json()["data"]
    assert {node["groupName"] for node in dagster["assetNodes"]} == {
        "sources",
        "guardrails",
        "features",
        "model",
        "feed",
    }
    assert {"status": "SUCCESS"} in dagster["runsOrError"]["results"]
    found = httpx.get(
        f"{installation.settings.mlflow_address}/api/2.0/mlflow/registered-models/alias",
        params={"name": "feedwright", "alias": "champion"},
        timeout=60,
    ).json()
    assert found["model_version"]["version"] == "1"


def test_the_daemon_evaluates_the_sensors(installation) -> None:
    query = """{ sensorOrError(sensorSelector: {
        repositoryLocationName: "feedwright", repositoryName: "__repository__",
        sensorName: "guardrail_breach"
    }) { ... on Sensor { sensorState { ticks(limit: 20) { status } } } } }"""

    def over() -> list[str]:
        """How each tick that is over ended, the first at the end."""
        answer = httpx.post(
            f"{installation.settings.dagster_address}/graphql", json={"query": query}, timeout=60
        ).json()["data"]["sensorOrError"]
        return [
            tick["status"] for tick in answer["sensorState"]["ticks"] if tick["status"] != "STARTED"
        ]

    wait_for(over, NOTICED_SECONDS, "no tick")
    assert set(over()) == {"SKIPPED"}


def test_the_consoles_pages_work_behind_the_gateway(installation) -> None:
    query = "{ runsOrError(filter: {statuses: [SUCCESS]}) { ... on Runs { results { runId } } } }"
    with running_browser() as browser:
        page = browser.new_page()
        received: list[str | bytes] = []

        def listen(opened: WebSocket) -> None:
            opened.on("framereceived", lambda frame: received.append(frame))

        page.on("websocket", listen)
        page.goto(installation.settings.dagster_address)
        runs = page.evaluate(
            "query => fetch('/graphql', {method: 'POST', body: JSON.stringify({query}), headers:"
            " {'Content-Type': 'application/json'}}).then(answer => answer.json())",
            query,
        )["data"]["runsOrError"]["results"]
        page.goto(f"{installation.settings.dagster_address}/runs/{runs[0]['runId']}")
        expect(page.get_by_text("RUN_SUCCESS").first).to_be_visible()
        assert any("pipelineRunLogs" in str(frame) for frame in received)
        page.goto(f"{installation.settings.mlflow_address}/#/models")
        expect(page.get_by_text("feedwright").first).to_be_visible()


def test_the_command_line_shows_models_and_feed(installation, users) -> None:
    listed = installation.run("models", "list")
    assert listed.returncode == 0
    assert "champion" in listed.stdout
    picture = installation.settings.home.parent / "feed.svg"
    shown = installation.run("feed", users[0], "--svg", str(picture))
    assert shown.returncode == 0, shown.stderr
    assert picture.read_text().startswith("<svg")
