"""What a worker serves from at one moment. Immutable: a swap replaces the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.viewers.viewer import Viewer
from models.feed.candidates.shortlists import Shortlists
from models.feed.candidates.sources import Indexes, SourceGuard
from models.feed.pipeline import FeedPipeline
from models.feed.ranking import Ranker
from models.profile.schema import Profile
from serving.versions.fallback import FallbackReason

Source = Literal["champion", "challenger", "database", "snapshot"]


@dataclass(frozen=True)
class Catalogue:
    """What is ranked, and what was made ready for it.

    Attributes:
        name: tells it from every other; rows of items mean something under it only.
        live: the items and users. It changes; the rest is made anew when it has.
        source: where it came from.
        ranker: of the version that it is of; None: the recommender's own order is the feed's.
        made_of: version of ``live`` that ``shortlists`` and ``indexes`` were made of.
    """

    name: str
    live: LiveCatalogue
    source: Source
    shortlists: Shortlists
    indexes: Indexes
    made_of: int
    ranker: Ranker | None = None

    @property
    def snapshot(self) -> Snapshot:
        return self.live.snapshot

    def pipeline(self, profile: Profile, guard: SourceGuard) -> FeedPipeline:
        """What ranks from it."""
        return FeedPipeline(self.live, profile, self.shortlists, self.indexes, guard, self.ranker)


@dataclass(frozen=True)
class Challenger:
    """The version on trial, beside the champion. ``trained_at``: epoch seconds."""

    version: str
    trained_at: float | None
    catalogue: Catalogue


@dataclass(frozen=True)
class LiveState:
    """
    Attributes:
        catalogue: what is ranked; None when there is nothing at all.
        model_version: the champion that is loaded, if one is.
        trained_at: epoch seconds.
        good_since: epoch seconds from which its age counts; None: that is not known.
        compared: an experiment compares what is live: none of it is given up for its age.
        problem: why the champion does not answer; None: it can.
        detail: the same in words, for people.
        registry_up: MLflow answered the last poll.
        polled_at: epoch seconds; None before the first poll.
        profile_since: epoch seconds from which this profile is in use.
        challenger: the version on trial; None: it is not needed, or cannot answer.
    """

    profile: Profile
    catalogue: Catalogue | None = None
    model_version: str | None = None
    trained_at: float | None = None
    good_since: float | None = None
    compared: bool = False
    problem: FallbackReason | None = "no_model"
    detail: str | None = None
    registry_up: bool = False
    polled_at: float | None = None
    profile_since: float = 0.0
    challenger: Challenger | None = None

    @property
    def catalogues(self) -> list[Catalogue]:
        """Those in use, the champion's first."""
        champion = [] if self.catalogue is None else [self.catalogue]
        return champion if self.challenger is None else [*champion, self.challenger.catalogue]

    def without(self, withdrawn: frozenset[str]) -> LiveState:
        """The same, where these versions are not served."""
        changed: dict[str, Any] = {}
        if self.model_version in withdrawn:
            detail = f"version {self.model_version} was withdrawn"
            changed = {"model_version": None, "problem": "model_withdrawn", "detail": detail}
        if self.challenger is not None and self.challenger.version in withdrawn:
            changed["challenger"] = None
        return replace(self, **changed) if changed else self

    def challenger_at(self, now: float, version: str | None = None) -> Challenger | None:
        """What ranks for the challenger's arm at ``now``; None: the champion has to.

        Args:
            version: the one that is on trial; None: whichever the challenger is.
        """
        challenger = self.challenger
        if challenger is None or version not in (None, challenger.version):
            return None
        return None if self._is_stale(challenger.trained_at, now) else challenger

    def fallback_for(
        self, viewer: Viewer, now: float, database_up: bool, *, challenger: bool = False
    ) -> FallbackReason | None:
        """Why this viewer gets no personalised feed at ``now``; None: they do.

        Args:
            challenger: it would rank for them, not the champion, and it can.
        """
        if challenger:
            reason: FallbackReason | None = None if database_up else "database_unavailable"
        else:
            reason = self.fallback(now, database_up)
        if reason is None and not viewer.preferences.personalized:
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
        if self._is_stale(self.good_since, now):
            return "model_stale"
        return None if database_up else "database_unavailable"

    def _is_stale(self, good_since: float | None, now: float) -> bool:
        if self.compared or good_since is None:
            return False
        return now - good_since > self.profile.serving.max_model_age_hours * 3600


def name_of(snapshot: Snapshot) -> str:
    """A name that no other snapshot has; tables that are refreshed leave the rows as they are."""
    return f"{snapshot.manifest.model_version or 'catalogue'}@{snapshot.manifest.built_at}"
