"""The command that asks Dagster for a search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feedwright.cli.app import app
from gateway.dagster_client import DagsterClient
from storage.settings import get_settings


@pytest.fixture(autouse=True)
def _installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEEDWRIGHT_DAGSTER_PORT", "9")  # nobody listens there
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_the_job_takes_what_the_command_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = {}
    monkeypatch.setenv("FEEDWRIGHT_DAGSTER_URL", "http://gateway:3001")
    monkeypatch.setenv("FEEDWRIGHT_DAGSTER_PUBLIC_URL", "https://dagster.example")

    async def launch(self: DagsterClient, job: str, config: dict) -> str:
        assert self.address == "http://gateway:3001"
        sent[job] = config
        return "a-run"

    monkeypatch.setattr(DagsterClient, "launch", launch)
    result = CliRunner().invoke(app, ["search", "ease", "als", "--minutes", "5"])
    assert result.exit_code == 0
    assert "https://dagster.example/runs/a-run" in result.stdout.replace("\n", "")
    # Fields of `orchestration.training.search.SearchConfig`, which takes seconds to import.
    assert sent == {
        "search": {
            "ops": {
                "hyperparameter_search": {
                    "config": {
                        "recommenders": ["ease", "als"],
                        "minutes": 5.0,
                        "trials": 60,
                        "windows": 3,
                    }
                }
            }
        }
    }


def test_without_dagster_it_says_what_to_do() -> None:
    result = CliRunner().invoke(app, ["search"])
    assert result.exit_code == 1
    assert "nothing listens there" in result.stderr
    assert "feedwright up" in result.stderr
