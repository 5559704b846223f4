"""A user's own events, and what they mean for the next feed.

Always worked out from all of the user's events of the last while, never added to: the order in
which they came, the batches, and what came twice cannot matter. The snapshot knows some of those
events too, and which ones is not recorded, so what it says of a pair and what the events say are
not added up either: the larger counts.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.catalogue.fold_in import FoldIn, Linear
from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.interests import Interests, interests_of
from models.catalogue.viewers.viewer import History, Indices, Viewer
from models.data.arrays import among
from models.data.interactions.matrices import RECENT_ITEMS
from models.data.interactions.undoing import that_stand
from models.profile.interaction_types import Weights
from models.profile.schema import Profile

HALF_LIVES = 10
"""Events so much older than an interest's half-life are not looked at: they weigh 0.001."""
OVERLAP_SECONDS = 24 * 3600.0
"""What the snapshot was made from may be so much older than its model."""


@dataclass(frozen=True)
class Events:
    """n events of one user.

    Attributes:
        ids: uint64, shape (n, 2): the event ids, 128 bits each.
        items: int32, shape (n,): rows of items, -1 for none.
        types: int8, shape (n,): indices into the live catalogue's ``types``.
        times: float64, shape (n,): epoch seconds.
        dwell: float64, shape (n,): seconds of a dwell, NaN elsewhere.
        tags, categories, cities: int32, shapes (n, w), (n,), (n,): what each was about, -1 for
            none: of its item, or what a search or filter named.
    """

    ids: NDArray[np.uint64]
    items: Indices
    types: NDArray[np.int8]
    times: NDArray[np.float64]
    dwell: NDArray[np.float64]
    tags: NDArray[np.int32]
    categories: Indices
    cities: Indices

    def __len__(self) -> int:
        return len(self.types)

    def where(self, kept: NDArray) -> Self:
        """Those of a mask or of places."""
        return type(self)(*(column[kept] for column in vars(self).values()))

    def in_order(self) -> Self:
        """By time, each id once: of several under one id the first. O(n log n)."""
        order = np.lexsort((self.times, self.ids[:, 1], self.ids[:, 0]))
        ids = self.ids[order]
        first = np.ones(len(ids), bool)
        first[1:] = (ids[1:] != ids[:-1]).any(axis=1)
        kept = order[first]
        return self.where(
            kept[np.lexsort((self.ids[kept, 1], self.ids[kept, 0], self.times[kept]))]
        )


def events_since(trained_at: float, profile: Profile, now: float) -> float:
    """From when on a user's events are needed: all that the snapshot may lack, and all that
    counts for interests. Epoch seconds.

    Args:
        trained_at: of the snapshot, epoch seconds.
    """
    fading = HALF_LIVES * profile.online.half_life_hours * 3600
    return min(trained_at - OVERLAP_SECONDS, now - fading)


def history_of(
    live: LiveCatalogue,
    user_id: str,
    events: Events,
    profile: Profile,
    fold_in: FoldIn | None,
    *,
    trained_at: float,
    now: float,
) -> History:
    """What the snapshot knows of a user and what their events say, in one. O(n log n), some
    100 µs for a few events.

    A pair's liking is ``log1p`` of the summed weights, as in the interaction matrix, of the
    snapshot or of the events, whichever is larger; a sum below 0 takes off the snapshot's.

    Args:
        events: since ``events_since``, in any order.
        fold_in: of ``live``; None: its model cannot be added to.
        trained_at: epoch seconds; the model knows of what happened before.
    """
    events = events.in_order()
    snapshot = live.viewer(user_id)
    on_item = events.where(events.items >= 0)
    types, names = profile.interaction_types, list(live.types)
    weights = _by_code(profile.interaction_weights, names)
    counts = ~np.isnan(weights) | _among(frozenset().union(*types.of_applied), names)
    short = _short(events, profile, names)
    touched = on_item.where(counts[on_item.types] & ~short[events.items >= 0])
    value = np.nan_to_num(weights[touched.types])
    liked, liking = _merged_liking(snapshot.liked, snapshot.liked_weights, touched.items, value)
    recent, recent_types = _recent(touched, value, snapshot.recent, snapshot.recent_types)
    vector = snapshot.vector
    if fold_in is not None:
        least = profile.online.min_liked or fold_in.least
        if vector is not None or len(liked) >= least:
            new = slice(None) if snapshot.row is None else touched.times >= trained_at
            new_likes = _new_likes(touched.items[new], value[new])
            vector = _folded(live, fold_in, snapshot, (liked, liking), new_likes)
    if vector is None and live.snapshot.tables and len(liked):
        vector = np.zeros(live.items.vectors.shape[1], np.float32)  # the tables know what to say
    return History(
        seen=np.union1d(snapshot.seen, touched.items).astype(np.int32),
        applied=_last_word(snapshot.applied, on_item, types.of_applied, names),
        dismissed=_last_word(snapshot.dismissed, on_item, types.of_dismissed, names),
        liked=liked,
        liked_weights=liking,
        recent=recent,
        recent_types=recent_types,
        interests=_interests(events, short, names, profile, now),
        vector=vector,
        mark=blake2b(events.ids[_by_id(events.ids)].tobytes(), digest_size=8).hexdigest(),
    )


def _by_code(weights: Weights, names: Sequence[str]) -> NDArray[np.float64]:
    """Weight of each type by its code, NaN for those that have none."""
    return np.array([weights.get(name, np.nan) for name in names])


def _among(types: Set[str], names: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each type is one of these, by its code."""
    return np.array([name in types for name in names])


def _by_id(ids: NDArray[np.uint64]) -> NDArray[np.intp]:
    return np.lexsort((ids[:, 1], ids[:, 0]))


def _short(events: Events, profile: Profile, names: Sequence[str]) -> NDArray[np.bool_]:
    """Those whose seconds are too few to say anything."""
    long = events.dwell >= profile.online.min_dwell_seconds
    return _among(profile.interaction_types.timed, names)[events.types] & ~long


def _merged_liking(
    liked: Indices,
    liking: NDArray[np.float32],
    items: Indices,
    value: NDArray[np.float64],
) -> tuple[Indices, NDArray[np.float32]]:
    rows = np.union1d(liked, items).astype(np.int32)
    before, since = np.zeros(len(rows)), np.zeros(len(rows))
    before[np.searchsorted(rows, liked)] = np.expm1(liking)
    np.add.at(since, np.searchsorted(rows, items), value)
    merged = np.where(since < 0, before + since, np.maximum(before, since))
    return rows[merged > 0], np.log1p(merged[merged > 0]).astype(np.float32)


def _recent(
    events: Events,
    value: NDArray[np.float64],
    earlier: Indices,
    earlier_types: NDArray[np.int8],
) -> tuple[Indices, NDArray[np.int8]]:
    """As ``matrices.recent_items``: of the events, then those that the snapshot knows."""
    liked = np.flatnonzero(value > 0)
    items, types, times = events.items[liked], events.types[liked], events.times[liked]
    heaviest = np.lexsort((types, -value[liked], items))
    newest = np.lexsort((-times, items))
    first = np.unique(items[heaviest], return_index=True)[1]
    rows, kinds, last = items[heaviest][first], types[heaviest][first], times[newest][first]
    order = np.lexsort((rows, -last))
    older = ~among(earlier, rows)
    return (
        np.concatenate([rows[order], earlier[older]])[:RECENT_ITEMS],
        np.concatenate([kinds[order], earlier_types[older]])[:RECENT_ITEMS],
    )


def _last_word(
    before: Indices, events: Events, types: tuple[Set[str], Set[str]], names: Sequence[str]
) -> Indices:
    """Rows where one of the first types came after any of the second, and the rows of ``known``
    of which the events say nothing. Ascending."""
    does, undoes = (_among(part, names)[events.types] for part in types)
    rows, stand = that_stand(events.items, events.times, does, undoes)
    return np.union1d(before[~among(before, rows)], rows[stand]).astype(np.int32)


def _interests(
    events: Events,
    short: NDArray[np.bool_],
    names: Sequence[str],
    profile: Profile,
    now: float,
) -> Interests:
    rules = profile.online
    weights = np.nan_to_num(_by_code(rules.weights, names))[events.types]
    weights[short] = 0
    return interests_of(
        events.tags,
        events.categories,
        events.cities,
        weights,
        events.times,
        now=now,
        half_life=rules.half_life_hours * 3600,
        cap=rules.cap,
    )


def _new_likes(items: Indices, value: NDArray[np.float64]) -> tuple[Indices, NDArray[np.float64]]:
    """What events alone say: rows of items, ascending, and how much each is liked."""
    rows, which = np.unique(items, return_inverse=True)
    summed = np.bincount(which, weights=value, minlength=len(rows))
    return rows, np.sign(summed) * np.log1p(np.abs(summed))


def _folded(
    live: LiveCatalogue,
    fold_in: FoldIn,
    viewer: Viewer,
    liked: tuple[Indices, NDArray[np.float32]],
    new_likes: tuple[Indices, NDArray[np.float64]],
) -> NDArray[np.float32] | None:
    """The user's vector by now; None: the model knows nothing of them, nor of what they like.

    Args:
        known: what the snapshot says of the user.
        liked: rows and liking, with all that is known by now.
        new_likes: the same of new events alone; below 0: turned away from.
    """
    if isinstance(fold_in, Linear):
        # From the row that the model was trained on to that of now.
        away = new_likes[1] < 0
        rows = np.unique(np.concatenate([viewer.liked, liked[0], new_likes[0][away]]))
        before, after = np.zeros(len(rows)), np.zeros(len(rows))
        before[np.searchsorted(rows, viewer.liked)] = viewer.liked_weights
        after[np.searchsorted(rows, new_likes[0][away])] = new_likes[1][away]
        after[np.searchsorted(rows, liked[0])] = liked[1]
        step = fold_in.step(live.items.fold[rows], before, after)
    else:
        step = fold_in.step(live.items.vectors[new_likes[0]], new_likes[1])
    if viewer.vector is None:
        return step.astype(np.float32) if step.any() else None
    return (viewer.vector + step).astype(np.float32)
