"""Experiments, by hand: make, change, start, pause, go on, set the share, end.

What the pipeline does with them by itself is in ``experiment_steps.py``. Each call works in the
caller's transaction and writes a line to the audit log in it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from pydantic import ValidationError

from going_live.definitions import (
    ExperimentDefinition,
    Problem,
    definition_of,
    fields_of,
    problems_of,
    problems_with,
    settings_problems,
)
from going_live.ramps import next_step
from models.profile.schema import Profile
from storage.events.telemetry import write_audit
from storage.operations import experiments as stored
from storage.operations.experiments import ExperimentRow, Status
from storage.operations.releases import refusal

MAX_ASSIGNED = 1_000
"""Users of an experiment with an arm by hand: workers read them all every second."""

Challenger = Callable[[], str | None]
"""Asks which version the challenger is; asked only where an arm needs it."""


class ExperimentError(RuntimeError):
    """It cannot be done as things are; the message says why and what to do."""


class UnknownExperiment(LookupError):
    """There is no experiment of that id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"There is no experiment {id!r}.")


class InvalidExperiment(ValueError):
    """A definition that cannot be; ``problems`` names each field and the fix."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(
            "; ".join(f"{problem['field']}: {problem['message']}" for problem in problems)
        )
        self.problems = problems


def parse(given: Any) -> ExperimentDefinition:
    """A definition as it comes from JSON or YAML.

    Raises:
        InvalidExperiment: fields are unknown, missing or of the wrong kind.
    """
    try:
        return ExperimentDefinition.model_validate(given)
    except ValidationError as error:
        raise InvalidExperiment(problems_of(error)) from error


def find(conn: psycopg.Connection, id: str) -> ExperimentRow:
    """
    Raises:
        UnknownExperiment
    """
    row = stored.find(conn, id)
    if row is None:
        raise UnknownExperiment(id)
    return row


def create(
    conn: psycopg.Connection, given: ExperimentDefinition, profile: Profile, *, actor: str
) -> ExperimentRow:
    """Make a draft, with a salt of its own.

    Raises:
        InvalidExperiment: it cannot be.
        ExperimentError: there is one of that id, or no free part of the layer.
    """
    fields = _fields(conn, given, profile)
    salt = secrets.token_hex(8)
    if not stored.insert(conn, given.id, salt, fields | {"created_by": actor}):
        raise ExperimentError(f"There is an experiment {given.id!r} already: choose another id.")
    _note(conn, actor, "created", given.id, definition=given.model_dump(exclude_none=True))
    return find(conn, given.id)


def patch(
    conn: psycopg.Connection, id: str, changes: Mapping[str, Any], profile: Profile, *, actor: str
) -> ExperimentRow:
    """Change fields of a draft; null goes back to the default.

    Raises:
        UnknownExperiment
        InvalidExperiment: it cannot be.
        ExperimentError: it is no draft any more.
    """
    row = _locked(conn, id, "draft", fix="what runs stays as it is; make another")
    if changes.get("id", id) != id:
        raise InvalidExperiment([{"field": "id", "message": "cannot be changed: leave it out"}])
    kept = definition_of(row)
    for field, other in (("share", "ramp"), ("ramp", "share")):
        if changes.get(field) is not None:
            kept[other] = None
    merged = {**kept, **changes, "id": id}
    given = parse({name: value for name, value in merged.items() if value is not None})
    stored.update(conn, id, **_fields(conn, given, profile))
    _note(conn, actor, "changed", id, changes=dict(changes))
    return find(conn, id)


def start(
    conn: psycopg.Connection,
    id: str,
    profile: Profile,
    *,
    actor: str,
    challenger: Challenger,
    now: datetime | None = None,
) -> ExperimentRow:
    """Let a draft run.

    Raises:
        UnknownExperiment
        InvalidExperiment: the profile changed, and no longer takes the settings of an arm.
        ExperimentError: it is no draft, another holds its part of the layer, or there is no
            challenger for an arm that wants it.
    """
    stored.lock_layers(conn)
    row = _locked(conn, id, "draft")
    _check_slice(conn, row)
    problems = [
        problem
        for index, arm in enumerate(row.arms)
        for problem in settings_problems(arm["settings"], profile, f"arms.{index}.settings")
    ]
    if problems:
        raise InvalidExperiment(problems)
    version = challenger() if needs_challenger(row) else None
    if needs_challenger(row):
        _check_challenger(conn, version)
    now = now or datetime.now(UTC)
    changes = {"status": "running", "started_at": now, "share_since": now}
    stored.update(conn, id, **changes, challenger_version=version)
    _note(conn, actor, "started", id, share=row.share, challenger=version)
    return find(conn, id)


def pause(conn: psycopg.Connection, id: str, *, actor: str, reason: str) -> ExperimentRow:
    """Everybody gets what they would without it; its part of the layer stays its own.

    Raises:
        UnknownExperiment
        ExperimentError: it does not run.
    """
    _locked(conn, id, "running")
    stored.update(conn, id, status="paused", held_because=reason)
    _note(conn, actor, "paused", id, reason=reason)
    return find(conn, id)


def resume(
    conn: psycopg.Connection,
    id: str,
    *,
    actor: str,
    challenger: Challenger,
    now: datetime | None = None,
) -> ExperimentRow:
    """Let it run again; its step of the ramp begins anew.

    Raises:
        UnknownExperiment
        ExperimentError: it is not paused, or the challenger is another than at the start.
    """
    row = _locked(conn, id, "paused")
    if needs_challenger(row):
        version = challenger()
        _check_challenger(conn, version)
        if version != row.challenger_version:
            raise ExperimentError(
                f"Experiment {id!r} is about version {row.challenger_version}, and the challenger "
                f"is version {version}: end it, and make another for that version."
            )
    stored.update(
        conn, id, status="running", held_because=None, share_since=now or datetime.now(UTC)
    )
    _note(conn, actor, "resumed", id, share=row.share)
    return find(conn, id)


def set_share(
    conn: psycopg.Connection,
    id: str,
    share: float | None,
    *,
    actor: str,
    reason: str = "by hand",
    now: datetime | None = None,
) -> ExperimentRow:
    """Set its share of the slice's users, in [0, 1]; None: that of the next step of its ramp.

    A ramp goes on from there.

    Raises:
        UnknownExperiment
        ExperimentError: it does not run, or its ramp has no next step.
    """
    row = _locked(conn, id, "running")
    if share is None:
        step = next_step(row.ramp, row.share)
        if step is None:
            raise ExperimentError(
                f"Experiment {id!r} has no step after its share of {row.share:g}: name a share."
            )
        share = step.share
    stored.update(conn, id, share=share, share_since=now or datetime.now(UTC), held_because=None)
    _note(conn, actor, "ramped", id, share=share, before=row.share, reason=reason)
    return find(conn, id)


def end(
    conn: psycopg.Connection,
    id: str,
    *,
    actor: str,
    winner: str | None = None,
    reason: str = "by hand",
    now: datetime | None = None,
) -> ExperimentRow:
    """End it, for good. Nothing goes live by that: it is noted which arm won.

    Args:
        winner: an arm; None: the one that was found, if any.

    Raises:
        UnknownExperiment
        InvalidExperiment: it has no such arm.
        ExperimentError: it has ended.
    """
    row = _locked(conn, id, "draft", "running", "paused")
    if winner is not None:
        _check_arm(row, "winner", winner)
    winner = winner or row.winner
    stored.update(
        conn,
        id,
        status="ended",
        ended_at=now or datetime.now(UTC),
        winner=winner,
        held_because=None,
    )
    _note(conn, actor, "ended", id, winner=winner, reason=reason)
    return find(conn, id)


def assign(
    conn: psycopg.Connection, id: str, user_id: str, arm: str | None, *, actor: str
) -> ExperimentRow:
    """Give a user an arm by hand, whatever the share; None: theirs by the hash again.

    Nothing that they do counts for the experiment.

    Raises:
        UnknownExperiment
        InvalidExperiment: it has no such arm.
        ExperimentError: it has ended, or ``MAX_ASSIGNED`` users have an arm by hand.
    """
    row = _locked(conn, id, "draft", "running", "paused")
    if arm is not None:
        _check_arm(row, "arm", arm)
    stored.assign(conn, id, user_id, arm)
    if len(stored.assigned(conn, id)) > MAX_ASSIGNED:
        raise ExperimentError(
            f"{MAX_ASSIGNED:,} users of experiment {id!r} have an arm by hand: use a share."
        )
    hashed = hashlib.sha256(user_id.encode()).hexdigest()
    _note(conn, actor, "assigned", id, arm=arm, user_sha256=hashed)
    return row


def needs_challenger(row: ExperimentRow) -> bool:
    """Whether an arm is ranked by the challenger."""
    return "challenger" in row.ranked_by.values()


def free_slice(taken: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The largest part of [0, 1) that none of the slices holds; None: there is none.

    Args:
        taken: slices that do not overlap, by where they begin.
    """
    edges = [0.0, *(edge for slice in taken for edge in slice), 1.0]
    gaps = list(zip(edges[::2], edges[1::2], strict=True))
    start, end = max(gaps, key=lambda gap: gap[1] - gap[0])
    return (start, end) if end > start else None


def _fields(
    conn: psycopg.Connection, given: ExperimentDefinition, profile: Profile
) -> dict[str, Any]:
    problems = problems_with(given, profile)
    if problems:
        raise InvalidExperiment(problems)
    if given.layer_from is not None and given.layer_to is not None:
        slice = given.layer_from, given.layer_to
    else:
        slice = _free(conn, given.layer, given.environment)
    return fields_of(given, profile.experiments, slice)


def _free(conn: psycopg.Connection, layer: str, environment: str | None) -> tuple[float, float]:
    others = stored.in_layer(conn, layer, environment)
    free = free_slice(_merged([(other.layer_from, other.layer_to) for other in others]))
    if free is None:
        names = ", ".join(other.id for other in others)
        raise ExperimentError(
            f"Layer {layer!r} has no room: {names} hold all of it. End one, name another layer, "
            "or give layer_from and layer_to, and start it when they are free."
        )
    return free


def _merged(slices: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Slices of different environments may overlap: together they hold these."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(slices):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _check_slice(conn: psycopg.Connection, row: ExperimentRow) -> None:
    for other in stored.in_layer(conn, row.layer, row.environment, without=row.id):
        if other.layer_from < row.layer_to and row.layer_from < other.layer_to:
            raise ExperimentError(
                f"Experiment {row.id!r} wants {row.layer_from:g} to {row.layer_to:g} of layer "
                f"{row.layer!r}, of which {other.id!r} ({other.status}) holds "
                f"{other.layer_from:g} to {other.layer_to:g}: end that one, or change layer_from "
                "and layer_to of this one."
            )


def _check_challenger(conn: psycopg.Connection, version: str | None) -> None:
    if version is None:
        raise ExperimentError(
            "An arm is ranked by the challenger, and there is none: a training that passes the "
            "gate makes one, or set MLflow's alias `challenger`."
        )
    why = refusal(conn, version)
    if why is not None:
        raise ExperimentError(
            f"The challenger cannot be tried: {why}. A training makes another; if that was a "
            "mistake, activate it with force."
        )


def _check_arm(row: ExperimentRow, field: str, arm: str) -> None:
    if arm not in row.ranked_by:
        names = ", ".join(row.ranked_by)
        raise InvalidExperiment([{"field": field, "message": f"is no arm of it: it has {names}"}])


def _locked(conn: psycopg.Connection, id: str, *statuses: Status, fix: str = "") -> ExperimentRow:
    row = stored.find(conn, id, lock=True)
    if row is None:
        raise UnknownExperiment(id)
    if row.status not in statuses:
        states = {"draft": "was not started", "running": "runs", "paused": "is paused"}
        wanted = " or ".join(statuses)
        raise ExperimentError(
            f"Experiment {id!r} {states.get(row.status, 'has ended')}; this needs one that is "
            f"{wanted}{': ' + fix if fix else ''}."
        )
    return row


def _note(conn: psycopg.Connection, actor: str, what: str, id: str, **detail: Any) -> None:
    write_audit(conn, actor, f"experiment.{what}", {"experiment": id, **detail})
