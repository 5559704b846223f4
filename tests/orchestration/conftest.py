"""One real installation for all tests of this folder: Postgres, lake, MLflow, Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from feedwright.dagster.home import write_dagster_home
from feedwright.environment import dagster_variables, settings_variables
from models.profile.schema import SHIPPED
from storage.loading.load import load
from storage.loading.samples.marketplace import generate
from storage.postgres.database import connect
from storage.registry.registry import Registry
from storage.settings import Settings, get_settings, mlflow_tracking_uri
from tests.conftest import ROOT, TEMPLATE, _fresh, url_of

DAYS = 12
LEARNT_FROM = (
    "users",
    "items",
    "owners",
    "interaction_matrix",
    "user_features",
    "item_features",
)
"""What tests that train make anew first: others erase and add some."""
MODEL = (
    "training_set",
    "lightfm_hybrid",
    "offline_evaluation",
    "recommender",
    "ranker",
    "registered_model",
    "snapshot",
    "champion",
)
"""The assets of the group ``model``."""


def installed(home: Path, database: str, patch: pytest.MonkeyPatch) -> Settings:
    """An installation that this process and its children use; without its data."""
    settings = Settings(home=home, database_url=database, profile="marketplace")
    variables = settings_variables(settings) | dagster_variables(settings, database)
    for name, value in variables.items():
        patch.setenv(name, value)
    get_settings.cache_clear()
    write_dagster_home(settings)
    return settings


@pytest.fixture(scope="session")
def with_tables(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Name of a database to copy that holds the tables of Dagster and MLflow too: each makes its
    own by all the migrations that it ever had."""
    name = "with_tables"
    _server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    url = url_of(postgres_url, name)
    with pytest.MonkeyPatch.context() as patch:
        settings = installed(tmp_path_factory.mktemp(name), url, patch)
        with dg.DagsterInstance.get():
            Registry(mlflow_tracking_uri(settings, url), settings.model_name, settings.artifacts)
    get_settings.cache_clear()
    _server.execute(  # a database that is in use cannot be copied
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s", (name,)
    )
    return name


@pytest.fixture
def small(
    postgres_url: str,
    _server: psycopg.Connection,
    with_tables: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Settings]:
    """An installation of the test's own, without data."""
    for url in _fresh(postgres_url, _server, with_tables):
        yield installed(tmp_path / "home", url, monkeypatch)
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def installation(
    postgres_url: str,
    _server: psycopg.Connection,
    with_tables: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Settings]:
    """A small synthetic marketplace, loaded but not yet trained on."""
    with pytest.MonkeyPatch.context() as patch:
        for url in _fresh(postgres_url, _server, with_tables):
            settings = installed(tmp_path_factory.mktemp("installation"), url, patch)
            log = generate(120, 200, 9_000, days=DAYS, seed=3, now=datetime.now(UTC))
            with connect(url) as conn:
                load(conn, log)
            yield settings
        get_settings.cache_clear()


@pytest.fixture(scope="session")
def trained(installation: Settings) -> Settings:
    """The same after the first run of the daily job, as `feedwright up` does it."""
    from orchestration.launch import main

    assert main() == 0
    return installation


@pytest.fixture
def conn(installation: Settings) -> Iterator[psycopg.Connection]:
    assert installation.database_url is not None
    with connect(installation.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def instance(installation: Settings) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as found:
        yield found


@pytest.fixture(scope="session")
def workspace(
    trained: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkspaceProcessContext]:
    """Dagster's code server as the daemon starts it, where LightFM trains for minutes. Whoever
    kills it comes last."""
    content = yaml.safe_load((SHIPPED / "marketplace.yaml").read_text(encoding="utf-8"))
    profile = tmp_path_factory.mktemp("endless") / "endless.yaml"
    profile.write_text(yaml.safe_dump(content | {"lightfm": {"epochs": 1000, "dims": 512}}))
    target = WorkspaceFileTarget([str(ROOT / "workspace.yaml")])
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEEDWRIGHT_PROFILE", str(profile))
        instance = stack.enter_context(dg.DagsterInstance.get())
        process = stack.enter_context(WorkspaceProcessContext(instance, target))
        patch.undo()  # the server has it
        yield process


@pytest.fixture
def platform(trained: Settings):
    from orchestration.resources import Platform

    return Platform()


@pytest.fixture
def registry(trained: Settings) -> Registry:
    uri = mlflow_tracking_uri(trained, trained.database_url or "")
    return Registry(uri, trained.model_name, trained.artifacts)


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a run is made for something else: drawing takes a third of it."""
    monkeypatch.setattr("orchestration.plots.png", lambda *_, **__: b"")


@pytest.fixture
def few_recommenders(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The champion's and popularity compete, where it does not matter who does."""
    from orchestration.resources import Platform

    champion, profile = registry.champion(), Platform().profile
    assert champion is not None
    names = {champion.tags["recommender"], "popularity"}
    few = {name: of for name, of in profile.recommenders.items() if name in names}
    monkeypatch.setattr(Platform, "profile", profile.model_copy(update={"recommenders": few}))


@pytest.fixture
def with_profile(platform, monkeypatch: pytest.MonkeyPatch):
    """Give sections of the profile other values; recommenders take the place of all others."""

    def change(**sections) -> None:
        profile = platform.profile.model_dump()
        for section, values in sections.items():
            profile[section] = values if section == "recommenders" else profile[section] | values
        changed = type(platform.profile).model_validate(profile)
        # Dagster copies a resource that it is given, so it is the class that must know.
        monkeypatch.setattr(type(platform), "profile", changed)

    return change


def run_job(
    instance: dg.DagsterInstance, name: str, *, days: tuple[date, date] | None = None, **options
) -> dg.ExecuteInProcessResult:
    """Run a job of the definitions on the real instance."""
    from orchestration.data.partitions import range_tags
    from orchestration.definitions import defs

    tags = range_tags(*days) if days else {}
    job = defs.resolve_job_def(name)
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False, **options)
