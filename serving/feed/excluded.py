"""Which of given items a viewer may see, and which rule excludes each of the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, Field

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices, Viewer
from models.feed.candidates.rules import broken
from models.profile.schema import Profile


class ExcludedItem(BaseModel):
    item_id: str
    rule: str = Field(
        description="The first rule that excludes it, or `unknown_item`.",
        examples=["not_published", "blocked_owner", "distance"],
    )


def sorted_out(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    item_ids: Sequence[str],
    *,
    now: float,
    exclude_seen: bool,
    exclude_applied: bool | None,
) -> tuple[Indices, list[dict[str, str]]]:
    """Rows of the items that the viewer may see, and of the shape ``ExcludedItem`` the others.

    Args:
        exclude_seen, exclude_applied: False: who names items may want those too.
    """
    rows = live.find_items(item_ids)
    there = np.flatnonzero(rows >= 0)
    first, names = np.full(len(there), -1), list[str]()
    for name, mask in broken(
        live,
        viewer,
        profile,
        rows[there],
        now=now,
        exclude_seen=exclude_seen,
        exclude_applied=exclude_applied,
    ):
        first[mask & (first < 0)] = len(names)
        names.append(name)
    rules: list[str | None] = ["unknown_item"] * len(item_ids)
    for index, rule in zip(there.tolist(), first.tolist(), strict=True):
        rules[index] = names[rule] if rule >= 0 else None
    excluded = [
        {"item_id": item_id, "rule": rule}
        for item_id, rule in zip(item_ids, rules, strict=True)
        if rule is not None
    ]
    return rows[there[first < 0]], excluded
