"""Feeds of many users at once: the lists that are kept ready."""

from __future__ import annotations

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.feed.candidates.sources import SEEN
from models.feed.pipeline import FeedPipeline, Query
from models.feed.ranking import Ranker
from models.feed.reasons import reasons
from models.feed.scoring.scores import explained
from models.profile.schema import Profile

SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "rank": pl.Int16,
    "score": pl.Float32,
    "reason": pl.String,
    "model_version": pl.String,
}


def recommendation_lists(
    snapshot: Snapshot,
    profile: Profile,
    users: NDArray[np.integer],
    *,
    now: float,
    ranker: Ranker | None = None,
) -> pl.DataFrame:
    """The best items of each user that they have not touched, with reasons: what the feed
    would show them, without exploration.

    Args:
        users: rows of the snapshot.
        now: epoch seconds.
        ranker: of the snapshot.

    Returns:
        A frame of ``SCHEMA``; ``reason`` is JSON with code, parameters and text.
    """
    limit = profile.recommendations.per_user
    pipeline = FeedPipeline.offline(LiveCatalogue(snapshot), profile, now=now, ranker=ranker)
    live, profile = pipeline.live, pipeline.profile
    user_ids: list[str] = []
    columns: list[tuple[NDArray, NDArray, list[str]]] = []
    for row in users.tolist():
        viewer = live.viewer(snapshot.users.ids[row])
        if not viewer.preferences.personalized:
            viewer = viewer.impersonal()
        ranked_by = pipeline.ranked_by(viewer)
        ranking = pipeline.rank(
            viewer, Query(now, ranked_by, exclude_seen=True, exclude_applied=True)
        )
        new = ranking.sources & SEEN == 0
        best, scores = ranking.rows[new][:limit], ranking.scores[new][:limit]
        components = explained(live, viewer, profile, best, now=now, by=ranked_by)
        why = [
            orjson.dumps(
                {"code": reason.code, "parameters": reason.parameters, "text": reason.text}
            ).decode()
            for reason in reasons(live, viewer, profile, best, components)
        ]
        user_ids.extend([snapshot.users.ids[row]] * len(why))
        columns.append((best, scores, why))
    if not user_ids:
        return pl.DataFrame(schema=SCHEMA)
    rows = np.concatenate([best for best, _, _ in columns])
    return pl.DataFrame(
        {
            "user_id": user_ids,
            "item_id": snapshot.items.ids.to_series().gather(rows),
            "rank": np.concatenate(
                [np.arange(1, len(best) + 1, dtype=np.int16) for best, _, _ in columns]
            ),
            "score": np.concatenate([scores for _, scores, _ in columns]),
            "reason": [reason for _, _, why in columns for reason in why],
            "model_version": snapshot.manifest.model_version,
        },
        schema=SCHEMA,
    )
