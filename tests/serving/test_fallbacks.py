"""Whatever breaks, the feed answers, says why, and mends itself."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from models.catalogue.viewers.viewer import Viewer
from models.feed.pipeline import FeedPipeline, Query
from models.feed.ranking import Ranking
from models.versions.version import JUDGED_TAG
from serving.app import FeedApp
from serving.feed import pages
from serving.postgres.database import Database
from serving.versions.background import Background
from serving.versions.live_state import Catalogue, Challenger, LiveState
from serving.versions.registry import read_pointer
from storage.settings import Settings
from tests.serving.conftest import Worker, running_worker
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import PROFILE, make_snapshot, with_bad_vectors

KNOWN = "u0007"
HEADER = 128  # bytes of a file of NumPy's before its values


class CopiedFrom:
    """Instead of a download from MLflow: a copy of a folder kept aside."""

    def __init__(self, source: Path | None, delay: float = 0.0) -> None:
        self.source, self.delay, self.calls = source, delay, 0

    def __call__(self, champion: Any, folder: Path, replace: bool) -> Background:
        self.calls += 1
        code = (
            f"import shutil, time; time.sleep({self.delay}); "
            f"shutil.rmtree({str(folder)!r}, ignore_errors=True); "
            f"shutil.copytree({str(self.source)!r}, {str(folder)!r})"
            if self.source
            else "raise FileNotFoundError"
        )
        script = folder.parent / "copy_snapshot.py"
        script.write_text(code)
        return Background(sys.executable, str(script))


def copies(worker: Worker, source: Path | None, delay: float = 0.0) -> CopiedFrom:
    fetch = CopiedFrom(source, delay)
    worker.app.live._champion.snapshot._fetch = fetch
    return fetch


def heuristic_because(page: dict[str, Any], reason: str) -> None:
    assert (page["variant"], page["fallback_reason"], page["model_version"]) == (
        "heuristic", reason, None,
    )  # fmt: skip
    assert page["items"]
    assert all(item["reason"] for item in page["items"])


def test_anonymous(worker: Worker) -> None:
    heuristic_because(worker.feed(), "anonymous")
    heuristic_because(worker.feed(lat=38.7, lon=-9.1), "anonymous")


def test_a_new_user_is_found_in_the_database(worker: Worker, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO feed.users (id, lat, lon, tags) VALUES ('new', 39.0, -8.5, '{music}')"
        )
    catalogue = worker.app.live.state.catalogue
    assert catalogue is not None
    worker.wait_for(lambda: catalogue.live.viewer("new").known)
    page = worker.feed(user_id="new", limit=100)
    heuristic_because(page, "unknown_user")
    assert page["items"][0]["components"]["tags"] > 0
    assert page["items"][0]["components"]["location"] is not None
    ids = [item["item_id"] for item in page["items"]]
    assert ids != [item["item_id"] for item in worker.feed(limit=100)["items"]]


def test_a_user_nobody_knows_gets_what_is_popular(worker: Worker) -> None:
    first = worker.feed(user_id="nobody", limit=100)
    heuristic_because(first, "unknown_user")
    everybody = worker.feed(limit=100)["items"]
    assert {item["item_id"] for item in first["items"]} == {one["item_id"] for one in everybody}


def test_no_model(worker_settings: Settings, mlflow: FakeMlflow) -> None:
    make_snapshot("1").save(worker_settings.snapshots / "1")
    with running_worker(worker_settings, mlflow, None) as worker:
        heuristic_because(worker.feed(user_id=KNOWN), "no_model")
        mlflow.version = "1"
        worker.wait_for(lambda: worker.fallback() is None)


def test_nothing_at_all(worker_settings: Settings, mlflow: FakeMlflow) -> None:
    with running_worker(worker_settings, mlflow, None) as worker:
        page = worker.feed(user_id=KNOWN)
        assert (page["items"], page["total"], page["fallback_reason"]) == ([], 0, "no_catalogue")
        body = {"users": [{"user_id": "u0007"}]}
        judged = worker.client.post("/api/v1/admin/stages", json=body)
        assert (judged.status_code, "no catalogue" in judged.json()["detail"]) == (503, True)


def test_a_moved_alias_is_followed(worker: Worker) -> None:
    before = worker.feed(user_id=KNOWN)
    worker.publish("2")
    worker.wait_for(lambda: worker.feed(user_id=KNOWN)["model_version"] == "2")
    after = worker.feed(user_id=KNOWN)
    assert after["variant"] == "champion"
    assert after["items"] != before["items"]
    worker.mlflow.version = "1"
    worker.wait_for(lambda: worker.feed(user_id=KNOWN)["model_version"] == "1")
    worker.mlflow.version = None
    worker.wait_for(lambda: worker.fallback() == "no_model")


def test_the_older_champion_answers_while_the_next_is_fetched(
    worker: Worker, tmp_path: Path
) -> None:
    copies(worker, make_snapshot("2").save(tmp_path / "kept" / "2"), delay=1.0)
    worker.mlflow.version = "2"
    seen = set()
    deadline = time.monotonic() + 120
    while "2" not in seen and time.monotonic() < deadline:
        page = worker.feed(user_id=KNOWN)
        assert page["fallback_reason"] is None
        seen.add(page["model_version"])
    assert seen == {"1", "2"}


@pytest.mark.parametrize("damage", ["no tag", "no run", "truncated", "not finite", "no model"])
def test_an_alias_on_a_version_that_does_not_load(worker: Worker, damage: str) -> None:
    copies(worker, None)
    if damage == "no tag":
        worker.mlflow.tags = {}
    elif damage == "no run":
        worker.mlflow.run_id = None
    elif damage == "not finite":
        worker.publish("2", with_bad_vectors(make_snapshot("2")))
    elif damage == "no model":
        make_snapshot(None).save(worker.settings.snapshots / "2")
    else:
        folder = make_snapshot("2").save(worker.settings.snapshots / "2")
        (folder / "items.bias.npy").write_bytes(b"")
    worker.mlflow.version = "2"
    worker.wait_for(lambda: worker.fallback() == "model_load_failed")
    heuristic_because(worker.feed(user_id=KNOWN), "model_load_failed")
    assert "version 2" in worker.client.get("/api/v1/status").json()["detail"]
    worker.mlflow.version = "1"
    worker.wait_for(lambda: worker.fallback() is None)


def test_a_version_whose_snapshot_cannot_be_fetched(worker: Worker) -> None:
    worker.mlflow.run_id = "0" * 32
    worker.mlflow.version = "3"  # the real command, against a server that has no such run
    assert worker.fallback() is None
    worker.wait_for(lambda: worker.fallback() == "model_load_failed")


def test_a_version_that_is_mended_is_loaded(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.versions.champion.FIRST_RETRY_SECONDS", 0.1)
    copies(worker, None)
    worker.mlflow.version = "2"
    worker.wait_for(lambda: worker.fallback() == "model_load_failed")
    make_snapshot("2").save(worker.settings.snapshots / "2")
    worker.wait_for(lambda: worker.feed(user_id=KNOWN)["model_version"] == "2")


def test_a_deleted_snapshot_is_fetched_again(worker: Worker, tmp_path: Path) -> None:
    folder = worker.settings.snapshots / "1"
    copies(worker, Path(shutil.copytree(folder, tmp_path / "kept")), delay=0.5)
    shutil.rmtree(folder)
    worker.wait_for(lambda: worker.fallback() == "snapshot_missing")
    heuristic_because(worker.feed(user_id=KNOWN), "snapshot_missing")
    worker.wait_for(lambda: worker.fallback() is None)
    assert folder.is_dir()


def test_a_damaged_snapshot_is_fetched_again(
    worker_settings: Settings, mlflow: FakeMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.versions.champion.FIRST_RETRY_SECONDS", 0.1)
    folder = make_snapshot("1").save(worker_settings.snapshots / "1")
    good = Path(shutil.copytree(folder, tmp_path / "kept"))
    (folder / "manifest.json").write_text("{")
    app = FeedApp(worker_settings)
    fetch = CopiedFrom(good)
    app.live._champion.snapshot._fetch = fetch
    mlflow.version = "1"
    app.live.poll()
    assert app.live.state.problem == "model_load_failed"
    deadline = time.monotonic() + 120
    while app.live.state.problem is not None and time.monotonic() < deadline:
        app.live.poll()
        time.sleep(0.02)
    app.live.stop()
    assert app.live.state.problem is None
    assert fetch.calls == 1


def test_files_that_are_damaged_while_they_are_served_from(worker: Worker) -> None:
    file = worker.settings.snapshots / "1" / "items.ids.data.npy"
    with file.open("r+b") as mapped:  # in place: what the worker has mapped changes
        mapped.seek(HEADER)
        mapped.write(b"\xff" * (file.stat().st_size - HEADER))
    page = worker.feed(user_id=KNOWN)
    assert (page["items"], page["fallback_reason"]) == ([], "catalogue_damaged")


def test_a_stale_model(worker: Worker) -> None:
    old = datetime.now(UTC) - timedelta(hours=PROFILE.serving.max_model_age_hours + 1)
    worker.publish("2", make_snapshot("2", trained_at=old))
    worker.wait_for(lambda: worker.fallback() == "model_stale")
    heuristic_because(worker.feed(user_id=KNOWN), "model_stale")
    # A gate that kept it beside a newcomer has found it good on the data of now.
    worker.mlflow.tags[JUDGED_TAG] = datetime.now(UTC).isoformat()
    worker.wait_for(lambda: worker.fallback() is None)


def test_what_an_experiment_compares_is_never_stale() -> None:
    old = time.time() - 2 * PROFILE.serving.max_model_age_hours * 3600
    catalogue = cast(Catalogue, None)
    challenger = Challenger("2", old, catalogue)
    state = LiveState(PROFILE, good_since=old, challenger=challenger, problem=None)
    assert state.challenger_at(time.time()) is None
    assert replace(state, compared=True).challenger_at(time.time()) is challenger


def test_mlflow_away_changes_nothing(worker: Worker) -> None:
    worker.mlflow.broken = True
    worker.wait_for(lambda: not worker.client.get("/api/v1/status").json()["registry_up"])
    assert worker.fallback() is None


def test_a_start_without_mlflow_serves_the_last_champion(
    worker_settings: Settings, mlflow: FakeMlflow
) -> None:
    with running_worker(worker_settings, mlflow, "1"):
        pass
    pointer = read_pointer(worker_settings.home / "serving" / "champion.json")
    assert pointer is not None
    assert pointer.version == "1"
    mlflow.broken = True
    with running_worker(worker_settings, mlflow, "1") as worker:
        assert worker.fallback() is None


def test_postgres_away_and_back(worker: Worker) -> None:
    address = worker.app.database._address
    worker.app.database._address = lambda: "host=127.0.0.1 port=1 user=x dbname=x"
    worker.end_sessions()
    worker.wait_for(lambda: worker.fallback() == "database_unavailable")
    heuristic_because(worker.feed(user_id=KNOWN), "database_unavailable")
    heuristic_because(worker.feed(user_id="nobody"), "database_unavailable")
    worker.app.database._address = address
    worker.wait_for(lambda: worker.fallback() is None)


def test_a_session_that_postgres_ends_is_opened_anew(worker: Worker) -> None:
    worker.end_sessions()
    worker.wait_for(lambda: worker.fallback() is None)


@pytest.mark.parametrize("error", [FloatingPointError("nan"), IndexError(), MemoryError()])
def test_a_model_that_fails(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = FeedPipeline.rank

    def rank(self: FeedPipeline, viewer: Viewer, query: Query, **options: Any) -> Ranking:
        if query.by == "model":
            raise error
        return real(self, viewer, query, **options)

    monkeypatch.setattr(FeedPipeline, "rank", rank)
    heuristic_because(worker.feed(user_id=KNOWN), "model_error")
    monkeypatch.undo()
    assert worker.fallback() is None


def test_when_the_heuristic_fails_too_the_popular_list_answers(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any, **options: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(FeedPipeline, "rank", fails)
    whatever = {"user_id": KNOWN, "exclude_seen": False, "exclude_applied": False}
    page = worker.feed(**whatever)
    heuristic_because(page, "model_error")
    catalogue = worker.app.live.state.catalogue
    assert catalogue is not None
    popular = [catalogue.live.item_id(row) for row in catalogue.shortlists.popular[:20].tolist()]
    assert [item["item_id"] for item in page["items"]] == popular
    monkeypatch.setattr(pages, "explained", fails)
    unexplained = worker.feed(**whatever, limit=19)["items"]
    assert [item["item_id"] for item in unexplained] == popular[:19]


def test_a_slow_model_is_cut_off_and_tried_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FeedPipeline.rank

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(3)
        return real(*args, **options)

    worker.app.engine.ranking.budgets["champion"].be_careful()
    monkeypatch.setattr(FeedPipeline, "rank", slow)
    for _ in range(5):  # more than there are threads
        start = time.perf_counter()
        heuristic_because(worker.feed(user_id=KNOWN), "time_budget_exceeded")
        assert time.perf_counter() - start < 2.5
    monkeypatch.undo()
    worker.wait_for(lambda: worker.fallback() is None)


def test_a_database_that_hangs_costs_no_more_than_its_timeout() -> None:
    async def ask() -> float:
        listening = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        database = Database(lambda: f"host=127.0.0.1 port={port} user=x dbname=x")
        database.up = True
        start = time.perf_counter()
        await database.check()
        assert not database.up
        took = time.perf_counter() - start
        await database.close()
        return took

    assert asyncio.run(ask()) < 30


def test_the_catalogue_comes_from_postgres_while_there_is_no_model(
    worker_settings: Settings, mlflow: FakeMlflow, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO feed.users (id, tags) VALUES ('ann', '{music}')")
        connection.execute(
            "INSERT INTO feed.items (id, tags) SELECT 'item' || n,"
            " CASE WHEN n = 7 THEN '{music}'::text[] ELSE '{}' END FROM generate_series(1, 9) n"
        )
        connection.execute(
            "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
            " VALUES (gen_random_uuid(), 'ann', 'item3', 'like', now())"
        )
    with running_worker(worker_settings, mlflow, None) as worker:
        worker.wait_for(lambda: bool(worker.feed(user_id="ann")["items"]))
        page = worker.feed(user_id="ann")
        heuristic_because(page, "no_model")
        assert page["total"] == 9
        assert page["items"][0]["item_id"] == "item7"
        popular = worker.feed()["items"]
        assert popular[0]["item_id"] == "item3"
        assert popular[0]["reason"] == "Popular this week"
        status = worker.client.get("/api/v1/status").json()
        assert status["catalogue"]["source"] == "database"
    # The last good copy serves a start without Postgres and without MLflow.
    mlflow.broken = True
    away = worker_settings.model_copy(update={"database_url": "postgresql://x@127.0.0.1:1/x"})
    with running_worker(away, mlflow, None) as worker:
        heuristic_because(worker.feed(user_id="ann"), "no_model")


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)])
def test_the_clock_jumps(worker: Worker, monkeypatch: pytest.MonkeyPatch, jump: timedelta) -> None:
    """Forth and back again: the champion answers all along, and what a user does counts at once."""
    real, moved = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + moved[0])
    for moved[0] in (0.0, jump.total_seconds(), 0.0):
        page = worker.feed(user_id=KNOWN, limit=10)
        assert page["fallback_reason"] is None
        first = page["items"][0]["item_id"]
        following = worker.client.get(page["next"]).json()["items"]
        assert {item["item_id"] for item in page["items"]}.isdisjoint(
            item["item_id"] for item in following
        )
        dismissed = worker.client.post(
            f"/api/v1/feed/interactions/{first}",
            params={"user_id": KNOWN},
            json={"type": "dismiss"},
        )
        assert dismissed.status_code == 202, dismissed.text

        def is_gone(item_id: str = first) -> bool:
            page = worker.feed(user_id=KNOWN, limit=100)
            return item_id not in {item["item_id"] for item in page["items"]}

        worker.wait_for(is_gone)
