"""Rows that the pipeline must not use, and why: the one list of rules, as SQL.

A bad interaction is moved from ``feed.interactions`` to ``feed.interactions_rejected``.
A bad user, item or owner stays in its table, which is the product's; it is recorded
in ``feed.interactions_rejected``, once until it changes, and readers leave it out.

The bounds are those of ``loading.values.columns``, as in the loader, the API and the suites of
``data_checks``; a test compares what suites and quarantine count, rule by rule.

All that is put into the SQL here is constants of ours, and names of types, which are plain words.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Literal

import psycopg
from psycopg import sql

from models.profile.interaction_types import DEFAULT_TYPES, NAME, InteractionTypes
from models.profile.training_sections import Checks
from storage.loading.values.columns import (
    COLUMNS,
    EARLIEST,
    LATEST,
    MAX_ID_BYTES,
    STATUSES,
    Column,
    Entity,
)

SOURCE = "pipeline"

Catalogue = Literal["users", "items", "owners"]


def rules(
    entity: Entity, checks: Checks | None = None, types: InteractionTypes = DEFAULT_TYPES
) -> dict[str, str]:
    """Reason -> SQL predicate over the columns of ``feed.<entity>``, true for a bad row.

    A predicate may be null where a column is: null means that the rule has nothing
    against the row. A type that the profile does not have is nothing bad: its rows wait where
    they are, for it may come back. NaN is greater than every number in Postgres, so ranges
    refuse it.
    """
    checks = checks or Checks()
    conditions: dict[str, str] = {}
    for column in COLUMNS[entity]:
        conditions |= _column_rules(column, checks)
    names = {column.name for column in COLUMNS[entity]}
    if "lat" in names:
        conditions["lat without lon"] = "lat IS NOT NULL AND lon IS NULL"
        conditions["lon without lat"] = "lon IS NOT NULL AND lat IS NULL"
    if "price_min" in names:
        conditions["price_min is above price_max"] = "price_min > price_max"
    if entity == "interactions":
        conditions["no item_id"] = f"item_id IS NULL AND type = ANY ({_array(types.with_item)})"
    return conditions


def reason_sql(
    entity: Entity, checks: Checks | None = None, types: InteractionTypes = DEFAULT_TYPES
) -> str:
    """SQL expression over ``feed.<entity>``: the first rule that a row breaks, else null.

    Readers keep the rows ``WHERE (<expression>) IS NULL``.
    """
    cases = " ".join(
        f"WHEN {predicate} THEN '{reason}'"
        for reason, predicate in rules(entity, checks, types).items()
    )
    return f"CASE {cases} END"


def quarantine_interactions(
    conn: psycopg.Connection,
    since: datetime,
    until: datetime,
    *,
    by: Literal["occurred_at", "received_at"] = "occurred_at",
    checks: Checks | None = None,
    types: InteractionTypes = DEFAULT_TYPES,
) -> dict[str, int]:
    """Move the bad rows with ``since <= by < until`` to ``feed.interactions_rejected``.

    By ``occurred_at`` the rows before 1970 and those too far in the future are looked at
    as well, since no day that is processed holds them. An event id that comes again in the
    range with another time is bad too: the first that was received stays.

    Returns:
        Number of rows moved, by reason; a row counts under its first reason.
    """
    looked_at = f"{by} >= %(since)s AND {by} < %(until)s"
    if by == "occurred_at":
        looked_at = f"({looked_at}) OR {' OR '.join(_time_rules('occurred_at', checks).values())}"
    moved = conn.execute(
        sql.SQL(f"""
        WITH judged AS (
            SELECT event_id, occurred_at, received_at,
                   {reason_sql("interactions", checks, types)} AS reason
            FROM feed.interactions WHERE {looked_at}
        ), numbered AS (
            SELECT *, row_number() OVER (
                PARTITION BY event_id, reason IS NULL ORDER BY received_at, occurred_at
            ) AS number
            FROM judged
        ), bad AS (
            SELECT event_id, occurred_at, coalesce(reason, 'event_id is not unique') AS reason
            FROM numbered WHERE reason IS NOT NULL OR number > 1
        ), moved AS (
            DELETE FROM feed.interactions AS r USING bad
            WHERE r.event_id = bad.event_id AND r.occurred_at = bad.occurred_at
            RETURNING bad.reason, to_jsonb(r)::text AS raw, {_named("user_id")} AS user_ids
        ), kept AS (
            INSERT INTO feed.interactions_rejected (entity, source, reason, raw, user_ids)
            SELECT 'interactions', '{SOURCE}', reason, raw, user_ids FROM moved
            ON CONFLICT (raw_hash, reason) DO NOTHING
        )
        SELECT reason, count(*) FROM moved GROUP BY reason ORDER BY reason
        """),
        {"since": since, "until": until},
    )
    return dict(moved.fetchall())


def quarantine_users(conn: psycopg.Connection, checks: Checks | None = None) -> dict[str, str]:
    """Record the bad users, and return id -> reason of all there are now."""
    return _quarantine(conn, "users", checks)


def quarantine_items(conn: psycopg.Connection, checks: Checks | None = None) -> dict[str, str]:
    """Record the bad items, and return id -> reason of all there are now."""
    return _quarantine(conn, "items", checks)


def quarantine_owners(conn: psycopg.Connection, checks: Checks | None = None) -> dict[str, str]:
    """Record the bad owners, and return id -> reason of all there are now."""
    return _quarantine(conn, "owners", checks)


def by_reason(bad: dict[str, str]) -> dict[str, int]:
    """Number of rows by reason, the most frequent first."""
    return dict(Counter(bad.values()).most_common())


def _quarantine(
    conn: psycopg.Connection, entity: Catalogue, checks: Checks | None
) -> dict[str, str]:
    named = _named("id") if entity == "users" else "'{}'"
    # updated_at is left out of what is kept, or each touch would record the row again
    bad = conn.execute(
        sql.SQL(f"""
        WITH bad AS (
            SELECT id, reason, raw FROM (
                SELECT id, {reason_sql(entity, checks)} AS reason,
                       (to_jsonb(r) - 'updated_at')::text AS raw
                FROM feed.{entity} AS r
            ) AS judged
            WHERE reason IS NOT NULL
        ), kept AS (
            INSERT INTO feed.interactions_rejected (entity, source, reason, raw, user_ids)
            SELECT '{entity}', '{SOURCE}', reason, raw, {named} FROM bad
            ON CONFLICT (raw_hash, reason) DO NOTHING
        )
        SELECT id, reason FROM bad ORDER BY id
        """)
    )
    return dict(bad.fetchall())


def _named(user_id: str) -> str:
    """SQL: the users whom a row names; an id that is too long is nobody's."""
    return (
        f"CASE WHEN octet_length({user_id}) BETWEEN 1 AND {MAX_ID_BYTES} "
        f"THEN ARRAY[{user_id}] ELSE '{{}}' END"
    )


def _column_rules(column: Column, checks: Checks) -> dict[str, str]:
    name = column.name
    if column.kind in ("number", "whole"):
        rule = f"{name} is not in {column.low:g} to {column.high:g}"
        return {rule: f"{name} NOT BETWEEN {column.low!r} AND {column.high!r}"}
    if column.kind == "time":
        return _time_rules(name, checks, future=column.future)
    if column.kind == "status":
        return {"unknown status": f"{name} <> ALL ({_array(STATUSES)})"}
    if column.kind == "type":
        return {"unknown type": f"{name} !~ '{NAME}'"}
    if column.kind == "id":
        return {
            f"{name} is empty": f"{name} = ''",
            f"{name} has more than {MAX_ID_BYTES} bytes": f"octet_length({name}) > {MAX_ID_BYTES}",
        }
    return {}


def _time_rules(name: str, checks: Checks | None, *, future: bool = False) -> dict[str, str]:
    early = {f"{name} is before 1970": f"{name} < '{EARLIEST.isoformat()}'"}
    if future:
        return early | {
            f"{name} is after the year {LATEST.year}": f"{name} > '{LATEST.isoformat()}'"
        }
    minutes = (checks or Checks()).max_future_minutes
    return early | {f"{name} is in the future": f"{name} > now() + interval '{minutes!r} minutes'"}


def _array(words: tuple[str, ...]) -> str:
    return "ARRAY[" + ", ".join(f"'{word}'" for word in words) + "]"
