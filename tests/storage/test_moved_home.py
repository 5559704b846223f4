"""A home that is moved or copied, with a real MLflow store in its own Postgres."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.postgres.database import DatabaseError, connect
from storage.postgres.embedded import EmbeddedPostgres
from storage.preparation import prepare
from storage.registry.registry import Registry
from storage.settings import Settings, mlflow_tracking_uri
from tests.conftest import fast_folder

NAME = "feed"


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


@contextmanager
def installation(home: Path) -> Iterator[Registry]:
    """The registry of a home whose database runs."""
    settings = Settings(_env_file=None, home=home, model_name=NAME, database_url=None)
    try:
        url = mlflow_tracking_uri(settings, prepare(settings))
        yield Registry(url, NAME, settings.artifacts)
    finally:
        EmbeddedPostgres(settings.postgres_dir).stop()


def add_version(registry: Registry) -> str:
    """A version with a model and a snapshot; the version's number."""
    model = Path(__file__).parent / "answering.py"
    import mlflow

    run = registry.client.create_run(registry.experiment_id())
    with mlflow.start_run(run_id=run.info.run_id):
        logged = mlflow.pyfunc.log_model(name="model", python_model=str(model), pip_requirements=[])
    made = registry.register(run.info.run_id, logged.model_uri, {"model_id": logged.model_id})
    registry.client.log_text(run.info.run_id, made.version, "snapshot/manifest.json")
    registry.client.set_model_version_tag(NAME, made.version, "snapshot_artifact", "snapshot")
    return made.version


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_a_home_works_after_a_move_and_a_copy_leaves_the_original_alone(folder: Path) -> None:
    import mlflow

    first, moved, copy = folder / "it's é", folder / "moved", folder / "copied_here"
    with installation(first) as registry:
        add_version(registry)
    first.rename(moved)
    with installation(moved) as registry:
        version = registry.servable(add_version(registry))
        assert registry.has_files(registry.get("1"))
        fetched = registry.fetch_snapshot(registry.get("1"), folder / "fetched")
        assert (fetched / "manifest.json").read_text() == "1"
        assert mlflow.pyfunc.load_model(f"models:/{NAME}/1").predict([1]) == [1]
    assert not first.exists()

    shutil.copytree(moved, copy, symlinks=True)
    before = files(moved / "artifacts")
    with installation(copy) as registry:
        add_version(registry)
        for number in ("1", version.version, "3"):
            assert registry.has_files(registry.get(number))
            at = registry.client.get_run(registry.get(number).run_id).info.artifact_uri
            assert at.startswith(f"{copy}/artifacts/{NAME}/")
    assert files(moved / "artifacts") == before
    with installation(moved) as registry:
        assert {one.version for one in registry.versions()} == {"1", "2"}
        assert registry.has_files(registry.get("2"))


def test_a_home_on_another_database_moves_but_a_second_one_takes_nothing(
    database: str, tmp_path: Path
) -> None:
    def settings(name: str, artifacts: str | None = None) -> Settings:
        home = tmp_path / name
        return Settings(_env_file=None, home=home, database_url=database, artifacts_url=artifacts)

    def locations() -> set[str]:
        with connect(database) as conn:
            found = conn.execute("SELECT artifact_location FROM mlflow.experiments").fetchall()
        return {location for (location,) in found if "/home" in location}

    first = settings("home")
    uri = mlflow_tracking_uri(first, database)
    Registry(uri, first.model_name, first.artifacts).experiment_id()
    Path(first.artifacts).mkdir(parents=True)
    mine = {f"{first.artifacts}/{first.model_name}"}

    second = settings("home2")
    Path(second.artifacts).mkdir(parents=True)
    prepare(second)
    assert locations() == mine, "the first home still has them"

    first.home.rename(tmp_path / "home3")
    prepare(settings("nothing"))
    prepare(settings("home2", str(tmp_path / "elsewhere")))
    assert locations() == mine
    prepare(third := settings("home3"))
    assert locations() == {f"{third.artifacts}/{third.model_name}"}


def test_a_path_that_mlflow_cannot_keep_is_refused(database: str, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path / "home", database_url=database)
    uri = mlflow_tracking_uri(settings, database)
    registry = Registry(uri, settings.model_name, settings.artifacts)
    registry.client.create_run(registry.experiment_id())
    long = settings.model_copy(update={"home": tmp_path / ("long" * 50)})
    Path(long.artifacts).mkdir(parents=True)
    with pytest.raises(DatabaseError, match="too long for MLflow's tables: move FEEDWRIGHT_HOME"):
        prepare(long)
