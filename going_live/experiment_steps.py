"""What happens to experiments that run, by itself: they grow, wait, are paused, are won."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import psycopg

from going_live import ramps
from going_live.alerts import Severity, raise_alert
from going_live.experiments import end, needs_challenger, pause, set_share
from going_live.releases import ReleaseError, Releases
from models.experiments.guardrails import METRICS, Verdict, judge
from models.profile.schema import Profile
from models.versions.version import RegistryError
from storage.clocks import CLOCKS_DIFFER
from storage.events.telemetry import write_audit
from storage.operations import experiments as stored
from storage.operations.experiments import ExperimentRow, Shown
from storage.operations.releases import refusal
from storage.operations.variant_counts import count_new
from storage.operations.variant_metrics import NOTHING, Totals, by_arm
from storage.postgres.database import connect

if TYPE_CHECKING:
    from storage.registry.registry import Registry

log = logging.getLogger(__name__)

ACTOR = "pipeline"
MISMATCH = "sample ratio mismatch"
"""How ``held_because`` begins where users do not fit the weights."""


@dataclass(frozen=True)
class Step:
    """What became of an experiment."""

    experiment: str
    did: Literal["waits", "grew", "held", "paused", "won", "ended", "failed"]
    reason: str


@dataclass(frozen=True)
class Aliases:
    """What MLflow says; ``away``: why it says nothing."""

    champion: str | None = None
    challenger: str | None = None
    away: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What is known of an experiment since it began, by arm.

    Attributes:
        verdicts: beside the control; it has none itself.
    """

    shown: Mapping[str, Shown]
    totals: Mapping[str, Totals]
    verdicts: Mapping[str, Verdict]


def step_all(
    url: str,
    profile: Profile,
    environment: str,
    registry: Callable[[], Registry],
    releases: Releases,
    *,
    now: datetime,
) -> list[Step]:
    """Look at every experiment of the environment that runs, and do what is due.

    In this order: paused, if its challenger is no longer what it was at the start, or if an arm
    harms, and then that arm's version is withdrawn; held, on doubt; won, if an arm beats the
    control; grown, if its step has had its time and its impressions. Each is a transaction of its
    own, and doing it again does nothing more: a run that broke off is finished by the next. One
    that fails is reported as such, and the others have their turn.

    Raises:
        DatabaseError: nothing was done.
    """
    with connect(url) as conn:
        running = [
            row for row in stored.listed(conn, "running") if row.environment in (None, environment)
        ]
    if not running:
        return []
    with connect(url) as conn:
        limits = profile.guardrails
        count_new(
            conn,
            profile.interaction_types,
            conversion_hours=limits.conversion_hours,
            days=limits.window_days,
            now=now,
        )
    aliases = _aliases(registry) if any(map(needs_challenger, running)) else Aliases()
    return [_tried(url, row.id, profile, aliases, releases, now) for row in reversed(running)]


def _tried(
    url: str, id: str, profile: Profile, aliases: Aliases, releases: Releases, now: datetime
) -> Step:
    try:
        return _step(url, id, profile, aliases, releases, now)
    except Exception as error:
        log.exception("experiment %s", id)
        return Step(id, "failed", f"{type(error).__name__}: {error}")


def _aliases(registry: Callable[[], Registry]) -> Aliases:
    try:
        opened = registry()
        champion, challenger = opened.champion(), opened.challenger()
    except RegistryError as error:
        return Aliases(away=str(error))
    return Aliases(
        champion.version if champion else None, challenger.version if challenger else None
    )


def _step(
    url: str, id: str, profile: Profile, aliases: Aliases, releases: Releases, now: datetime
) -> Step:
    with connect(url) as conn:
        row = stored.find(conn, id, lock=True)
        if row is None or row.status != "running":  # somebody was quicker
            return Step(id, "waits", "is no longer running")
        if _is_live(row, aliases):
            return _end(conn, row, now)  # broke off after the activation, or somebody was quicker
        why = _challenger_problem(conn, row, aliases)
        if why is not None:
            return _pause(conn, row, "experiment_paused", "warning", why)
        row = _begun(conn, row, now)
        seen = _evidence(conn, row, profile, now)
        mismatch = ramps.sample_ratio_doubt(row, seen.shown, profile.experiments)
        harm = _harm(row, seen)
        if harm is not None:
            arms, reason = harm
            # A comparison that is wrong is reason enough to pause, and none to withdraw.
            if mismatch is None and any(row.ranked_by[arm] == "challenger" for arm in arms):
                reason = _withdraw(releases, row, reason)
            return _pause(conn, row, "experiment_harm", "critical", reason)
        if mismatch is not None:
            return _hold(conn, row, f"{MISMATCH}: {mismatch}")
        doubt = _doubt(row, seen, profile, aliases)
        if doubt is not None:
            return _hold(conn, row, doubt)
        winner = row.winner or _new_winner(conn, row, seen, profile)
        if winner is None or not row.winner_takes_all or not ramps.is_about_version(row, winner):
            if winner != row.winner:
                return Step(id, "won", f"{winner} beats {row.control}")
            return _grow(conn, row, seen, now)
    return _activate(url, row, winner, releases, now)


def _is_live(row: ExperimentRow, aliases: Aliases) -> bool:
    """Whether its winner is the challenger, and that is the champion by now."""
    return (
        row.winner is not None
        and row.ranked_by[row.winner] == "challenger"
        and aliases.champion == row.challenger_version
    )


def _challenger_problem(
    conn: psycopg.Connection, row: ExperimentRow, aliases: Aliases
) -> str | None:
    """Why its challenger is no longer what it is about, for people; None: it is."""
    if not needs_challenger(row) or row.challenger_version is None:
        return None
    why = refusal(conn, row.challenger_version)
    if why is not None:
        return why
    if aliases.away is not None or aliases.challenger == row.challenger_version:
        return None
    now = f"version {aliases.challenger} is" if aliases.challenger else "there is none"
    if aliases.champion == row.challenger_version:
        now = "it is the champion"
    return f"version {row.challenger_version} is no longer the challenger: {now}"


def _begun(conn: psycopg.Connection, row: ExperimentRow, now: datetime) -> ExperimentRow:
    """The experiment, whose times begin now where they are in the future: before the clock was set
    back."""
    times = {"started_at": row.started_at, "share_since": row.share_since}
    late: dict[str, Any] = {
        name: now for name, at in times.items() if at is not None and at > now + CLOCKS_DIFFER
    }
    if late:
        stored.update(conn, row.id, **late)
        row = replace(row, **late)
    return row


def _evidence(
    conn: psycopg.Connection, row: ExperimentRow, profile: Profile, now: datetime
) -> Evidence:
    limits = profile.guardrails
    assert row.started_at is not None
    counted = by_arm(conn, row.id, row.started_at, now, conversion_hours=limits.conversion_hours)
    # Trackers are public: only its own arms count.
    totals = {arm: counted.get(arm, NOTHING) for arm in row.ranked_by}
    control = totals[row.control].moments
    verdicts = {
        arm: judge(of.moments, control, limits, randomised=True)
        for arm, of in totals.items()
        if arm != row.control
    }
    return Evidence(stored.shown(conn, row), totals, verdicts)


def _harm(row: ExperimentRow, seen: Evidence) -> tuple[list[str], str] | None:
    """The arms that harm, and how, for people; None: none does."""
    harmful = {
        arm: verdict.reason for arm, verdict in seen.verdicts.items() if verdict.status == "breach"
    }
    if not harmful:
        return None
    reasons = [f"{arm} harms beside {row.control}: {reason}" for arm, reason in harmful.items()]
    return list(harmful), "; ".join(reasons)


def _doubt(row: ExperimentRow, seen: Evidence, profile: Profile, aliases: Aliases) -> str | None:
    limits = profile.experiments
    if aliases.away is not None and needs_challenger(row):
        return f"it is not known whether the challenger is still the same: {aliases.away}"
    return ramps.leaning(seen.verdicts, limits) or ramps.fallback_doubt(
        row, seen.shown, limits, profile.guardrails.min_impressions
    )


def _grow(conn: psycopg.Connection, row: ExperimentRow, seen: Evidence, now: datetime) -> Step:
    """The next step of its ramp, if it is due."""
    due = ramps.due_at(row)
    if due is not None and now >= due:
        little = ramps.too_little(row, seen.shown)
        if little is not None:
            return _hold(conn, row, little)
        grown = set_share(conn, row.id, None, actor=ACTOR, reason="its step is over", now=now)
        return Step(row.id, "grew", f"from {row.share:.1%} to {grown.share:.1%} of its users")
    if row.held_because is not None:
        stored.update(conn, row.id, held_because=None)
        write_audit(conn, ACTOR, "experiment.released", {"experiment": row.id})
    until = f" until {due:%Y-%m-%d %H:%M}" if due else ""
    return Step(row.id, "waits", f"at {row.share:.1%} of its users{until}")


def _hold(conn: psycopg.Connection, row: ExperimentRow, reason: str) -> Step:
    """Its share stays. Numbers in the reason change with every look; the audit log and alerts
    tell of the beginning alone."""
    if row.held_because is None:
        write_audit(conn, ACTOR, "experiment.held", {"experiment": row.id, "reason": reason})
    if reason.startswith(MISMATCH) and not (row.held_because or "").startswith(MISMATCH):
        title = f"Experiment {row.id}: {MISMATCH}"
        raise_alert(
            conn, "sample_ratio_mismatch", "warning", title,
            {"experiment": row.id, "reason": reason},
        )  # fmt: skip
    stored.update(conn, row.id, held_because=reason)
    return Step(row.id, "held", reason)


def _pause(
    conn: psycopg.Connection, row: ExperimentRow, kind: str, severity: Severity, reason: str
) -> Step:
    pause(conn, row.id, actor=ACTOR, reason=reason)
    title = f"Experiment {row.id} is paused: {reason}"
    raise_alert(conn, kind, severity, title, {"experiment": row.id, "reason": reason})
    return Step(row.id, "paused", reason)


def _withdraw(releases: Releases, row: ExperimentRow, reason: str) -> str:
    """Withdraw the challenger; returns the reason, with what came of it.

    Before the pause is committed: if that fails, the next run pauses for the withdrawal.
    """
    assert row.challenger_version is not None
    why = f"experiment {row.id}: {reason}"
    try:
        moved = releases.withdraw(row.challenger_version, actor=ACTOR, reason=why)
    except ReleaseError as error:
        return f"{reason}; its version could not be withdrawn: {error}"
    return f"{reason}; {moved.note}"


def _new_winner(
    conn: psycopg.Connection, row: ExperimentRow, seen: Evidence, profile: Profile
) -> str | None:
    """The arm that has won since the last look."""
    moments = {arm: of.moments for arm, of in seen.totals.items()}
    winner = ramps.winner_of(row, moments, profile.experiments, profile.guardrails)
    if winner is None:
        return None
    arm, difference = winner
    stored.update(conn, row.id, winner=arm)
    detail = {
        "experiment": row.id,
        "winner": arm,
        "metric": row.primary_metric,
        "relative": difference.relative,
        "low": difference.low,
        "high": difference.high,
    }
    write_audit(conn, ACTOR, "experiment.won", detail)
    label = METRICS[row.primary_metric].label
    title = f"Experiment {row.id}: {arm} beats {row.control}, {label} {difference.relative:+.1%}"
    raise_alert(conn, "experiment_winner", "info", title, detail)
    return arm


def _activate(url: str, row: ExperimentRow, winner: str, releases: Releases, now: datetime) -> Step:
    """Put the version that won live, and then end the experiment."""
    assert row.challenger_version is not None
    problem = None
    try:
        releases.activate(
            row.challenger_version, actor=ACTOR, reason=f"experiment {row.id}: {winner} won"
        )
    except ReleaseError as error:
        problem = f"{winner} won and cannot go live: {error}"
    with connect(url) as conn:
        kept = stored.find(conn, row.id, lock=True)
        if kept is None or kept.status != "running":  # somebody was quicker
            return Step(row.id, "waits", "is no longer running")
        return _hold(conn, kept, problem) if problem else _end(conn, kept, now)


def _end(conn: psycopg.Connection, row: ExperimentRow, now: datetime) -> Step:
    reason = f"{row.winner} won, and version {row.challenger_version} is live"
    end(conn, row.id, actor=ACTOR, reason=reason, now=now)
    return Step(row.id, "ended", reason)
