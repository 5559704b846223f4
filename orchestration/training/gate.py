"""Group ``model``, last part: the gate, and what becomes of a version that it lets through."""

from functools import partial

import dagster as dg

from going_live.alerts import raise_alert
from going_live.releases import ReleaseError, Releases
from models.catalogue.snapshots.snapshot import SnapshotError
from models.evaluation import gate
from models.evaluation.comparison import Comparison
from models.versions.version import ModelVersion, RegistryError, metric_name
from orchestration import plots
from orchestration.policies import OWNERS, TRANSIENT, value_of
from orchestration.resources import Platform
from orchestration.snapshots import snapshot_of
from orchestration.training.models import GROUP, Evaluated, TrainingSet, past_of
from orchestration.training.progress import progress_of
from orchestration.training.registry import snapshot
from storage.events.telemetry import write_audit
from storage.operations import experiments, releases

ON_TRIAL: tuple[experiments.Status, ...] = ("running", "paused")
"""Experiments whose challenger must stay."""


@dg.asset(
    dagster_type=value_of(str),
    group_name=GROUP,
    kinds={"mlflow"},
    owners=OWNERS,
    retry_policy=TRANSIENT,
    deps=[snapshot],
)
def champion(
    context: dg.AssetExecutionContext,
    platform: Platform,
    training_set: TrainingSet,
    offline_evaluation: Evaluated,
    registered_model: ModelVersion,
) -> dg.MaterializeResult:
    """The gate: the new version goes live unless it is worse than the champion beyond the noise.

    `models/evaluation/gate.py` says how they are compared; its report is the artifact `gate.json`.
    What is refused gets no alias, and the champion stays. What passes and may not go live by
    itself, after a rollback or by the profile's `gate.promote`, becomes challenger.
    """
    from storage.registry import tracking  # brings MLflow, which takes seconds to import

    registry, version = platform.registry, registered_model.version
    comparison = offline_evaluation.comparison
    candidate = registry.get(version)
    report = _judge(context, platform, training_set, comparison, candidate)
    tracking.log_gate(registry, candidate, report.to_dict())
    became = "refused" if report.refusal else _promote(platform, training_set, version)
    for finding in report.findings:
        tell = context.log.warning if finding.status == "refused" else context.log.info
        tell("gate: %s %s: %s", finding.check, finding.status, finding.text)
    if report.refusal:
        _refuse(platform, candidate, report.refusal, context.run.run_id)
    context.log.info("version %s: %s", version, became)
    live = registry.champion()
    kept = live is not None and live.version == report.champion
    if live is not None and kept and any(finding.check == "split" for finding in report.findings):
        registry.judged_good(live.version)  # beside what learnt from newer data
    if live is None and report.refusal:
        message = f"version {version} was refused, and no other is live: {report.refusal}"
        raise dg.Failure(message, allow_retries=False)
    metric = metric_name(f"ndcg@{comparison.k}")
    return dg.MaterializeResult(
        value=live.version if live else "",
        metadata={
            "live_version": live.version if live else "none",
            "candidate": version,
            "became": became,
            "refused": report.refusal or "no",
            "gate": plots.table(
                [
                    {"check": finding.check, "status": finding.status, "found": finding.text}
                    for finding in report.findings
                ]
            ),
            metric: registered_model.metrics.get(metric, 0.0),
        },
    )


def _judge(
    context: dg.AssetExecutionContext,
    platform: Platform,
    training: TrainingSet,
    comparison: Comparison,
    candidate: ModelVersion,
) -> gate.Report:
    whole, live = training.dataset, platform.registry.champion()
    against, why = None, ""
    if live is None and platform.registry.history():
        why = "no version is live: the champion was deleted, or rolled back"
    elif live is not None:
        try:
            against = gate.Version.of(live, snapshot_of(platform, live))
        except (RegistryError, SnapshotError) as error:
            why = f"version {live.version} cannot be compared with: {error}"
    judged = gate.Version.of(candidate, snapshot_of(platform, candidate))
    report = gate.judge(
        judged,
        against,
        comparison,
        whole.users,
        whole.items,
        platform.profile,
        lambda profile, as_of: past_of(platform, whole, profile, as_of),
        platform.lake.scan(),
        progress=partial(progress_of, context),
    )
    if not why:
        return report
    return gate.against_heuristic(report, judged, comparison, platform.profile, why)


def _promote(platform: Platform, training: TrainingSet, version: str) -> str:
    """Put a version live that passed, or on trial; returns what it became, and why."""
    why = "gate.promote of the profile"
    # With nobody to try it against, a trial would leave users without a model.
    if platform.profile.gate.promote == "champion" or platform.registry.champion() is None:
        try:
            moved = Releases(platform.url, lambda: platform.registry).activate(
                version, actor="pipeline", reason="passed the gate", trained_from=training.began
            )
            return moved.note
        except ReleaseError as error:
            if error.kind != "refused":
                raise
            why = str(error)
    with platform.connect() as conn:
        withdrawn = version in releases.withdrawn(conn)
        on_trial = {row.challenger_version for row in experiments.listed(conn, *ON_TRIAL)}
    challenger = platform.registry.challenger()
    if withdrawn:
        return f"withdrawn: {why}"
    if challenger is not None and challenger.version in on_trial - {version}:
        return f"neither ({why}): version {challenger.version} is on trial in an experiment"
    platform.registry.put_on_trial(version)
    return f"challenger: {why}"


def _refuse(platform: Platform, version: ModelVersion, reason: str, run_id: str) -> None:
    """Say so in MLflow, in the audit log, and to whoever gets alerts."""
    platform.registry.refuse(version, reason)
    detail = {"version": version.version, "run": run_id, "reason": reason}
    title = f"Version {version.version} was refused by the gate"
    with platform.connect() as conn:
        write_audit(conn, "pipeline", "model.refused", detail)
        raise_alert(conn, "refused", "warning", title, detail)


ASSETS = [champion]
