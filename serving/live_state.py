"""What a worker serves from at one moment. Immutable: a swap replaces the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.candidates import Indexes
from models.live_catalogue import LiveCatalogue
from models.profile import Profile
from models.shortlists import Shortlists
from models.snapshot import Snapshot
from models.viewer import Viewer
from serving.shapes import FallbackReason

Source = Literal["champion", "database", "snapshot"]


@dataclass(frozen=True)
class Catalogue:
    """What is ranked, and what was made ready for it.

    Attributes:
        name: tells it from every other; rows of items mean something under it only.
        live: the items and users. It changes; the rest is made anew when it has.
        source: where it came from.
        made_of: version of ``live`` that ``shortlists`` and ``indexes`` were made of.
    """

    name: str
    live: LiveCatalogue
    source: Source
    shortlists: Shortlists
    indexes: Indexes
    made_of: int

    @property
    def snapshot(self) -> Snapshot:
        return self.live.snapshot


@dataclass(frozen=True)
class LiveState:
    """
    Attributes:
        catalogue: what is ranked; None when there is nothing at all.
        model_version: the champion that is loaded, if one is.
        trained_at: epoch seconds.
        problem: why the champion does not answer; None: it can.
        detail: the same in words, for people.
        registry_up: MLflow answered the last poll.
        polled_at: epoch seconds; None before the first poll.
        profile_since: epoch seconds from which this profile is in use.
    """

    profile: Profile
    catalogue: Catalogue | None = None
    model_version: str | None = None
    trained_at: float | None = None
    problem: FallbackReason | None = "no_model"
    detail: str | None = None
    registry_up: bool = False
    polled_at: float | None = None
    profile_since: float = 0.0

    def fallback_for(self, viewer: Viewer, now: float, database_up: bool) -> FallbackReason | None:
        """Why this viewer gets no personalised feed at ``now``; None: they do."""
        reason = self.fallback(now, database_up)
        if reason is None and not viewer.wishes.personalized:
            return "personalization_off"
        if reason is None and viewer.vector is None:
            return "anonymous" if viewer.user_id is None else "unknown_user"
        return reason

    def fallback(self, now: float, database_up: bool) -> FallbackReason | None:
        """Why nobody gets a personalised feed at ``now``; None: known users do."""
        if self.catalogue is None:
            return "no_catalogue"
        if self.problem is not None:
            return self.problem
        oldest = now - self.profile.serving.max_model_age_hours * 3600
        if self.trained_at is not None and self.trained_at < oldest:
            return "model_stale"
        return None if database_up else "database_unavailable"


def name_of(snapshot: Snapshot) -> str:
    """A name that no other snapshot has."""
    return f"{snapshot.manifest.model_version or 'catalogue'}@{snapshot.manifest.built_at}"
