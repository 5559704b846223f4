"""Experiments, flags and arms given by hand, as Postgres keeps them.

``TRAFFIC`` is what a worker asks every second; who decides takes a connection and its
transaction (see ``going_live/experiments.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from models.experiments.assignment import Arm, Experiment, Flag, Traffic

Status = Literal["draft", "running", "paused", "ended"]
EVERYWHERE = "default"
"""The environment of a flag that holds in each that has none of its own."""

TRAFFIC = """
    SELECT
        (SELECT coalesce(json_agg(json_build_object(
                    'id', id, 'salt', salt, 'layer', layer, 'layer_from', layer_from,
                    'layer_to', layer_to, 'share', share, 'arms', variants,
                    'challenger', challenger_version) ORDER BY id), '[]')
         FROM feed.experiments
         WHERE status = 'running' AND coalesce(environment = %(environment)s, true)),
        (SELECT coalesce(json_agg(json_build_array(name, enabled, share)), '[]')
         FROM (SELECT DISTINCT ON (name) name, enabled, share
               FROM feed.feature_flags WHERE environment IN (%(environment)s, 'default')
               ORDER BY name, environment = 'default') AS flags),
        (SELECT coalesce(json_agg(json_build_array(a.experiment_id, a.user_id, a.variant)), '[]')
         FROM feed.experiment_assignments AS a JOIN feed.experiments AS e ON e.id = a.experiment_id
         WHERE e.status = 'running' AND coalesce(e.environment = %(environment)s, true)),
        (SELECT coalesce(json_agg(model_version), '[]') FROM feed.withdrawn_versions)
"""
"""One row: experiments that run, flags, arms given by hand, versions that were withdrawn.

Parameter: ``environment``. What is of that environment wins over what is of the default.
"""

_LAYERS_LOCK = 0x6C_61_79_65_72  # key of the advisory lock; "layer" in ASCII
_COLUMNS = """
    id, status, description, environment, layer, layer_from, layer_to, share, share_since, ramp,
    variants AS arms, salt, primary_metric, winner_takes_all, held_because, winner,
    challenger_version, created_by, created_at, started_at, ended_at
"""


@dataclass(frozen=True)
class Polled:
    """What a worker knows of experiments.

    Attributes:
        traffic: who gets what.
        withdrawn: model versions that nothing may serve.
        challengers: experiment -> the version that its arms ranked by the challenger are about.
    """

    traffic: Traffic
    withdrawn: frozenset[str]
    challengers: Mapping[str, str]


@dataclass(frozen=True)
class ExperimentRow:
    """An experiment as it is stored.

    Attributes:
        environment: None: in every environment.
        ramp: steps as ``models.profile.schema.RampStep`` has them; none: the share stays.
        share_since: when its share last changed.
        arms: the first one is the control.
        held_because: why the ramp waits, or the experiment is paused.
        winner: the arm that is better than the control.
        challenger_version: what the challenger was at the start.
    """

    id: str
    status: Status
    description: str
    environment: str | None
    layer: str
    layer_from: float
    layer_to: float
    share: float
    share_since: datetime | None
    ramp: list[dict[str, Any]]
    arms: list[dict[str, Any]]
    salt: str
    primary_metric: str
    winner_takes_all: bool
    held_because: str | None
    winner: str | None
    challenger_version: str | None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def control(self) -> str:
        return self.arms[0]["name"]

    @property
    def ranked_by(self) -> dict[str, str | None]:
        """What ranks, by arm."""
        return {arm["name"]: arm["ranked_by"] for arm in self.arms}


@dataclass(frozen=True)
class FlagRow:
    name: str
    environment: str
    enabled: bool
    share: float
    updated_at: datetime


@dataclass(frozen=True)
class Shown:
    """What the users of an arm were shown, without those who were given it by hand.

    Attributes:
        users: those who were shown something, each once.
        impressions: since the experiment began.
        fallbacks: those of them that another variant answered than the one that ranks the arm.
        of_step: impressions since the share last changed, to the hour.
    """

    users: int = 0
    impressions: int = 0
    fallbacks: int = 0
    of_step: int = 0


def traffic_of(row: Sequence[Any]) -> Polled:
    """What the row of ``TRAFFIC`` says."""
    experiments, flags, by_hand, withdrawn = row
    return Polled(
        traffic=Traffic(
            experiments=tuple(_experiment(experiment) for experiment in experiments),
            flags={name: Flag(name, enabled, share) for name, enabled, share in flags},
            by_hand={(experiment, user): arm for experiment, user, arm in by_hand},
        ),
        withdrawn=frozenset(withdrawn),
        challengers={
            experiment["id"]: experiment["challenger"]
            for experiment in experiments
            if experiment["challenger"]
        },
    )


def arm_of(given: Mapping[str, Any]) -> Arm:
    """An arm as the column ``variants`` has it."""
    return Arm(given["name"], given["weight"], given["ranked_by"], given["settings"])


def find(conn: psycopg.Connection, id: str, *, lock: bool = False) -> ExperimentRow | None:
    """One experiment; ``lock``: nobody else changes it until the transaction ends."""
    with conn.cursor(row_factory=class_row(ExperimentRow)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM feed.experiments WHERE id = %s"
            + (" FOR UPDATE" if lock else ""),
            (id,),
        ).fetchone()


def listed(conn: psycopg.Connection, *statuses: Status) -> list[ExperimentRow]:
    """Experiments of these statuses, or all; the newest first."""
    with conn.cursor(row_factory=class_row(ExperimentRow)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM feed.experiments"
            " WHERE %(any)s OR status = ANY(%(statuses)s) ORDER BY created_at DESC, id",
            {"any": not statuses, "statuses": list(statuses)},
        ).fetchall()


def in_layer(
    conn: psycopg.Connection, layer: str, environment: str | None, *, without: str = ""
) -> list[ExperimentRow]:
    """Experiments that hold a slice of the layer where ``environment`` is, by their slices: those
    that run or are paused."""
    with conn.cursor(row_factory=class_row(ExperimentRow)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM feed.experiments"
            " WHERE status IN ('running', 'paused') AND layer = %(layer)s AND id <> %(without)s"
            " AND coalesce(environment = %(environment)s, true) ORDER BY layer_from",
            {"layer": layer, "without": without, "environment": environment},
        ).fetchall()


def lock_layers(conn: psycopg.Connection) -> None:
    """Nobody else starts an experiment until the transaction ends."""
    conn.execute("SELECT pg_advisory_xact_lock(%s)", (_LAYERS_LOCK,))


def insert(conn: psycopg.Connection, id: str, salt: str, fields: Mapping[str, Any]) -> bool:
    """Add a draft; False: there is one of that id."""
    given = {"id": id, "salt": salt, **fields}
    return bool(
        conn.execute(
            sql.SQL(
                "INSERT INTO feed.experiments ({}) VALUES ({}) ON CONFLICT (id) DO NOTHING"
            ).format(
                sql.SQL(", ").join(map(_column, given)),
                sql.SQL(", ").join(sql.Placeholder() * len(given)),
            ),
            [_value(value) for value in given.values()],
        ).rowcount
    )


def update(conn: psycopg.Connection, id: str, **fields: Any) -> None:
    """Set columns of an experiment, by the names of ``ExperimentRow``."""
    conn.execute(
        sql.SQL("UPDATE feed.experiments SET {} WHERE id = %s").format(
            sql.SQL(", ").join(sql.SQL("{} = %s").format(_column(name)) for name in fields)
        ),
        [*(_value(value) for value in fields.values()), id],
    )


def assign(conn: psycopg.Connection, id: str, user_id: str, arm: str | None) -> None:
    """Give a user an arm by hand; None: theirs by the hash again."""
    if arm is None:
        conn.execute(
            "DELETE FROM feed.experiment_assignments WHERE experiment_id = %s AND user_id = %s",
            (id, user_id),
        )
    else:
        conn.execute(
            "INSERT INTO feed.experiment_assignments (experiment_id, user_id, variant)"
            " VALUES (%s, %s, %s) ON CONFLICT (experiment_id, user_id)"
            " DO UPDATE SET variant = EXCLUDED.variant, assigned_at = now()",
            (id, user_id, arm),
        )


def assigned(conn: psycopg.Connection, id: str) -> dict[str, str]:
    """Arm by user, of those who were given theirs by hand."""
    return dict(
        conn.execute(
            "SELECT user_id, variant FROM feed.experiment_assignments WHERE experiment_id = %s"
            " ORDER BY user_id",
            (id,),
        ).fetchall()
    )


def shown(conn: psycopg.Connection, row: ExperimentRow) -> dict[str, Shown]:
    """What the users of each arm were shown, as ``feed.variant_hours`` has it."""
    none = {arm: Shown() for arm in row.ranked_by}
    if row.started_at is None:
        return none
    intended = {arm: ranked_by or "champion" for arm, ranked_by in row.ranked_by.items()}
    rows = conn.execute(
        """
        SELECT arm,
               count(DISTINCT nullif(user_id, '')),
               sum(impressions),
               coalesce(sum(impressions) FILTER (WHERE variant <> intended), 0),
               coalesce(sum(impressions) FILTER (
                   WHERE hour >= date_trunc('hour', %(step)s, 'UTC')), 0)
        FROM feed.variant_hours AS h
        JOIN unnest(%(arms)s::text[], %(intended)s::text[]) AS i(arm, intended) USING (arm)
        WHERE experiment = %(id)s AND impressions > 0
          AND hour >= date_trunc('hour', %(start)s, 'UTC')
          AND NOT EXISTS (SELECT FROM feed.experiment_assignments AS a
                          WHERE a.experiment_id = h.experiment AND a.user_id = h.user_id)
        GROUP BY arm
        """,
        {
            "id": row.id,
            "start": row.started_at,
            "step": row.share_since,
            "arms": list(intended),
            "intended": list(intended.values()),
        },
    )
    return none | {arm: Shown(*map(int, counts)) for arm, *counts in rows}


def flags(conn: psycopg.Connection) -> list[FlagRow]:
    """All flags, of all environments."""
    with conn.cursor(row_factory=class_row(FlagRow)) as cursor:
        return cursor.execute(
            "SELECT name, environment, enabled, share, updated_at FROM feed.feature_flags"
            " ORDER BY name, environment"
        ).fetchall()


def set_flag(
    conn: psycopg.Connection, name: str, environment: str, enabled: bool, share: float
) -> FlagRow:
    """Make or change a flag."""
    with conn.cursor(row_factory=class_row(FlagRow)) as cursor:
        row = cursor.execute(
            "INSERT INTO feed.feature_flags (name, environment, enabled, share)"
            " VALUES (%s, %s, %s, %s) ON CONFLICT (name, environment) DO UPDATE"
            " SET enabled = EXCLUDED.enabled, share = EXCLUDED.share, updated_at = now()"
            " RETURNING name, environment, enabled, share, updated_at",
            (name, environment, enabled, share),
        ).fetchone()
        assert row is not None
        return row


def unset_flag(conn: psycopg.Connection, name: str, environment: str) -> bool:
    """Whether there was one."""
    return bool(
        conn.execute(
            "DELETE FROM feed.feature_flags WHERE name = %s AND environment = %s",
            (name, environment),
        ).rowcount
    )


def _experiment(stored: Mapping[str, Any]) -> Experiment:
    return Experiment(
        id=stored["id"],
        salt=stored["salt"],
        layer=stored["layer"],
        layer_from=stored["layer_from"],
        layer_to=stored["layer_to"],
        share=stored["share"],
        arms=tuple(map(arm_of, stored["arms"])),
    )


def _column(name: str) -> sql.Identifier:
    return sql.Identifier("variants" if name == "arms" else name)


def _value(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, list) else value
