"""Sessions of a synthetic sample: pages that were shown, and what users did with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.profile.interaction_types import DEFAULT_TYPES
from storage.loading.samples.drawing import DAY, Floats, Ints, times

PAGE = 10  # items that a session shows
SESSIONS_AT_A_TIME = 100_000

Bools = NDArray[np.bool_]


def exactly(rows: int, batch: Callable[[int], pl.DataFrame]) -> pl.DataFrame:
    """``rows`` interactions of as many sessions as it takes; ``batch`` makes so many sessions."""
    batches = []
    while rows > 0:
        made = batch(min(SESSIONS_AT_A_TIME, rows // PAGE + 1)).head(rows)
        batches.append(made)
        rows -= len(made)
    return pl.concat(batches)


def begins(rng: np.random.Generator, count: int, start: int, end: int) -> Ints:
    """When each session begins, microseconds: busier in the evening, around 19:00 UTC."""
    day = rng.integers(0, max((end - start) // DAY, 1), count)
    hour = rng.normal(19, 4, count) % 24
    begin = start + ((day + hour / 24) * DAY).astype(np.int64)
    return np.minimum(begin, end - 700_000_000)


@dataclass(frozen=True)
class Shown:
    """The impressions of some sessions, an entry each.

    Attributes:
        session: number of the session. ``item``: of the item.
        position: on the page, from 1. ``at``: microseconds since the epoch.
    """

    session: Ints
    position: Ints
    item: Ints
    at: Ints

    @classmethod
    def pages(cls, begin: Ints, item: Ints) -> Shown:
        """``PAGE`` items for each session, a second apart."""
        session = np.repeat(np.arange(len(begin)), PAGE)
        position = np.tile(np.arange(1, PAGE + 1), len(begin))
        return cls(session, position, item, begin[session] + position * 1_000_000)

    def only(self, kept: Bools) -> Shown:
        return Shown(self.session[kept], self.position[kept], self.item[kept], self.at[kept])


def interactions_of(
    rng: np.random.Generator,
    shown: Shown,
    done: Mapping[str, tuple[Bools, int]],
    looked: Mapping[str, float],
    *,
    user: Ints,
    begin: Ints,
    taste: Ints,
    names: Sequence[str],
    user_ids: pl.Series,
    item_ids: pl.Series,
) -> pl.DataFrame:
    """Interactions, session by session, in the order of time in each.

    Args:
        done: by type, which of the impressions led to it, and how many seconds later.
        looked: by type (search, filter), the chance of it in a session.
        user, begin, taste: of each session: number of the user, when, and the number of what
            the user looks for, one of ``names``.
    """
    parts = [
        _part(name, np.flatnonzero(mask), shown.session, shown.item, shown.at + delay * 1_000_000)
        for name, (mask, delay) in done.items()
    ]
    sessions, nothing = np.arange(len(user)), np.full(len(user), -1)
    for name, chance in looked.items():
        rows = np.flatnonzero(rng.random(len(user)) < chance)
        parts.append(_part(name, rows, sessions, nothing, begin))
    kind, session, what, when, row = (
        np.concatenate(columns) for columns in zip(*parts, strict=True)
    )
    order = np.lexsort((when, session))
    kind, session, what, when, row = (a[order] for a in (kind, session, what, when, row))
    return pl.DataFrame(
        {
            "user_id": user_ids.gather(user[session]),
            "item_id": item_ids.gather(
                pl.Series(what, strict=False).set(pl.Series(what < 0), None)
            ),
            "type": pl.Series(DEFAULT_TYPES.names).gather(kind),
            "occurred_at": times(when),
            "metadata": _metadata(rng, kind, row, shown.position, taste[session], names),
        }
    )


def happens(rng: np.random.Generator, given: Bools, chance: Floats | float) -> Bools:
    """Where ``given``, true with the chance."""
    return given & (rng.random(len(given)) < chance)


def _part(name: str, rows: Ints, session: Ints, item: Ints, at: Ints) -> tuple[Ints, ...]:
    """Type, session, item, time and impression of the events of one type."""
    kind = np.full(len(rows), DEFAULT_TYPES.names.index(name))
    return kind, session[rows], item[rows], at[rows], rows


def _metadata(
    rng: np.random.Generator,
    kind: Ints,
    row: Ints,
    position: Ints,
    taste: Ints,
    names: Sequence[str],
) -> pl.Series:
    """Position on the page; seconds of a dwell; what was looked for."""
    positions = [f'{{"position": {n}}}' for n in range(PAGE + 1)]
    seconds = [f'{{"seconds": {n}}}' for n in range(301)]
    queries = [f'{{"query": "{name}"}}' for name in names]
    filters = [f'{{"category": "{name}"}}' for name in names]
    is_kind = {name: kind == number for number, name in enumerate(DEFAULT_TYPES.names)}
    offsets = np.cumsum([0, len(positions), len(seconds), len(queries)])
    by_page = position[np.minimum(row, len(position) - 1)] if len(position) else row
    dwell = np.minimum(rng.exponential(35, len(kind)), 300).astype(np.int64)
    number = np.where(is_kind["dwell"], offsets[1] + dwell, by_page)
    number = np.where(is_kind["search"], offsets[2] + taste, number)
    number = np.where(is_kind["filter"], offsets[3] + taste, number)
    return pl.Series(positions + seconds + queries + filters).gather(number)
