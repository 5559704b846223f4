"""A recommender's version as the service has it at a later moment, without the service.

Its snapshot knows what was known when it was trained; items that came since are put beside what
they are like; a user's events since are folded into their vector, by the code that serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.common.worlds import PROFILE, Size, world
from benchmarks.parts.quality_data import films
from models.catalogue.building import Catalogue, ModelInfo, build_snapshot
from models.catalogue.changes import Changes, ItemRow, UserRow
from models.catalogue.fold_in import fold_in_of
from models.catalogue.history import events_since, history_of
from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Viewer
from models.data import scorers
from models.data.features import item_features, user_features
from models.data.ids import IdIndex
from models.data.interactions.engagement import engagement
from models.data.interactions.matrices import interaction_matrix
from models.data.similarities import top_neighbours
from models.evaluation.comparison import build_dataset
from models.feed.scoring.scores import model_scores, score_components
from models.profile.schema import Profile
from models.recommenders.base import Dataset, Recommender
from models.recommenders.judging import TestSet
from serving.state.user_states import as_events
from storage.events.history import EventRow

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Record:
    """All that ever happened.

    Attributes:
        interactions: columns user_id, item_id, type, occurred_at; ascending in time.
    """

    interactions: pl.DataFrame
    catalogue: Catalogue
    profile: Profile

    @classmethod
    def marketplace(cls, size: Size) -> Self:
        """The synthetic one."""
        made = world(size)
        rows = made.lake.scan().select("user_id", "item_id", "type", "occurred_at").collect()
        kept = rows.filter(pl.col("user_id").is_not_null(), pl.col("item_id").is_not_null())
        return cls(kept.sort("occurred_at", maintain_order=True), made.catalogue(), PROFILE)

    @classmethod
    def movielens(cls, path: Path | None) -> Self:
        """A folder of MovieLens; a film is made when it is first rated."""
        ratings = films(path)
        first = ratings.frame.group_by("item_id").agg(first=pl.col("occurred_at").min())
        items = ratings.catalogue.items.join(first, left_on="id", right_on="item_id")
        items = items.with_columns(created_at="first").drop("first")
        catalogue = replace(ratings.catalogue, items=items)
        rows = ratings.frame.sort("occurred_at", maintain_order=True)
        return cls(rows, catalogue, ratings.profile)

    @property
    def liked(self) -> pl.DataFrame:
        """The first time that each user liked each item."""
        positive = [name for name, weight in self.profile.interaction_weights.items() if weight > 0]
        return (
            self.interactions.filter(pl.col("type").is_in(positive))
            .group_by("user_id", "item_id")
            .agg(pl.col("occurred_at").min())
            .sort("occurred_at", "user_id", "item_id")
        )

    def items(self, at: datetime) -> pl.DataFrame:
        return self.catalogue.items.filter(pl.col("created_at") <= at)

    def dataset(self, at: datetime, also: pl.DataFrame | None = None) -> Dataset:
        """What was known at a moment, and ``also`` these interactions as if they came before."""
        past = self.interactions.filter(pl.col("occurred_at") < at)
        if also is not None:
            before = also.with_columns(occurred_at=pl.lit(at).dt.offset_by("-1us"))
            past = pl.concat([past, before.select(past.columns)])
        items = self.items(at)
        people = self.catalogue.users.filter(pl.col("id").is_in(past["user_id"].implode()))
        of_users, of_items = IdIndex.of(people["id"]), IdIndex.of(items["id"])
        return build_dataset(
            past.lazy(),
            replace(self.catalogue, users=people, items=items),
            of_users,
            of_items,
            user_features(people, of_users),
            item_features(items, of_items),
            self.profile,
            as_of=at,
        )


@dataclass(frozen=True)
class Asked:
    """Who is asked about, and what they like next.

    Attributes:
        users: ids, shape (n,). now: when.
        test: rows are those of ``users``, columns those of ``items``.
        events: of each user what they did before, as the service reads it.
    """

    users: list[str]
    now: datetime
    items: IdIndex
    test: TestSet
    events: list[list[EventRow]]
    before: pl.DataFrame

    @classmethod
    def of(cls, record: Record, cuts: pl.DataFrame, now: datetime, until: datetime) -> Self:
        """
        Args:
            cuts: user_id and cut: what the user did up to then is known, what they like later,
                before ``until``, is to be found.
            now: of the catalogue; items that were made later are left out.
        """
        items = IdIndex.of(record.items(now)["id"])
        ours = record.interactions.join(cuts, on="user_id")
        before = ours.filter(pl.col("occurred_at") <= pl.col("cut"))
        after = record.liked.join(cuts, on="user_id").filter(
            pl.col("occurred_at") > pl.col("cut"),
            pl.col("occurred_at") < until,
            pl.col("item_id").is_in(items.to_series().implode()),
        )
        after = after.join(
            before.select("user_id", "item_id"), on=["user_id", "item_id"], how="anti"
        )
        of_users = IdIndex.of(after["user_id"])
        names = of_users.to_list()
        before = before.filter(pl.col("user_id").is_in(names)).sort("occurred_at")
        test = TestSet(
            np.arange(len(names)),
            _pairs(after, of_users, items),
            _pairs(before, of_users, items),
            np.full(len(names), "warm"),
        )
        return cls(names, now, items, test, _event_rows(before, names), before)


class Served:
    """One version at a later moment."""

    def __init__(self, record: Record, dataset: Dataset, model: Recommender, now: datetime) -> None:
        self._profile, self._now, at = record.profile, now, dataset.as_of
        self._trained_at = at.timestamp()
        snapshot = build_snapshot(
            dataset.catalogue,
            dataset.matrix,
            self._profile,
            now=at,
            vectors=model.vectors,
            model=ModelInfo("1", model.name, at),
            user_neighbours=top_neighbours(
                dataset.matrix.liked,
                self._profile.similarity.neighbours,
                max_share=self._profile.matrix.common_item_share,
            ),
        )
        self._live = LiveCatalogue(snapshot)
        new_users = record.catalogue.users.filter(
            ~pl.col("id").is_in(dataset.users.to_series().implode())
        )
        new_items = record.items(now).filter(pl.col("created_at") > at)
        self._live.apply(Changes("", items=_item_rows(new_items), users=_user_rows(new_users)))
        self._count(record)
        self._fold_in = fold_in_of(self._live)

    def scores(self, asked: Asked, *, events: bool, model: bool = True) -> Scores:
        """Of all items for all users asked about, shape (n, items).

        Args:
            events: fold in what they did since the training; False: as if it had been lost.
            model: False: the heuristic for everybody, not only for whom the model does not know.
        """
        rows = self._live.find_items(asked.items.to_list())
        return np.array(
            [
                self._of(self._viewer(user, did if events else []), rows, model)
                for user, did in zip(asked.users, asked.events, strict=True)
            ],
            np.float32,
        )

    def _viewer(self, user: str, did: list[EventRow]) -> Viewer:
        live, profile, now = self._live, self._profile, self._now.timestamp()
        since = events_since(self._trained_at, profile, now)
        did = [row for row in did if row.occurred_at >= since][-profile.online.max_events :]
        if not did:
            return live.viewer(user)
        history = history_of(
            live,
            user,
            as_events(did, live),
            profile,
            self._fold_in,
            trained_at=self._trained_at,
            now=now,
        )
        return live.viewer(user, history=history)

    def _of(self, viewer: Viewer, rows: NDArray[np.int32], model: bool) -> Scores:
        if model and viewer.vector is not None:
            return model_scores(self._live, viewer, rows)
        if model and not self._live.items.vectors.shape[1]:  # popularity needs no taste
            return self._live.items.bias[rows]
        now = self._now.timestamp()
        components = score_components(self._live, viewer, self._profile, rows, now=now)
        return scorers.hybrid(components, self._profile.scorer_weights, len(rows))

    def _count(self, record: Record) -> None:
        """The counters of items, which the service brings up to date by the hour."""
        at = datetime.fromtimestamp(self._trained_at, self._now.tzinfo)
        since = record.interactions.filter(pl.col("occurred_at").is_between(at, self._now, "left"))
        counted = engagement(since.lazy(), self._profile.engagement_weights)
        counted = counted.filter(pl.col("item_id").is_in(record.items(self._now)["id"].implode()))
        self._live.count(
            self._live.find_items(counted["item_id"].to_list()),
            counted["impressions"].to_numpy(),
            counted["clicks"].to_numpy(),
            counted["weighted"].to_numpy(),
        )


def own_fold_in(model: Recommender, dataset: Dataset, asked: Asked) -> Scores:
    """By the recommender's own code, which need not be by vectors; the catalogue as trained."""
    matrix = interaction_matrix(
        asked.before, IdIndex.of(asked.users), dataset.items, dataset.profile.interaction_weights
    )
    return model.fold_in(matrix.liked)


def _pairs(rows: pl.DataFrame, users: IdIndex, items: IdIndex) -> sparse.csr_array:
    row, column = users.indices(rows["user_id"]), items.indices(rows["item_id"])
    indexed = (row >= 0) & (column >= 0)
    pairs = sparse.csr_array(
        (np.ones(int(indexed.sum()), np.float32), (row[indexed], column[indexed])),
        shape=(len(users), len(items)),
    )
    pairs.sum_duplicates()
    pairs.data[:] = 1
    return pairs


def _event_rows(rows: pl.DataFrame, users: Sequence[str]) -> list[list[EventRow]]:
    events: dict[str, list[EventRow]] = {user: [] for user in users}
    columns = rows.select("user_id", "item_id", "type", pl.col("occurred_at").dt.epoch("us"))
    for index, (user, item, kind, moment) in enumerate(columns.iter_rows()):
        row = EventRow(index.to_bytes(16, "big"), item, kind, moment / 1e6, None, None, None, None)
        events[user].append(row)
    return list(events.values())


def _item_rows(items: pl.DataFrame) -> list[ItemRow]:
    moments = ("created_at", "publish_at", "starts_at")
    frame = items.with_columns(pl.col(name).dt.epoch("us") / 1e6 for name in moments)
    frame = frame.with_columns(pl.col("tags").fill_null([]))
    return [ItemRow(*row) for row in frame.select(ItemRow._fields[:-1]).iter_rows()]


def _user_rows(users: pl.DataFrame) -> list[UserRow]:
    frame = users.select("id", "lat", "lon", "city", pl.col("tags").fill_null([]))
    return [
        UserRow(id, lat, lon, city, tags, None, None, None, [], [], [], True)
        for id, lat, lon, city, tags in frame.iter_rows()
    ]
