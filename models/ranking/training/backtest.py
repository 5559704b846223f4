"""A past moment made again: the catalogue as it was, and each user as the server knew them.

The ranker's training set and the offline evaluation rank from it, through the pipeline that serves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.catalogue.building import ModelInfo, Vectors, build_snapshot
from models.catalogue.fold_in import FoldIn, fold_in_of
from models.catalogue.history import Events, events_since, history_of
from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Viewer
from models.data.interactions.matrices import recent_items
from models.data.similarities import Neighbours, top_neighbours
from models.feed.pipeline import FeedPipeline
from models.ranking.learned import LearnedRanker
from models.recommenders.base import Dataset


@dataclass(frozen=True)
class PastCatalogue:
    """What was known at a moment, whichever recommender ranks.

    Items that were made later are in it, as recommenders score them, but hidden.

    Attributes:
        dataset: nothing after ``dataset.as_of`` is in it.
        events: what users did before, as ``with_metadata`` gives it.
    """

    dataset: Dataset
    events: pl.DataFrame

    def served_by(self, vectors: Vectors | None) -> Backtest:
        """The feed of a recommender at that moment.

        Args:
            vectors: of a recommender that was trained on ``dataset``; None: the heuristic ranks.
        """
        dataset, now = self.dataset, self.dataset.as_of
        user_neighbours, item_neighbours = self._neighbours
        snapshot = build_snapshot(
            replace(dataset.catalogue, items=self._items),
            dataset.matrix,
            dataset.profile,
            now=now,
            vectors=vectors,
            model=None if vectors is None else ModelInfo("past", "past", now),
            user_neighbours=user_neighbours,
            item_neighbours=item_neighbours,
            recent=self._recent,
        )
        live = LiveCatalogue(snapshot)
        pipeline = FeedPipeline.offline(live, dataset.profile, now=now.timestamp())
        return Backtest(pipeline, now.timestamp(), self.events, fold_in_of(live))

    @cached_property
    def _items(self) -> pl.DataFrame:
        later = pl.col("created_at") > self.dataset.as_of
        return self.dataset.catalogue.items.with_columns(
            created_at=pl.when(~later).then("created_at"),
            status=pl.when(later).then(pl.lit("draft")).otherwise("status"),
        )

    @cached_property
    def _recent(self) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        matrix, profile = self.dataset.matrix, self.dataset.profile
        return recent_items(
            self.events,
            matrix.users,
            matrix.items,
            profile.interaction_weights,
            types=profile.interaction_types,
        )

    @cached_property
    def _neighbours(self) -> tuple[Neighbours, Neighbours]:
        profile, liked = self.dataset.profile, self.dataset.matrix.liked
        k, share = profile.similarity.neighbours, profile.matrix.common_item_share
        return top_neighbours(liked, k, max_share=share), top_neighbours(liked.T.tocsr(), k)


@dataclass(frozen=True)
class Backtest:
    """The feed as it was.

    Attributes:
        now: epoch seconds; nothing that happened later is in it.
        events: what users did before, as ``with_metadata`` gives it.
    """

    pipeline: FeedPipeline
    now: float
    events: pl.DataFrame
    fold_in: FoldIn | None

    def with_ranker(self, ranker: LearnedRanker) -> Self:
        """The same with a ranker behind the recommender."""
        return replace(self, pipeline=replace(self.pipeline, ranker=ranker))

    def viewers(self, users: Sequence[str], moments: NDArray[np.float64]) -> Iterator[Viewer]:
        """Each user as the server would know them at their moment: what the snapshot says, and what
        their own events of the last while do.

        Args:
            moments: epoch seconds, shape (users,).
        """
        live, profile = self.pipeline.live, self.pipeline.profile
        types = profile.interaction_types
        since = events_since(self.now, profile, self.now)
        at = pl.col("occurred_at").dt.timestamp("us") / 1e6
        rows = (
            self.events.with_columns(at=at)
            .filter(pl.col("at") >= since, pl.col("user_id").is_in(users))
            .filter(pl.col("type").is_in({*types.names} - types.impressions))
            .sort("user_id", "at")
            .group_by("user_id", maintain_order=True)
            .tail(profile.online.max_events)
        )
        events, starts = _events(live, rows), _starts(rows["user_id"])
        for user, moment in zip(users, moments.tolist(), strict=True):
            first, last = starts.get(user, (0, 0))
            if first == last:
                yield live.viewer(user, now=moment)
                continue
            history = history_of(
                live,
                user,
                events.where(np.arange(first, last)),
                profile,
                self.fold_in,
                trained_at=self.now,
                now=self.now,
            )
            yield live.viewer(user, history=history, now=moment)


def with_metadata(interactions: pl.LazyFrame) -> pl.DataFrame:
    """With position (from 1), propensity, seconds, attended and device out of the metadata, null
    where they say nothing. Only rows of a user and an item.

    Args:
        interactions: user_id, item_id, type, occurred_at; metadata as JSON, where there is any.
    """
    kinds = {
        "position": pl.Int64,
        "propensity": pl.Float64,
        "seconds": pl.Float64,
        "attended": pl.Boolean,
        "device": pl.String,
    }
    if "metadata" in interactions.collect_schema().names():
        facts = [
            pl.col("metadata").str.json_path_match(f"$.{name}").cast(kind, strict=False).alias(name)
            if kind != pl.Boolean
            else (pl.col("metadata").str.json_path_match(f"$.{name}") == "true").alias(name)
            for name, kind in kinds.items()
        ]
    else:
        facts = [pl.lit(None, kind).alias(name) for name, kind in kinds.items()]
    return (
        interactions.filter(pl.col("user_id").is_not_null() & pl.col("item_id").is_not_null())
        .select("user_id", "item_id", "type", "occurred_at", *facts)
        .with_columns(pl.when(pl.col("position") >= 1).then("position"))
        .collect()
    )


def _events(live: LiveCatalogue, rows: pl.DataFrame) -> Events:
    """As ``models.catalogue.history`` takes them: columns of all users, one after the other."""
    n, row = len(rows), rows_of(live, rows["item_id"]).to_numpy()
    indexed = row >= 0
    tags = np.full((n, live.items.tags.shape[1]), -1, np.int32)
    tags[indexed] = live.items.tags[row[indexed]]
    numbers = np.arange(n, dtype=np.uint64)
    codes = {name: live.types.add(name) for name in rows["type"].unique()}
    return Events(
        ids=np.column_stack([numbers, numbers]),
        items=row,
        types=rows["type"].replace_strict(codes, return_dtype=pl.Int8).to_numpy(),
        times=rows["at"].to_numpy(),
        dwell=rows["seconds"].fill_null(float("nan")).to_numpy(),
        tags=tags,
        categories=np.where(indexed, live.items.category[row], -1).astype(np.int32),
        cities=np.where(indexed, live.items.city[row], -1).astype(np.int32),
    )


def _starts(users: pl.Series) -> dict[str, tuple[int, int]]:
    """First row and the one after the last of each user, of rows in the order of users."""
    counted = users.rle().struct.unnest() if len(users) else pl.DataFrame({"len": [], "value": []})
    ends = counted["len"].cast(pl.Int64).cum_sum().to_list()
    begins = [0, *ends[:-1]]
    return dict(zip(counted["value"].to_list(), zip(begins, ends, strict=False), strict=True))


def rows_of(live: LiveCatalogue, items: pl.Series) -> pl.Series:
    """Row of each item in the catalogue, int32, -1: not there."""
    return pl.Series("row", live.snapshot.items.ids.indices(items), dtype=pl.Int32)
