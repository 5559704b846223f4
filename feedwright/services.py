"""The servers of an installation: how each is started, and how one sees that it is ready."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from feedwright.dagster_home import write_dagster_home
from feedwright.environment import ROOT, child_environment
from serving.launch import feed_command, feed_environment
from storage.settings import Settings, with_driver


@dataclass(frozen=True)
class Service:
    """One server. ``port`` is None when it listens nowhere."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    port: int | None = None
    port_variable: str = ""
    url: str | None = None
    health_url: str | None = None


@dataclass(frozen=True)
class Address:
    """What people open, and the page that says whether it is ready."""

    name: str
    url: str
    health_url: str
    port: int
    port_variable: str
    what: str


def addresses(settings: Settings) -> list[Address]:
    """Everything of this installation that listens on a port of ours."""
    return [
        Address(
            "feed",
            settings.feed_address,
            f"{settings.feed_address}/readyz",
            settings.feed_port,
            "FEEDWRIGHT_FEED_PORT",
            "the feed: /api/v1/feed, /docs, /metrics",
        ),
        Address(
            "dagster",
            settings.dagster_address,
            f"{settings.dagster_address}/server_info",
            settings.dagster_port,
            "FEEDWRIGHT_DAGSTER_PORT",
            "the pipeline: lineage, runs, checks, plots, schedules",
        ),
        Address(
            "mlflow",
            settings.mlflow_address,
            f"{settings.mlflow_address}/health",
            settings.mlflow_port,
            "FEEDWRIGHT_MLFLOW_PORT",
            "the models: versions, metrics, artifacts",
        ),
    ]


def services(settings: Settings, database_url: str) -> list[Service]:
    """The servers that `up` starts, in the order of their start. A configured MLflow
    server is used as it is, so none of ours is started."""
    environment = child_environment(settings, database_url)
    feed, dagster, mlflow = addresses(settings)
    write_dagster_home(settings)
    workspace = ROOT / "workspace.yaml"
    code = ["-w", str(workspace)] if workspace.exists() else ["-m", "orchestration.definitions"]
    host = settings.host
    listed = [
        Service(
            "dagster-webserver",
            [sys.executable, "-m", "dagster_webserver", *code,
             "-h", host, "-p", str(dagster.port)],
            environment, dagster.port, dagster.port_variable, dagster.url, dagster.health_url,
        ),
        Service(
            "dagster-daemon",
            [sys.executable, "-m", "dagster._daemon", "run", *code],
            environment,
        ),
        Service(
            "feed",
            feed_command(settings),
            {**environment, **feed_environment(settings)},
            feed.port, feed.port_variable, feed.url, feed.health_url,
        ),
    ]  # fmt: skip
    if settings.mlflow_url is None:
        # By the environment: a command line, with its password, is for all to see.
        backend = with_driver(database_url, "psycopg2", schema="mlflow")
        command = [
            sys.executable, "-m", "mlflow", "server",
            "--artifacts-destination", settings.artifacts, "--workers", "1",
            "--host", host, "--port", str(mlflow.port),
            "--uvicorn-opts", "--no-access-log",
        ]  # fmt: skip
        listed.insert(
            0,
            Service(
                "mlflow", command, {**environment, "MLFLOW_BACKEND_STORE_URI": backend},
                mlflow.port, mlflow.port_variable, mlflow.url, mlflow.health_url,
            ),
        )  # fmt: skip
    return listed
