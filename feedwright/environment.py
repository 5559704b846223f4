"""The environment variables of an installation's processes."""

from __future__ import annotations

import os
from pathlib import Path

from storage.home import make_closed
from storage.settings import REMEMBERED, Settings, get_settings, with_driver

ROOT = Path(__file__).resolve().parents[1]
"""Folder of the packages; workspace.yaml lies there in a clone."""

# No part phones home, and BLAS leaves the cores to the processes.
QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}


def dagster_home(settings: Settings) -> Path:
    return settings.home / "dagster"


def settings_variables(settings: Settings) -> dict[str, str]:
    """The settings as variables: what was set anywhere, and where the state is."""
    named = settings.model_fields_set | {"home", "profile"}
    values = {name: getattr(settings, name) for name in sorted(named)}
    return {
        f"FEEDWRIGHT_{name.upper()}": str(value)
        for name, value in values.items()
        if value is not None
    }


def dagster_variables(settings: Settings, database_url: str) -> dict[str, str]:
    """What any Dagster process needs to find its instance."""
    return {
        "DAGSTER_HOME": str(dagster_home(settings)),
        "FEEDWRIGHT_DAGSTER_DATABASE_URL": with_driver(database_url, "psycopg2", schema="dagster")
        + "&application_name=dagster",
    }


def child_environment(settings: Settings, database_url: str) -> dict[str, str]:
    """The whole environment of a child process."""
    return {
        **os.environ,
        **QUIET,
        **settings_variables(settings),
        **dagster_variables(settings, database_url),
        "BENTOML_HOME": str(settings.home / "bentoml"),
    }


def remember(settings: Settings, **choices: str) -> Settings:
    """Keep choices for every later process of this installation; the settings that result."""
    file = settings.home / REMEMBERED
    make_closed(settings.home)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    kept = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    kept |= {f"FEEDWRIGHT_{name.upper()}": value for name, value in choices.items()}
    text = "# Written by `feedwright`. Variables of the environment and of .env go first.\n"
    text += "".join(f"{name}={value}\n" for name, value in sorted(kept.items()))
    partial = file.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
    get_settings.cache_clear()
    return get_settings()
