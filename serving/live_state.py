"""What a worker serves from at one moment. Immutable: a swap replaces the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from models.profile import Profile
from models.ranker import Ranking, Viewer, rank, viewer_of
from models.reasons import reasons
from models.snapshot import Snapshot
from serving.shapes import FallbackReason

Source = Literal["champion", "database", "snapshot"]
READY_ITEMS = 1_000


@dataclass(frozen=True)
class LiveState:
    """
    Attributes:
        catalogue: what is ranked; None when there is nothing at all.
        source: where the catalogue came from.
        model_version: the champion that is loaded, if one is.
        trained_at: epoch seconds.
        problem: why the champion does not answer; None: it can.
        detail: the same in words, for people.
        ready: rendered items of the popular list, best first: what a viewer of whom nothing
            is known gets, and everybody when ranking fails.
        ready_total: eligible items when it was made.
        registry_up: MLflow answered the last poll.
        polled_at: epoch seconds; None before the first poll.
    """

    catalogue: Snapshot | None = None
    source: Source | None = None
    model_version: str | None = None
    trained_at: float | None = None
    problem: FallbackReason | None = "no_model"
    detail: str | None = None
    ready: list[dict[str, Any]] = field(default_factory=list)
    ready_total: int = 0
    registry_up: bool = False
    polled_at: float | None = None

    def fallback(
        self, now: float, max_model_age_hours: float, database_up: bool
    ) -> FallbackReason | None:
        """Why nobody gets a personalised feed at ``now``; None: known users do."""
        if self.catalogue is None:
            return "no_catalogue"
        if self.problem is not None:
            return self.problem
        if self.trained_at is not None and now - self.trained_at > max_model_age_hours * 3600:
            return "model_stale"
        return None if database_up else "database_unavailable"


def ready_list(
    snapshot: Snapshot, profile: Profile, now: float
) -> tuple[list[dict[str, Any]], int]:
    """The heuristic's list for a viewer of whom nothing is known, rendered, and the number of
    eligible items. O(items)."""
    viewer = viewer_of(snapshot, None)
    popular = rank(snapshot, viewer, profile, now=now, by="heuristic", limit=READY_ITEMS, offset=0)
    return render(snapshot, viewer, profile, popular, offset=0), popular.total


def render(
    snapshot: Snapshot, viewer: Viewer, profile: Profile, ranking: Ranking, *, offset: int
) -> list[dict[str, Any]]:
    """The page as JSON-ready objects of the shape ``FeedItem``."""
    ids = snapshot.items.ids
    names = list(ranking.components)
    # One rounding of the whole table: a call of numpy costs more than twenty numbers.
    # NaN (missing) becomes null in JSON.
    table = np.stack([ranking.scores, *ranking.components.values()]).astype(np.float64)
    rows = table.round(4).T.tolist()
    return [
        {
            "item_id": ids[item],
            "rank": offset + place,
            "recommendation_score": row[0],
            "reason": reason.text,
            "reason_code": reason.code,
            "reason_parameters": reason.parameters,
            "components": dict(zip(names, row[1:], strict=True)),
        }
        for place, (item, row, reason) in enumerate(
            zip(
                ranking.items.tolist(),
                rows,
                reasons(snapshot, viewer, profile, ranking),
                strict=True,
            ),
            start=1,
        )
    ]
