"""Room in a snapshot's columns for items that are made after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from models.catalogue.snapshots.snapshot import Items
from models.data.texts import Texts

TAG_SLOTS = 8
"""Least width of the matrix of tags, so that a new item's tags fit in."""
MOST_TAGS = 64
"""An item with more tags is not shown: a rule could not know them all."""


def extended(items: Items, rows: int) -> Items:
    """The same with so many more empty rows. O(items)."""
    empty: dict[str, Any] = {"published": False, "impressions": 0, "clicks": 0, "applied": 0}
    columns: dict[str, Any] = {}
    for name, column in vars(items).items():
        if isinstance(column, Texts):
            columns[name] = column
            continue
        if name in empty:
            filler = empty[name]
        elif name in ("vectors", "fold", "bias", "engagement", "trending", "neighbour_scores"):
            filler = 0
        else:
            filler = np.nan if column.dtype.kind == "f" else -1
        more = np.full((rows, *column.shape[1:]), filler, column.dtype)
        columns[name] = np.concatenate([column, more])
    return Items(**columns)


def with_tag_slots(items: Items, width: int) -> Items:
    """The same with room for so many tags of each item. O(items)."""
    more = np.full((items.rows, width - items.tags.shape[1]), -1, np.int32)
    return replace(items, tags=np.hstack([items.tags, more]))
