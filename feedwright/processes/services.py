"""The servers of an installation: how each is started, and how one sees that it is ready."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from feedwright.dagster.home import write_dagster_home
from feedwright.environment import ROOT, child_environment
from gateway.consoles import DAGSTER_READY, dagster_socket, mlflow_socket
from serving.launch import feed_command, feed_environment
from storage.settings import Settings, with_driver


@dataclass(frozen=True)
class Service:
    """One server. ``health_url`` is the page that says whether it is ready, if it has one."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
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
    """Of the feed and the consoles, of ours or those that the settings name."""
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
            f"{settings.dagster_address}{DAGSTER_READY}",
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
    listed = [
        Service(
            "dagster-webserver",
            [sys.executable, "-m", "feedwright.dagster.webserver",
             "--socket", str(dagster_socket(settings)), *code],
            environment,
            dagster.health_url,
        ),
        Service(
            "dagster-daemon",
            [sys.executable, "-m", "feedwright.dagster.daemon", *code],
            environment,
        ),
        Service(
            "feed",
            feed_command(settings),
            {**environment, **feed_environment(settings)},
            feed.health_url,
        ),
        Service(
            "gateway",
            [sys.executable, "-m", "gateway"],
            environment,
        ),
    ]  # fmt: skip
    if settings.mlflow_url is None:
        listed.insert(
            0,
            Service(
                "mlflow",
                mlflow_command(settings),
                {**environment, **mlflow_environment(database_url)},
                mlflow.health_url,
            ),
        )
    return listed


def mlflow_command(settings: Settings) -> list[str]:
    """MLflow's server on its socket, behind the gateway."""
    uvicorn = ["--uds", str(mlflow_socket(settings)), "--no-access-log"]
    return [
        sys.executable, "-m", "mlflow", "server",
        "--artifacts-destination", settings.artifacts,
        "--workers", "1",
        "--uvicorn-opts", shlex.join(uvicorn),
    ]  # fmt: skip


def mlflow_environment(database_url: str) -> dict[str, str]:
    return {
        # Not as an argument: a command line, with its password, is for all to see.
        "MLFLOW_BACKEND_STORE_URI": with_driver(database_url, "psycopg2", schema="mlflow"),
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",  # the gateway has looked
    }
