"""dagster.yaml is one that Dagster takes, on our Postgres."""

from __future__ import annotations

import pytest

from feedwright.dagster.home import write_dagster_home
from feedwright.environment import dagster_variables
from storage.settings import Settings


def test_dagster_makes_its_instance_of_it(
    settings: Settings, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = write_dagster_home(settings)
    for name, value in dagster_variables(settings, database).items():
        monkeypatch.setenv(name, value)
    import dagster

    with dagster.DagsterInstance.from_config(str(home)) as instance:
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
        assert instance.run_retries_enabled
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled
        assert instance.get_runs() == []


def test_writing_again_changes_nothing(settings: Settings) -> None:
    file = write_dagster_home(settings) / "dagster.yaml"
    before = file.stat().st_mtime_ns
    write_dagster_home(settings)
    assert file.stat().st_mtime_ns == before
    assert "password" not in file.read_text()
