"""Tables that are kept up to date: what users like, the counts of pairs that follow from it, and
the tables that follow from those.

One step serves for all that can happen: these users' histories are now those. What they added to
the counts is taken off, what they add now is added, and the rows of the tables that this touches
are made anew. So new events, undone ones, erased users and what retention deleted are all the
same, and the tables are those that are made of everything at once.

Tables go by whether an item is liked. That does not change as all that a user did gets older by
the same time, so the ages of the profile's ``matrix.half_life_days`` need no care.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import polars as pl
from scipy import sparse

from models.catalogue.tables.kinds import ItemTable
from models.catalogue.tables.scores import ScoreTable
from models.data.ragged import Ragged
from models.profile.recommender_settings import RECOMMENDERS
from models.recommenders import files
from models.recommenders.incremental.likes import Likes
from models.recommenders.neighbours.pair_counts import Countable, PairCounts, larger
from models.recommenders.zoo import ZOO

NAME = "table_state"
MOST_ENTRIES = 250_000_000
"""Of one table's counts (3 GB): one that may need more waits for the next training."""
MadeBy = Mapping[str, Any]
"""As ``ItemTable`` has it."""


@dataclass(frozen=True)
class Counted:
    """The counts of one recommender, and its table as it is now, shape (items, items)."""

    made_by: MadeBy
    counts: PairCounts
    related: sparse.csr_array

    @classmethod
    def of(cls, made_by: MadeBy, likes: Likes) -> Self:
        recommender = _recommender(made_by)
        counts = recommender.counts(likes.histories, made_by["items"])
        return cls(made_by, counts, recommender.related(counts, None, counts.rows))

    def updated(self, before: Likes, after: Likes) -> Self:
        """Some users' part in it was ``before``, and is ``after``."""
        recommender, items = _recommender(self.made_by), self.made_by["items"]
        added = recommender.counts(after.histories, items)
        difference = added - recommender.counts(before.histories, items)
        changed = difference.rows
        if not len(changed):
            return self
        counts = self.counts + difference
        return type(self)(self.made_by, counts, recommender.related(counts, self.related, changed))

    def with_items(self, items: int) -> Self:
        related = larger(self.related, items, items)
        return type(self)(self.made_by, self.counts.with_items(items), related)


@dataclass(frozen=True)
class TableState:
    """Of one version."""

    likes: Likes
    counted: tuple[Counted, ...]

    @classmethod
    def of(cls, likes: Likes, made_by: Sequence[MadeBy]) -> Self:
        """From everything at once: the cost of a training of each."""
        return cls(likes, tuple(Counted.of(one, likes) for one in made_by))

    def updated(self, changed: pl.Series, likes: Likes) -> Self:
        """What the changed users like is now that.

        O(work of the recommender for these users), and a copy of the state.

        Args:
            changed: ids. likes: of them, with the same items.
        """
        before = self.likes.among(changed)
        counted = tuple(one.updated(before, likes) for one in self.counted)
        return type(self)(self.likes.replaced(changed, likes), counted)

    def with_items(self, ids: pl.Series) -> Self:
        """With items that were not there, behind the others."""
        if not len(ids):
            return self
        likes = self.likes.with_items(ids)
        return type(self)(likes, tuple(one.with_items(len(likes.items)) for one in self.counted))

    def tables(self, served: Mapping[str, ScoreTable]) -> dict[str, ItemTable]:
        """Those of a version that are kept up to date, as they are now, by name."""
        made = {_key(one.made_by): Ragged.of(one.related) for one in self.counted}
        return {
            name: replace(table, related=made[_key(table.made_by)])
            for name, table in refreshable(served).items()
            if table.made_by and _key(table.made_by) in made
        }

    def save(self, folder: Path, notes: Mapping[str, Any]) -> None:
        """Write to ``folder``, which appears whole or not at all."""
        arrays = self.likes.arrays()
        for place, one in enumerate(self.counted):
            arrays |= {
                f"{place}.pairs": one.counts.pairs,
                f"{place}.of_items": one.counts.of_items,
                f"{place}.related": one.related,
            }
        made_by = [dict(one.made_by) for one in self.counted]
        files.write(folder, NAME, {"notes": dict(notes), "made_by": made_by}, arrays)

    @classmethod
    def load(cls, folder: Path) -> tuple[Self, dict[str, Any]]:
        """What was saved, and the notes.

        Raises:
            RecommenderFileError: nothing whole is there.
        """
        stored, arrays = files.read(folder, NAME)
        counted = tuple(
            Counted(
                made_by,
                PairCounts(arrays[f"{place}.pairs"], arrays[f"{place}.of_items"]),
                arrays[f"{place}.related"],
            )
            for place, made_by in enumerate(stored["made_by"])
        )
        return cls(Likes.read(arrays), counted), stored["notes"]


def refreshable(tables: Mapping[str, ScoreTable]) -> dict[str, ItemTable]:
    """The tables that can be kept up to date, by name."""
    return {
        name: table
        for name, table in tables.items()
        if isinstance(table, ItemTable) and table.made_by is not None
    }


def makers_of(tables: Mapping[str, ScoreTable]) -> list[MadeBy]:
    """What made them, each once: one recommender may have made several."""
    found = {_key(table.made_by): table.made_by for table in refreshable(tables).values()}
    return [made_by for made_by in found.values() if made_by is not None]


def affordable(made_by: Sequence[MadeBy], likes: Likes) -> list[MadeBy]:
    """Those whose counts are few enough to be kept."""
    return [one for one in made_by if _recommender(one).entries(likes.histories) <= MOST_ENTRIES]


def _key(made_by: MadeBy | None) -> str:
    return json.dumps(made_by, sort_keys=True)


def _recommender(made_by: MadeBy) -> Countable:
    """
    Raises:
        ValueError: settings that this release does not know.
    """
    name = made_by["recommender"]
    settings = RECOMMENDERS[name].settings.model_validate(made_by["settings"])
    return cast(Countable, ZOO[name](settings))  # type: ignore[call-arg]
