"""DAGSTER_HOME of an installation: the folder and its dagster.yaml."""

from __future__ import annotations

from pathlib import Path

import yaml

from feedwright.environment import dagster_home
from storage.settings import Settings

# How long what ticks leave behind is kept, in days; -1 keeps it.
TICKS = {"skipped": 7, "failure": 30, "success": 90}

LONGEST_RUN = 24 * 3600  # seconds

LOGGERS = ("feedwright", "going_live", "models", "orchestration", "storage")


def configuration(settings: Settings) -> dict[str, object]:
    """The content of dagster.yaml. The database's address comes by the environment, so
    that the file holds no password and may move with the database."""
    home = dagster_home(settings)
    return {
        "telemetry": {"enabled": False},
        "storage": {
            "postgres": {"postgres_url": {"env": "FEEDWRIGHT_DAGSTER_DATABASE_URL"}},
        },
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": str(home / "compute_logs")},
        },
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(home)},
        },
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": "QueuedRunCoordinator",
        },
        "run_launcher": {
            "module": "orchestration.runs.launcher",
            "class": "HeartbeatRunLauncher",
        },
        "concurrency": {
            "pools": {"default_limit": 1, "granularity": "run"},
            "runs": {"max_concurrent_runs": 4},
        },
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 120,
            "cancel_timeout_seconds": 15,
            "poll_interval_seconds": 5,
            "max_runtime_seconds": LONGEST_RUN,
        },
        # What our own modules log in a run is kept with it, and printed with its id.
        "python_logs": {"managed_python_loggers": list(LOGGERS), "python_log_level": "INFO"},
        "run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False},
        "retention": {
            "schedule": {"purge_after_days": dict(TICKS)},
            "sensor": {"purge_after_days": dict(TICKS)},
        },
    }


def write_dagster_home(settings: Settings) -> Path:
    """Make the folder and write dagster.yaml, unless it says the same; returns the folder."""
    home = dagster_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    text = "# Written by `feedwright`; what you change here is overwritten at the next start.\n"
    text += yaml.safe_dump(configuration(settings), sort_keys=False)
    file = home / "dagster.yaml"
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        partial = home / "dagster.yaml.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)
    return home
