"""A ``feedwright up`` of its own, used from outside as a person would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.common.ports import free_port
from benchmarks.common.report import BenchmarkError
from benchmarks.common.servers import HOST
from models.profile.schema import SHIPPED
from serving.launch import ROOT

UP_SECONDS = 600.0


class Installation:
    """
    Attributes:
        home: a folder for what is loaded; the state is below it.
    """

    def __init__(self, home: Path, workers: int) -> None:
        self.home, self.state, self.workers = home, home / "state", workers
        self.feed = f"http://{HOST}:{(feed := free_port())}"
        self.dagster = f"http://{HOST}:{(dagster := free_port())}"
        self.mlflow = f"http://{HOST}:{(mlflow := free_port())}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if "FEEDWRIGHT" not in name},
            "FEEDWRIGHT_HOME": str(self.state),
            "FEEDWRIGHT_PROFILE": str(home / "profile.yaml"),
            "FEEDWRIGHT_FEED_PORT": str(feed),
            "FEEDWRIGHT_DAGSTER_PORT": str(dagster),
            "FEEDWRIGHT_MLFLOW_PORT": str(mlflow),
            "FEEDWRIGHT_FEED_WORKERS": str(workers),
            "FEEDWRIGHT_RATE_LIMIT_PER_USER": "0",
        }
        self.environment.pop("DAGSTER_HOME", None)
        self.http = httpx.Client(base_url=self.feed, timeout=60, trust_env=False)

    def run(self, *arguments: str, module: str = "feedwright") -> str:
        """What a command printed.

        Raises:
            BenchmarkError: it failed.
        """
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=UP_SECONDS,
        )
        if done.returncode:
            raise BenchmarkError(f"{module} {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer of an admin call.

        Raises:
            BenchmarkError: it is refused.
        """
        answer = self.http.request(method, f"/api/v1/admin/{path}", json=body)
        if answer.is_error:
            raise BenchmarkError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()


@contextmanager
def folder_for(name: str, profile: str, changes: Mapping[str, Any]) -> Iterator[Path]:
    """A folder with ``profile.yaml``: the shipped ``profile`` with some sections changed."""
    home = Path(tempfile.mkdtemp(prefix=f"feedwright-{name}-"))
    shipped: Mapping[str, Any] = yaml.safe_load((SHIPPED / f"{profile}.yaml").read_text())
    (home / "profile.yaml").write_text(yaml.safe_dump({**shipped, **changes}))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
