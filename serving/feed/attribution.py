"""What a client left out of an impression or a click, from the feed that it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models.feed.ordering.exploration import logged
from models.profile.interaction_types import InteractionTypes
from serving.feed.feed_list import FeedList
from serving.versions.live_state import Catalogue
from storage.events.store import Event


def attribute(
    events: list[Event],
    list_of: Callable[[str], FeedList | None],
    catalogues: Sequence[Catalogue],
    types: InteractionTypes,
) -> None:
    """Fill in variant, model_version, experiments, device, position and propensity of events whose
    metadata names a ``feed_id`` that is still kept. What the client said stays.

    Args:
        catalogues: those in use.
        types: which of them are of a feed.
    """
    for event in events:
        metadata = event["metadata"]
        feed_id = metadata.get("feed_id") if metadata else None
        if event["type"] not in types.attributed or not isinstance(feed_id, str):
            continue
        kept = list_of(feed_id)
        if kept is None or kept.meta["user_id"] != event["user_id"]:
            continue
        fields: dict[str, Any] = {
            "variant": kept.meta["variant"],
            "model_version": kept.meta["model_version"],
            "experiments": kept.meta.get("experiments") or None,
            "device": kept.meta.get("device"),
        }
        index = _index(kept, event["item_id"], catalogues)
        if index is not None:
            fields["position"] = index + 1
            fields["propensity"] = logged(float(kept.propensities[index]))
        event["metadata"] = {name: value for name, value in fields.items() if value is not None} | (
            metadata or {}
        )


def _index(kept: FeedList, item_id: str | None, catalogues: Sequence[Catalogue]) -> int | None:
    """Where the item is in the list; None: not there, or its rows are of another catalogue."""
    if item_id is None:
        return None
    if item_id in kept.extra_ids:
        row: int | None = -1 - kept.extra_ids.index(item_id)
    else:
        by_name = {catalogue.name: catalogue for catalogue in catalogues}
        if kept.catalogue not in by_name:
            return None
        row = by_name[kept.catalogue].live.find_item(item_id)
        if row is None:
            return None
    positions = np.flatnonzero(kept.rows == row)
    return int(positions[0]) if len(positions) else None
