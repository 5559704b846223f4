"""Makes a snapshot ready to rank from: its live catalogue, shortlists and indexes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.nearest import NearestError
from models.catalogue.snapshots.snapshot import Snapshot
from models.feed.candidates.shortlists import Shortlists
from models.feed.candidates.sources import Indexes
from models.feed.ranking import Ranker
from models.profile.schema import Profile
from serving.versions.live_state import Catalogue, Source, name_of

log = logging.getLogger("feedwright.serving")

SHORTLIST_SECONDS = 60.0
SHORTLIST_CHANGED_SECONDS = 5.0
"""How soon shortlists are made anew: on their own, and after a change."""

MANY_CHANGES = 5_000
"""Changed items from which the index of places is built anew, not just added to."""

CatchUp = Callable[[LiveCatalogue], None]
"""Brings a catalogue to what Postgres holds now, as far as it answers."""


class Preparation:
    """Used from one thread."""

    def __init__(self, catch_up: CatchUp) -> None:
        self._catch_up = catch_up
        self._rng = np.random.default_rng()
        self._profile: Profile | None = None  # the last shortlists were made with it

    def prepared(
        self,
        snapshot: Snapshot,
        source: Source,
        profile: Profile,
        others: Sequence[Catalogue],
        ranker: Ranker | None = None,
    ) -> Catalogue:
        """The catalogue with its shortlists and indexes, made anew where they are old.

        Args:
            others: catalogues in use: one of this snapshot goes on.
            ranker: of the snapshot, where its version answers.
        """
        old = next((other for other in others if other.snapshot is snapshot), None)
        now = time.time()
        if old is not None:
            live, indexes = old.live, old.indexes
            age = now - old.shortlists.made_at
            changed = live.version != old.made_of or profile is not self._profile
            if age < (SHORTLIST_CHANGED_SECONDS if changed else SHORTLIST_SECONDS):
                same = old.source == source and old.ranker is ranker
                return old if same else replace(old, source=source, ranker=ranker)
        else:
            live = LiveCatalogue(snapshot)
            self._catch_up(live)  # before anybody sees it: what was removed since stays removed
            indexes = _indexes(live, profile, now)
        version, self._profile = live.version, profile
        if len(live.written) > MANY_CHANGES + indexes.built_after:
            indexes = _indexes(live, profile, now)
        else:
            indexes = indexes.with_changes(live)
        shortlists = Shortlists.of(live, profile, now, self._rng)
        return Catalogue(name_of(snapshot), live, source, shortlists, indexes, version, ranker)


def _indexes(live: LiveCatalogue, profile: Profile, now: float) -> Indexes:
    try:
        return Indexes.of(live, profile, now=now)
    except NearestError as error:
        log.warning("index of items not used", extra={"detail": str(error)})
        return Indexes.of(live, profile, now=now, exact=True)
