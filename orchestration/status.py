"""What the Dagster instance knows of each asset, for ``feedwright status``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from orchestration.dagster_internals import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from orchestration.data.checks import holds
from orchestration.definitions import defs


def asset_status() -> list[dict[str, Any]]:
    """Each asset's key, last materialization (RFC 3339, None: never), and whether all its
    checks passed when they last ran (None: it has none, or they never ran)."""
    graph = defs.resolve_asset_graph()
    keys = sorted(graph.materializable_asset_keys)
    with dg.DagsterInstance.get() as instance:
        records = {
            record.asset_entry.asset_key: record.asset_entry
            for record in instance.get_asset_records(keys)
        }
        checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            list(graph.asset_check_keys)
        )
        ran = {key: _last_that_ran(instance, key, latest) for key, latest in checks.items()}
    passed: dict[dg.AssetKey, bool] = {}
    for key, record in ran.items():
        if record is not None:
            passed[key.asset_key] = passed.get(key.asset_key, True) and _held(record)
    return [
        {
            "key": key.to_user_string(),
            "last_materialized_at": _time(records.get(key)),
            "checks_passed": passed.get(key),
        }
        for key in keys
    ]


def _held(record: AssetCheckExecutionRecord) -> bool:
    """Whether a check that ran passed, or only warned."""
    event = record.event.dagster_event if record.event else None
    if event is None:
        return record.status is AssetCheckExecutionRecordStatus.SUCCEEDED
    return holds(event.asset_check_evaluation_data)


def _last_that_ran(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, latest: AssetCheckExecutionRecord
) -> AssetCheckExecutionRecord | None:
    """A run plans its checks at its start, and skips those of assets that it does not come to."""
    if latest.status is not AssetCheckExecutionRecordStatus.PLANNED:
        return latest
    ran = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    found = instance.event_log_storage.get_asset_check_execution_history(key, limit=1, status=ran)
    return found[0] if found else None


def _time(entry: Any) -> str | None:
    last = entry.last_materialization if entry else None
    return datetime.fromtimestamp(last.timestamp, UTC).isoformat() if last else None
