"""Settings: from the environment, with a clear refusal of what is wrong; addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError
from sqlalchemy import make_url

from storage.settings import Settings, get_settings, with_driver


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No .env file of the working directory, no variables of ours."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FEEDWRIGHT_{name.upper()}", raising=False)


def test_defaults_are_below_one_folder(tmp_path: Path) -> None:
    settings = Settings()
    assert settings.home == tmp_path / ".feedwright"
    assert settings.database_url is None
    assert settings.postgres_dir == settings.home / "postgres"
    assert settings.lake == str(settings.home / "lake")
    assert settings.artifacts == str(settings.home / "artifacts")
    assert settings.feed_address == "http://127.0.0.1:3000"
    assert settings.mlflow_address == settings.mlflow_public_address == "http://127.0.0.1:5000"
    assert settings.dagster_address == settings.dagster_public_address == "http://127.0.0.1:3001"


def test_environment_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("FEEDWRIGHT_FEED_PORT=4000\nFEEDWRIGHT_MLFLOW_PORT=5001\n")
    monkeypatch.setenv("FEEDWRIGHT_MLFLOW_PORT", "5002")
    monkeypatch.setenv("FEEDWRIGHT_LAKE_URL", "s3://bucket/lake/")
    monkeypatch.setenv("FEEDWRIGHT_MLFLOW_URL", "http://mlflow:5000/")
    monkeypatch.setenv("FEEDWRIGHT_DAGSTER_URL", "http://gateway:3001")
    monkeypatch.setenv("FEEDWRIGHT_DAGSTER_PUBLIC_URL", "https://dagster.example/")
    settings = Settings()
    assert (settings.feed_port, settings.mlflow_port) == (4000, 5002)
    assert settings.lake == "s3://bucket/lake"
    assert settings.mlflow_address == settings.mlflow_public_address == "http://mlflow:5000"
    assert settings.dagster_address == "http://gateway:3001"
    assert settings.dagster_public_address == "https://dagster.example"


def test_a_home_that_mlflow_would_look_for_elsewhere_is_refused(tmp_path: Path) -> None:
    assert Settings(home=tmp_path / "100%").home == tmp_path / "100%"
    with pytest.raises(ValidationError, match="has '%41' in it, which MLflow would read as 'A'"):
        Settings(home=tmp_path / "a%41b")


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "LAKE_URL", "MLFLOW_URL", "DAGSTER_URL", "WEBHOOK_URL"):
        monkeypatch.setenv(f"FEEDWRIGHT_{name}", "")
    settings = Settings()
    assert (settings.database_url, settings.mlflow_url, settings.webhook_url) == (None,) * 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("database_url", "mysql://host/name"),
        ("feed_port", "70000"),
        ("feed_workers", "0"),
        ("mlflow_url", "not an address"),
        ("model_poll_seconds", "0"),
    ],
)
def test_a_wrong_value_names_its_field(
    field: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FEEDWRIGHT_{field.upper()}", value)
    with pytest.raises(ValidationError, match=field):
        Settings()


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    get_settings.cache_clear()
    try:
        assert get_settings() is get_settings()
    finally:
        get_settings.cache_clear()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:p%40ss@host:5433/shop",
        "postgres://me:p%40ss@host:5433/shop?sslmode=require",
        "postgresql+psycopg2://feedwright@/feedwright?host=%2Frun%2Fsockets&port=5432",
    ],
)
def test_with_driver(url: str) -> None:
    named = make_url(with_driver(url, "psycopg2", schema="dagster"))
    assert named.drivername == "postgresql+psycopg2"
    assert named.query["options"] == "-csearch_path=dagster"
    plain = conninfo_to_dict(with_driver(url, schema="dagster"))
    assert plain["options"] == "-csearch_path=dagster"
    assert plain["dbname"] == make_url(url).database
    assert with_driver(with_driver(url, "psycopg")) == with_driver(url)
