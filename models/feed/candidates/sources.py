"""Candidates: the few hundred items that are worth ranking for a viewer, from many sources.

Every source is an entry of ``SOURCES`` that gives rows of items, best first. None is
trusted to be quick or right: one that fails or is slow is dropped, counted, and left alone
for a while, and the feed goes on with the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.nearest import Nearest, build
from models.catalogue.snapshots.snapshot import NEAREST, Snapshot
from models.catalogue.tables.stored import VECTORS
from models.catalogue.viewers.viewer import LEARNED_TAGS, NOTHING, Indices, Viewer
from models.data.arrays import top_places
from models.feed.candidates.nearby import Places
from models.feed.candidates.shortlists import Shortlists
from models.feed.scoring.scores import table_scores
from models.feed.scoring.taste import similar_users
from models.profile.feed_sections import Candidates as Budgets
from models.profile.schema import Profile

log = logging.getLogger("feedwright.candidates")

Bits = NDArray[np.uint16]

Dropped = Callable[[str, str], None]
"""Told the source and why: ``error``, ``slow`` (it took half of all the time; this once it still
counts), ``resting`` (left alone after several of either), ``out_of_time`` (others took it all)."""

STRIKES = 3
REST_SECONDS = 30.0
QUERIES = 300
"""Users whose searches tell how many cells of the index to look into."""
MOST_OF_TABLES = 600
MOST_WITHIN = 20_000
"""Items within a viewer's limit of distance that are scored, the nearest first."""


@dataclass(frozen=True)
class Indexes:
    """What makes nearest items quick to find.

    Attributes:
        nearest: by the model; None: the catalogue is small enough to score all of it.
        places: by distance.
        built_after, upto: entries of the catalogue's ``written`` that were in when they were
            built, and that are in by now.
    """

    nearest: Nearest | None
    places: Places
    built_after: int = 0
    upto: int = 0

    @classmethod
    def of(
        cls,
        live: LiveCatalogue,
        profile: Profile,
        *,
        now: float = -np.inf,
        exact: bool = False,
    ) -> Indexes:
        """For the catalogue as it is; O(n log n) in the items that have a place.

        Args:
            now: epoch seconds. Where started items are not shown, those that have started by
                then are left out of ``places``: they would crowd out the others.
            exact: leave the snapshot's index alone, whatever the size.

        Raises:
            NearestError: the snapshot's index is damaged.
        """
        items, folder = live.items, live.snapshot.folder
        shown = np.flatnonzero(items.published).astype(np.int32)
        nearest = None
        if folder is not None and not exact and len(shown) > profile.candidates.exact_up_to:
            file = folder / NEAREST
            nearest = Nearest.open(file) if file.exists() else None
        if profile.eligibility.exclude_started:
            shown = shown[~(items.starts_at[shown] < now)]
        places = Places(items.lat[shown], items.lon[shown], shown)
        return cls(nearest, places, len(live.written), len(live.written))

    def with_changes(self, live: LiveCatalogue) -> Indexes:
        """The same, with the items that changed since where they are now. O(changes)."""
        upto = len(live.written)
        rows = np.unique(np.array(live.written[self.upto : upto], np.int32))
        if len(rows) == 0:
            return self
        lat = np.where(live.items.published[rows], live.items.lat[rows], np.nan)
        places = self.places.with_changes(lat, live.items.lon[rows], rows)
        return replace(self, places=places, upto=upto)


def index_of(snapshot: Snapshot, profile: Profile, *, now: float) -> Nearest | None:
    """The index that a large catalogue is searched by; None for a small one, or no model.

    Items that have started are left out: they never come back.
    """
    items = snapshot.items
    rows = np.flatnonzero(items.published & ~(items.starts_at < now)).astype(np.int32)
    if len(rows) <= profile.candidates.exact_up_to or not items.vectors.shape[1]:
        return None
    rng = np.random.default_rng(0)
    users = snapshot.users.vectors
    sample = users[np.sort(rng.permutation(len(users))[:QUERIES])]
    return build(
        items.vectors, items.bias, rows, sample_queries=sample, count=profile.candidates.model
    )


@dataclass(frozen=True)
class Candidates:
    """
    Attributes:
        rows: int32, shape (n,), ascending, distinct.
        sources: uint16, shape (n,): which sources named each (``BITS``).
    """

    rows: Indices
    sources: Bits


@dataclass(frozen=True)
class Asked:
    """What sources go by."""

    live: LiveCatalogue
    viewer: Viewer
    profile: Profile
    shortlists: Shortlists
    indexes: Indexes


@dataclass(frozen=True)
class Source:
    """
    Attributes:
        find: rows of items, best first, about so many.
        applies: whether there is something to go by.
        budget: how many it may bring; a new source has a field of its name in ``Candidates`` of
            ``models/profile/schema.py``.
    """

    find: Callable[[Asked, int], Indices]
    budget: Callable[[Budgets], int]
    applies: Callable[[Asked], bool] = lambda asked: True


SOURCES: dict[str, Source] = {
    "model": Source(
        lambda asked, count: best_of_model(
            asked.live, asked.viewer, asked.shortlists, asked.indexes, count
        ),
        lambda budgets: budgets.model,
        lambda asked: asked.viewer.vector is not None and asked.live.snapshot.personal,
    ),
    "similar_users": Source(
        lambda asked, count: liked_by_similar_users(asked.live, asked.viewer, count),
        lambda budgets: budgets.similar_users,
        lambda asked: asked.viewer.row is not None,
    ),
    "similar_items": Source(
        lambda asked, count: similar_items(
            asked.live, asked.viewer.recent[: asked.profile.candidates.recent_items], count
        )[0],
        lambda budgets: budgets.similar_items,
        lambda asked: len(asked.viewer.recent) > 0,
    ),
    "near": Source(
        lambda asked, count: near(asked.live, asked.viewer, asked.indexes.places, count),
        lambda budgets: budgets.near,
        lambda asked: asked.viewer.has_place,
    ),
    "tags": Source(
        lambda asked, count: of_tags(asked.live, asked.viewer, asked.shortlists, count),
        lambda budgets: budgets.tags,
        lambda asked: (
            len(asked.viewer.tags) + len(asked.viewer.liked)
            + len(asked.viewer.interests.tags.indices) > 0
        ),
    ),
    "trending": Source(
        lambda asked, count: asked.shortlists.trending[:count], lambda budgets: budgets.trending
    ),
    "fresh": Source(
        lambda asked, count: np.concatenate(
            [asked.live.latest_items(), asked.shortlists.fresh[:count]]
        ),
        lambda budgets: budgets.fresh,
    ),
    "popular": Source(
        lambda asked, count: asked.shortlists.popular[:count], lambda budgets: budgets.popular
    ),
    "explore": Source(lambda asked, count: asked.shortlists.explored, lambda budgets: 1),
}  # fmt: skip
"""By name, the most personal first; the first are asked where time is short."""
BITS: dict[str, int] = {name: 1 << place for place, name in enumerate(SOURCES)}
"""In this process. What is kept for others names its bits: ``BITS`` and ``MARKS``."""
RANKED, SEEN = 1 << 15, 1 << 14
"""Beside where an item came from: the ranker gave it its score; the user has seen it, and too
little else is left."""
MARKS = {"ranked": RANKED, "seen": SEEN}


class SourceGuard:
    """Runs sources, and keeps those that misbehave from spoiling the request."""

    def __init__(
        self, dropped: Dropped = lambda *_: None, *, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._dropped = dropped
        self._clock = clock
        self._strikes: dict[str, int] = {}
        self._rests_until: dict[str, float] = {}

    def collect(
        self, sources: Mapping[str, Callable[[], Indices]], budget_ms: float
    ) -> dict[str, Indices]:
        """What each source found, in order, until the time is spent."""
        begin = self._clock()
        end = begin + budget_ms / 1000
        named: dict[str, Indices] = {}
        for name, source in sources.items():
            start = self._clock()
            if start > end:
                self._dropped(name, "out_of_time")
            elif start < self._rests_until.get(name, 0.0):
                self._dropped(name, "resting")
            else:
                try:
                    named[name] = source()
                except Exception:
                    self._dropped(name, "error")
                    self._strike(name)
                    if self._strikes[name] in (0, 1):
                        log.exception("candidate source failed", extra={"source": name})
                else:
                    if self._clock() - start > budget_ms / 2000:
                        self._dropped(name, "slow")
                        self._strike(name)
                    else:
                        self._strikes[name] = 0
        return named

    def _strike(self, name: str) -> None:
        """Once may be the viewer's; several in a row are the source's own fault."""
        self._strikes[name] = (self._strikes.get(name, 0) + 1) % STRIKES
        if self._strikes[name] == 0:
            self._rests_until[name] = self._clock() + REST_SECONDS


def candidates(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    shortlists: Shortlists,
    indexes: Indexes,
    guard: SourceGuard,
) -> Candidates:
    """The union of what the sources name; popular items fill it up to the profile's ``pool``.

    O(pool log pool), besides what the sources cost.
    """
    budgets, asked = profile.candidates, Asked(live, viewer, profile, shortlists, indexes)
    named = guard.collect(
        {
            name: partial(source.find, asked, count)
            for name, source in SOURCES.items()
            if (count := source.budget(budgets)) > 0 and source.applies(asked)
        },
        budgets.time_budget_ms,
    )
    merged = _union(named)
    if len(merged.rows) < budgets.pool:
        merged = _union({**named, "popular": shortlists.popular[: budgets.pool]})
    return merged


def best_of_model(
    live: LiveCatalogue, viewer: Viewer, shortlists: Shortlists, indexes: Indexes, count: int
) -> Indices:
    """The best of each of the model's tables, and of its vectors: of each table that the blend
    weighs ``count`` items, but no more than ``MOST_OF_TABLES`` in all."""
    weights, parts = live.snapshot.blend.weights, list[Indices]()
    if live.items.vectors.shape[1] and (not live.snapshot.tables or weights.get(VECTORS, 0) > 0):
        parts.append(nearest_by_vector(live, viewer, shortlists, indexes, count))
    named = {
        name: scores
        for name, scores in table_scores(live, viewer).items()
        if weights.get(name, 0) > 0
    }
    share = min(count, MOST_OF_TABLES // max(len(named), 1))
    parts += [scores.best(share) for scores in named.values()]
    return np.concatenate(parts) if parts else NOTHING


def nearest_by_vector(
    live: LiveCatalogue, viewer: Viewer, shortlists: Shortlists, indexes: Indexes, count: int
) -> Indices:
    """Items with the highest ``user · item + bias``.

    Exact over everything in a small catalogue, else by the index. Of the items within a limit
    of distance, the best too: filter first, then exact.
    """
    user, items = viewer.vector, live.items
    if user is None:
        return NOTHING
    if indexes.nearest is not None:
        best = indexes.nearest.search(user, count)[0]
    else:
        scores = (items.vectors[: live.size] @ user + items.bias[: live.size])[shortlists.shown]
        best = shortlists.shown[top_places(scores, count)]
    limit = viewer.preferences.max_distance_km
    if viewer.has_place and limit == limit:
        near = indexes.places.within(viewer.lat, viewer.lon, limit, MOST_WITHIN)
        scores = items.vectors[near] @ user + items.bias[near]
        best = np.concatenate([near[top_places(scores, count)], best])
    return best


def liked_by_similar_users(live: LiveCatalogue, viewer: Viewer, count: int) -> Indices:
    """What the most similar users liked: each votes by its similarity and its liking."""
    weights, liked = similar_users(live, viewer)
    votes = np.repeat(weights, np.diff(liked.indptr)) * liked.values
    return most_votes(liked.indices, votes, count)[0]


def similar_items(
    live: LiveCatalogue, rows: Indices, count: int
) -> tuple[Indices, NDArray[np.float32]]:
    """Items that the same users liked as those: summed cosine. Rows and sums, highest first."""
    rows = rows[rows < len(live.items.neighbours)]
    others, scores = live.items.neighbours[rows].ravel(), live.items.neighbour_scores[rows].ravel()
    present = others >= 0
    return most_votes(others[present], scores[present], count)


def near(live: LiveCatalogue, viewer: Viewer, places: Places, count: int) -> Indices:
    """The nearest items, within the viewer's own limit of distance if there is one."""
    limit = viewer.preferences.max_distance_km
    max_km = None if limit != limit else limit
    return places.nearest(viewer.lat, viewer.lon, count, max_km)[0]


def of_tags(live: LiveCatalogue, viewer: Viewer, shortlists: Shortlists, count: int) -> Indices:
    """The most popular items of the viewer's tags, as many of each; without chosen tags, of
    those that they liked most and are most interested in."""
    chosen = viewer.tags
    if len(chosen) == 0:
        tags = live.items.tags[viewer.liked]
        weights = np.broadcast_to(viewer.liked_weights[:, None], tags.shape)
        learned, interest = viewer.interests.scores()[0]
        chosen, votes = most_votes(
            np.concatenate([tags[tags >= 0], learned]),
            np.concatenate([weights[tags >= 0], interest]),
            LEARNED_TAGS,
        )
        chosen = chosen[votes > 0]
    chosen = chosen[chosen < shortlists.tagged.rows]
    if len(chosen) == 0:
        return NOTHING
    lists, share = shortlists.tagged, max(1, count // len(chosen))
    starts = lists.indptr[chosen]
    ends = np.minimum(lists.indptr[chosen + 1], starts + share)
    parts = [lists.indices[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    return np.concatenate(parts)[:count]


def most_votes(
    rows: Indices, votes: NDArray[np.floating], count: int
) -> tuple[Indices, NDArray[np.float32]]:
    """The rows with the highest sums of votes, highest first, and the sums. O(n log n)."""
    if len(rows) == 0:
        return NOTHING, np.zeros(0, np.float32)
    packed = np.sort(rows.astype(np.int64) << 32 | np.arange(len(rows)))
    ordered = packed >> 32
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    sums = np.add.reduceat(votes[packed & 0xFFFFFFFF], starts)
    best = top_places(sums, count)
    return ordered[starts[best]].astype(np.int32), sums[best].astype(np.float32)


def names_of(bits: int) -> list[str]:
    """The sources that a mask stands for."""
    return [name for name, bit in BITS.items() if bits & bit]


def _union(named: dict[str, Indices]) -> Candidates:
    """Distinct rows, ascending. O(n log n)."""
    parts = [rows.astype(np.int64) << 16 | BITS[name] for name, rows in named.items()]
    if not sum(map(len, parts)):
        return Candidates(NOTHING, np.zeros(0, np.uint16))
    # Row and bit in one integer: sorting those is several times faster than argsort.
    packed = np.sort(np.concatenate(parts))
    rows = packed >> 16
    starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
    bits = np.bitwise_or.reduceat((packed & 0xFFFF).astype(np.uint16), starts)
    return Candidates(rows[starts].astype(np.int32), bits)
