"""Group ``feed``: how far the data have moved from what the live version learnt."""

from datetime import UTC, datetime

import dagster as dg

from going_live.alerts import raise_alert
from models.evaluation import drift
from models.evaluation.drift import DRIFT, Reference, Shift, Status
from models.versions.version import ModelVersion
from orchestration import plots
from orchestration.policies import OWNERS, TRANSIENT
from orchestration.resources import Platform
from orchestration.snapshots import snapshot_of
from orchestration.training.gate import champion
from storage.events.fresh import fresh_rows


@dg.asset(
    group_name="feed",
    kinds={"postgres", "scipy"},
    owners=OWNERS,
    deps=[champion],
    retry_policy=TRANSIENT,
)
def drift_report(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Population stability of the mix of interactions, of features, and of scores.

    What came since the live version was trained, at most the last `drift.window_days`, against
    the days before. From `drift.retrain` on the sensor `retraining` trains.
    """
    live = platform.registry.champion()
    if live is None:
        return dg.MaterializeResult(
            metadata={"version": "", "status": "not_enough_data", "reason": "no version is live"}
        )
    status, why, shifts = _look(platform, live)
    if status == "drift" and last_drift(context.instance) != (live.version, "drift"):
        detail = {"version": live.version, "shifts": drift.described(shifts)}
        with platform.connect() as conn:
            raise_alert(conn, "drift", "warning", f"The data have drifted: {why}", detail)
    return dg.MaterializeResult(
        metadata={
            "version": live.version,
            "status": status,
            "reason": why,
            "shifts": plots.table(drift.described(shifts)),
            "plot": plots.as_metadata(
                plots.bars,
                {shift.group: {"PSI": shift.psi, "by chance": shift.noise} for shift in shifts},
                "Population stability index",
            ),
        }
    )


def last_drift(instance: dg.DagsterInstance) -> tuple[str, Status] | None:
    """Which version the newest report is of, and what it says."""
    event = instance.get_latest_materialization_event(dg.AssetKey("drift_report"))
    if event is None or event.asset_materialization is None:
        return None
    metadata = event.asset_materialization.metadata
    return metadata["version"].value, metadata["status"].value  # type: ignore[return-value]


def _look(platform: Platform, live: ModelVersion) -> tuple[Status, str, list[Shift]]:
    rules = platform.profile.drift
    snapshot = snapshot_of(platform, live)
    assert snapshot.folder is not None
    file = snapshot.folder / DRIFT
    if not file.exists():
        return "not_enough_data", f"version {live.version} has no reference", []
    reference = Reference.from_bytes(file.read_bytes())
    since = drift.window(datetime.fromisoformat(reference.until), rules, now=datetime.now(UTC))
    interactions, users, items = fresh_rows(platform.url, since, rules.max_rows)
    if min(len(interactions), reference.rows) < rules.min_rows:
        counts = f"{len(interactions)} interactions since, {reference.rows} before"
        return "not_enough_data", f"not enough data: {counts}; {rules.min_rows} each are needed", []
    weights = platform.profile.interaction_weights
    groups = drift.watched(interactions, users, items, snapshot, weights)
    shifts = drift.shifts(reference, groups, rules)
    worst = shifts[0]
    return drift.overall(shifts), f"{worst.group} has a PSI of {worst.psi:.3f}", shifts


ASSETS = [drift_report]


drift_job = dg.define_asset_job(
    "drift",
    selection=dg.AssetSelection.assets(drift_report),
    description="How far the data have moved from what the live version learnt.",
    tags={"feedwright/kind": "counting"},
)


hourly_drift = dg.ScheduleDefinition(
    name="hourly_drift",
    job=drift_job,
    cron_schedule="50 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Hourly: have the data moved from what the live version learnt?",
)
