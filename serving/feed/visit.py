"""A request for a feed: who asks, and what of what is live ranks for them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from models.catalogue.viewers.viewer import Indices, Viewer
from models.feed.candidates.rules import Mask, allowed
from models.feed.scoring.scores import By
from models.profile.schema import Profile
from serving.feed.plans import Plan
from serving.feed.shapes import FeedRequest
from serving.versions.fallback import FallbackReason, Variant
from serving.versions.live_state import Catalogue, LiveState

MODELS: tuple[Variant, ...] = ("champion", "challenger")


@dataclass(frozen=True)
class Choice:
    """What ranks.

    Attributes:
        plan: what the request, a flag or an experiment asks for.
        variant: what ranks, if it can: the plan's, but the champion where the challenger is away.
        catalogue: whose items it ranks.
        version: of the model; None: no model ranks.
    """

    plan: Plan
    variant: Variant
    catalogue: Catalogue
    version: str | None = None

    @property
    def is_model(self) -> bool:
        return self.variant in MODELS

    @property
    def model_ranks_by(self) -> By:
        """The gate may have found that no model beats the heuristic: then it is the champion."""
        won = self.catalogue.snapshot.manifest.recommender == "heuristic"
        return "heuristic" if won else "model"

    def fallback(
        self, state: LiveState, viewer: Viewer, now: float, database_up: bool
    ) -> FallbackReason | None:
        """Why something else ranks than usual; None: it does not, or the request asked for it."""
        if not self.is_model:
            return self.plan.reason
        reason = state.fallback_for(
            viewer, now, database_up, challenger=self.variant == "challenger"
        )
        if reason is None and self.variant != self.plan.ranked_by:
            return "challenger_unavailable"
        return reason


def choose(state: LiveState, champion: Catalogue, plan: Plan, now: float) -> Choice:
    """What ranks by the plan.

    Args:
        champion: the champion's catalogue.
    """
    if plan.ranked_by not in MODELS:
        return Choice(plan, plan.ranked_by, champion)
    if plan.ranked_by == "challenger":
        challenger = state.challenger_at(now, plan.challenger)
        if challenger is not None:
            return Choice(plan, "challenger", challenger.catalogue, challenger.version)
    return Choice(plan, "champion", champion, state.model_version)


@dataclass(frozen=True)
class Visit:
    """A viewer who asks for a page at a moment.

    Attributes:
        key: of the request, see ``list_key``.
        viewer: as the choice's catalogue has them.
        history: mark of what the user did by now; None: nothing since the snapshot.
        fallback: why something else ranks than usual.
        erased: when the user was last erased, as of the request's start; epoch seconds.
        now: epoch seconds.
    """

    request: FeedRequest
    key: bytes
    state: LiveState
    choice: Choice
    viewer: Viewer
    history: str | None
    fallback: FallbackReason | None
    erased: float
    now: float

    @property
    def catalogue(self) -> Catalogue:
        return self.choice.catalogue

    @property
    def profile(self) -> Profile:
        return self.choice.plan.profile

    def allowed(self, rows: Indices, viewer: Viewer | None = None) -> Mask:
        """Which rows the rules of now let the viewer, or another one, see; shape (n,)."""
        return allowed(
            self.catalogue.live,
            viewer or self.viewer,
            self.profile,
            rows,
            now=self.now,
            exclude_seen=self.request.exclude_seen,
            exclude_applied=self.request.exclude_applied,
        )


def list_key(request: FeedRequest) -> bytes:
    """16 bytes that requests for pages of one feed have in common."""
    # Phones send their position with every step: some ten metres make no other feed.
    rounded = {
        name: round(value, 4)
        for name in ("lat", "lon")
        if (value := getattr(request, name)) is not None
    }
    same = request.model_copy(update=rounded).model_dump_json(
        exclude={"limit", "offset", "feed_id"}
    )
    return blake2b(same.encode(), digest_size=16).digest()
