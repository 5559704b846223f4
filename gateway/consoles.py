"""What stands behind the gateway, and where it listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from storage.settings import Settings
from storage.sockets import socket_folder

DAGSTER_READY = "/code_ready"
"""Page of Dagster's web server: 200 where the pipeline's code is there, else 503."""


@dataclass(frozen=True)
class Console:
    """
    Attributes:
        name: as people know it.
        service: whose log says more.
        port: at which the gateway takes its calls.
        socket: Unix socket at which it listens itself.
    """

    name: str
    service: str
    port: int
    socket: Path


def dagster_socket(settings: Settings) -> Path:
    return socket_folder(settings.home) / "dagster.sock"


def mlflow_socket(settings: Settings) -> Path:
    return socket_folder(settings.home) / "mlflow.sock"


def consoles(settings: Settings) -> list[Console]:
    """Dagster's pages, and MLflow's unless the settings name a server of somebody else's."""
    known = [
        Console("Dagster", "dagster-webserver", settings.dagster_port, dagster_socket(settings))
    ]
    if settings.mlflow_url is None:
        known.append(Console("MLflow", "mlflow", settings.mlflow_port, mlflow_socket(settings)))
    return known
