"""The checks of the interactions: what must hold of each, and of how many nobody is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from data_checks.report import CheckReport
from data_checks.suites.interactions import interactions_query, interactions_suite, within
from data_checks.validate import EXAMPLES, check_table
from models.profile.interaction_types import InteractionTypes
from models.profile.schema import Profile


def check_interactions(
    profile: Profile,
    database_url: str,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    may_be_empty: bool = False,
) -> CheckReport:
    """The interactions with ``since <= occurred_at < until``, inside Postgres.

    Raises:
        CheckError: the table cannot be read.
    """
    return check_table(
        interactions_suite(profile, may_be_empty=may_be_empty),
        database_url,
        interactions_query(since, until),
    )


@dataclass(frozen=True)
class Strays:
    """Interactions of users, or with items, that have no row and were not deleted either.

    Attributes:
        rows: how many of ``all_rows``; those of both count once.
        users: how many such users there are. Who they are is left out: it would stay in the log.
        items: how many such items there are, and the ``most`` frequent of them with their rows.
    """

    all_rows: int
    rows: int
    users: int
    items: int
    most: tuple[tuple[str, int], ...] = ()

    @property
    def share(self) -> float:
        return self.rows / max(self.all_rows, 1)

    def __str__(self) -> str:
        """One sentence."""
        named = ", ".join(f"{item[:80]} ({count:,})" for item, count in self.most)
        return (
            f"{self.rows:,} of {self.all_rows:,} interactions ({self.share:.1%}) are of "
            f"{self.users:,} unknown users or with {self.items:,} unknown items"
            f"{f', most often {named}' if named else ''}"
        )


def find_strays(
    conn: psycopg.Connection, since: datetime | None = None, until: datetime | None = None
) -> Strays:
    """Of the interactions with ``since <= occurred_at < until``."""
    strays = f"""
        SELECT CASE WHEN {_unknown("users", "i.user_id", "u.id")} THEN i.user_id END AS user_id,
               CASE WHEN {_unknown("items", "i.item_id", "t.id")} THEN i.item_id END AS item_id
        FROM (SELECT * FROM feed.interactions {within(since, until)}) AS i
        LEFT JOIN feed.users AS u ON u.id = i.user_id
        LEFT JOIN feed.items AS t ON t.id = i.item_id"""
    counts = conn.execute(
        sql.SQL(f"""
        SELECT count(*), count(*) FILTER (WHERE user_id IS NOT NULL OR item_id IS NOT NULL),
               count(DISTINCT user_id), count(DISTINCT item_id)
        FROM ({strays}) AS s
        """)
    ).fetchone()
    assert counts is not None
    all_rows, rows, users, items = counts
    most: list[tuple[str, int]] = []
    if items:
        most = conn.execute(
            sql.SQL(f"""
            SELECT item_id, count(*) FROM ({strays}) AS s WHERE item_id IS NOT NULL
            GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {EXAMPLES}
            """)
        ).fetchall()
    return Strays(all_rows, rows, users, items, tuple(most))


def rows_without_type(conn: psycopg.Connection, types: InteractionTypes) -> dict[str, int]:
    """Interactions of types that the profile does not have, by type, the most first. The types
    are found by steps through the index on them, so cost follows the rows that are counted."""
    rows = conn.execute(
        """
        WITH RECURSIVE there AS (
            SELECT min(type) AS type FROM feed.interactions
            UNION ALL
            SELECT (SELECT min(i.type) FROM feed.interactions AS i WHERE i.type > there.type)
            FROM there WHERE there.type IS NOT NULL
        )
        SELECT type, (SELECT count(*) FROM feed.interactions AS i WHERE i.type = there.type)
        FROM there WHERE type <> ALL(%s) ORDER BY 2 DESC, 1
        """,
        (list(types.names),),
    )
    return dict(rows.fetchall())


def _unknown(entity: str, named: str, joined: str) -> str:
    return (
        f"{named} IS NOT NULL AND {joined} IS NULL AND NOT EXISTS (SELECT FROM feed.deleted AS d "
        f"WHERE d.entity = '{entity}' AND d.id_sha256 = sha256(convert_to({named}, 'UTF8')))"
    )
