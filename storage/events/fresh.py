"""What happened since a moment, and to whom: for the drift report."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from storage.catalogue import queries
from storage.events.lake import SCHEMA

COLUMNS = ("user_id", "item_id", "type", "occurred_at")


def fresh_rows(
    url: str, since: datetime, most: int
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The newest interactions after ``since``, at most so many, and their users and items.

    Returns:
        interactions (user_id, item_id, type, occurred_at), users and items as
        ``storage.catalogue.queries`` reads them. Rows that lie ahead of the clock are left out.
    """
    interactions = queries.read(
        url,
        f"SELECT {', '.join(COLUMNS)} FROM feed.interactions"
        " WHERE occurred_at > $1 AND occurred_at <= now()"
        " ORDER BY occurred_at DESC LIMIT $2",
        (since, most),
        schema={name: SCHEMA[name] for name in COLUMNS},
    )
    first = interactions["occurred_at"].min() or since
    assert isinstance(first, datetime)
    named = "id IN (SELECT {} FROM feed.interactions WHERE occurred_at >= '{}')"
    return (
        interactions,
        queries.read_users(url, where=named.format("user_id", first.isoformat())),
        queries.read_items(url, where=named.format("item_id", first.isoformat())),
    )
