"""An installation that an earlier release made goes on with this one.

``installation.tar.xz`` is the home of release 65b63a2, from before the rooms and the one pipeline,
after ``feedwright load --synthetic 60x120x4000`` and two trainings: artifacts, snapshots, lake, and
``postgres.sql``, a dump of its database without the rows of Dagster's tables.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from going_live.releases import Releases
from models.catalogue.snapshots.snapshot import Snapshot
from models.evaluation.gate import Version
from models.profile.schema import SHIPPED
from serving.app import FeedApp
from storage.events.lake import Lake
from storage.postgres.binaries import find_binaries
from storage.postgres.database import connect
from storage.postgres.embedded import EmbeddedPostgres
from storage.preparation import prepare
from storage.registry.registry import Registry
from storage.settings import Settings, mlflow_tracking_uri
from tests.conftest import fast_folder
from tests.serving.conftest import Worker
from tests.serving.conftest import mlflow as mlflow
from tests.serving.fake_mlflow import FakeMlflow

INSTALLATION = Path(__file__).parent / "installation.tar.xz"
INTERACTIONS = 4_000


@dataclass
class Upgraded:
    settings: Settings
    url: str
    registry: Registry


@pytest.fixture(scope="module")
def upgraded() -> Iterator[Upgraded]:
    """Brought up to date as ``feedwright up`` does it."""
    with fast_folder() as folder:
        with tarfile.open(INSTALLATION) as archive:
            archive.extractall(folder, filter="data")
        home = folder / "feedwright"
        postgres = EmbeddedPostgres(home / "postgres")
        psql = find_binaries().folder / "psql"
        url = postgres.start()
        subprocess.run(
            [psql, url, "--quiet", "-v", "ON_ERROR_STOP=1", "-f", home / "postgres.sql"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        postgres.stop()
        profile = folder / "profile.yaml"
        shipped = (SHIPPED / "marketplace.yaml").read_text()
        profile.write_text(f"{shipped}serving: {{max_model_age_hours: 1000000}}\n")
        settings = Settings(
            _env_file=None, home=home, profile=str(profile), model_poll_seconds=0.05
        )
        url = prepare(settings)
        try:
            uri = mlflow_tracking_uri(settings, url)
            yield Upgraded(settings, url, Registry(uri, settings.model_name, settings.artifacts))
        finally:
            EmbeddedPostgres(settings.postgres_dir).stop()


@contextmanager
def worker(upgraded: Upgraded, mlflow: FakeMlflow) -> Iterator[Worker]:
    app = FeedApp(upgraded.settings.model_copy(update={"mlflow_url": mlflow.url}))
    with TestClient(app.asgi, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)) as client:
        yield Worker(app, client, mlflow, upgraded.settings)


def say_champion(mlflow: FakeMlflow, registry: Registry) -> str:
    """Have the fake answer what the registry holds; returns the version."""
    champion = registry.champion()
    assert champion is not None
    mlflow.version, mlflow.run_id = champion.version, champion.run_id
    mlflow.tags = dict(champion.tags)
    return champion.version


def test_the_first_request_is_personalised_and_a_rollback_reaches_an_old_version(
    upgraded: Upgraded, mlflow: FakeMlflow
) -> None:
    assert say_champion(mlflow, upgraded.registry) == "2"
    with connect(upgraded.url) as connection:
        users = [row[0] for row in connection.execute("SELECT user_id FROM feed.recommendations "
                 "GROUP BY 1 ORDER BY 1 LIMIT 2")]  # fmt: skip
    with worker(upgraded, mlflow) as running:
        pages = [running.feed(user_id=user) for user in users]
        for page in pages:
            assert (page["variant"], page["model_version"]) == ("champion", "2")
            assert page["fallback_reason"] is None
        orders = [[item["item_id"] for item in page["items"]] for page in pages]
        assert orders[0] != orders[1]
        releases = Releases(upgraded.url, lambda: upgraded.registry)
        assert releases.rollback(actor="test", reason="worse").version == "1"
        assert say_champion(mlflow, upgraded.registry) == "1"
        running.wait_for(lambda: running.feed(user_id=users[0])["model_version"] == "1")
        assert running.fallback(users[0]) is None


def test_what_was_kept_is_read(upgraded: Upgraded) -> None:
    lake = Lake(upgraded.settings.lake)
    assert lake.scan().select(pl.len()).collect().item() == INTERACTIONS
    with connect(upgraded.url) as connection:
        counted = connection.execute("SELECT count(*) FROM feed.interactions").fetchone()
    assert counted == (INTERACTIONS,)
    for version in upgraded.registry.versions():
        snapshot = Snapshot.load(upgraded.settings.snapshots / version.version)
        judged = Version.of(version, snapshot)  # by the gate of the next training
        assert judged.config is not None
        assert judged.metrics["ndcg_at_10"] > 0


def test_a_model_that_mlflow_stores_answers(upgraded: Upgraded, tmp_path: Path) -> None:
    """In a process of its own, as in a notebook: it brings the code that it was made with."""
    (version, *_) = upgraded.registry.versions()
    client = upgraded.registry.client
    model = client.get_logged_model(version.tags["model_id"]).artifact_location
    user = str(Snapshot.load(upgraded.settings.snapshots / version.version).users.ids[0])
    code = f"""
import mlflow, pandas
model = mlflow.pyfunc.load_model({model!r})
print(len(model.predict(pandas.DataFrame({{"user_id": [{user!r}], "limit": [5]}}))))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert int(done.stdout) == 5
