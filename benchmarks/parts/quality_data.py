"""Public data sets as one log of likes, and what of it is held out, by protocol."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.common.report import BenchmarkError
from models.catalogue.building import Catalogue
from models.data.features import item_features, user_features
from models.data.ids import IdIndex
from models.data.interactions.matrices import InteractionMatrix
from models.data.interactions.splits import stratified_split
from models.evaluation.comparison import build_dataset
from models.profile.recommender_settings import BlendSettings
from models.profile.schema import Profile, load_profile
from models.recommenders.base import Dataset
from models.recommenders.judging import TestSet
from storage.loading.samples import movielens
from storage.loading.values.times import to_times

PROFILE = load_profile("marketplace")
TIME = pl.Datetime("us", "UTC")
FIRST = 1_000_000_000.0
"""Epoch seconds of what has an order but no times begins here, and of what has neither."""
LAST, WINDOWS, FIRST_WINDOW = 0.2, 4, 0.4
"""Share of a user's log that is judged by; windows of time; share of the log before the first."""
Mask = NDArray[np.bool_]
Tells = Literal["time", "order", "nothing"]


@dataclass(frozen=True)
class Log:
    """n likes, in the order of the file, each of another pair of user and item.

    Attributes:
        frame: user_id, item_id, type (``like``), occurred_at.
        values: how much each was liked, float32, shape (n,): the rating, or 1.
        seconds: epoch seconds, shape (n,).
        tells: what ``seconds`` say.
    """

    frame: pl.DataFrame
    values: NDArray[np.float32]
    seconds: NDArray[np.float64]
    catalogue: Catalogue
    profile: Profile
    tells: Tells

    @classmethod
    def of(
        cls,
        likes: pl.DataFrame,
        *,
        items: pl.DataFrame | None = None,
        users: pl.DataFrame | None = None,
        tells: Tells,
    ) -> Self:
        """
        Args:
            likes: user_id, item_id, seconds; value, where some are liked more than others.
            items, users: id, and what is known of them. All items are published.
        """
        people = likes.select(id=pl.col("user_id").unique())
        if users is not None:
            people = people.join(users, on="id", how="left")
        liked_items = likes.select(id=pl.col("item_id").unique())
        if items is not None:
            liked_items = liked_items.join(items, on="id", how="left")
        liked_items = liked_items.with_columns(status=pl.lit("published"))
        at = (pl.col("seconds") * 1e6).cast(pl.Int64).cast(TIME)
        value = likes["value"] if "value" in likes.columns else likes.select(value=1.0)["value"]
        return cls(
            likes.select("user_id", "item_id", type=pl.lit("like"), occurred_at=at),
            np.broadcast_to(value.cast(pl.Float32).to_numpy(), len(likes)),
            likes["seconds"].cast(pl.Float64).to_numpy(),
            Catalogue(_whole(people, _USERS), _whole(liked_items, _ITEMS), _whole(None, _OWNERS)),
            PROFILE,
            tells,
        )

    @cached_property
    def users(self) -> IdIndex:
        return IdIndex.of(self.catalogue.users["id"])

    @cached_property
    def items(self) -> IdIndex:
        return IdIndex.of(self.catalogue.items["id"])

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Of the user of each like, shape (n,)."""
        return self.users.indices(self.frame["user_id"]).astype(np.int64)

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """Of the item of each like, shape (n,)."""
        return self.items.indices(self.frame["item_id"]).astype(np.int64)

    def dataset(self, train: Mask) -> Dataset:
        """What the likes of a mask teach."""
        none = self._csr(np.zeros(len(train), bool), self.values)
        matrix = InteractionMatrix(self.users, self.items, self._csr(train, self.values), none)
        likes = self.frame.filter(pl.Series(train))
        made = build_dataset(
            likes.lazy(),
            replace(self.catalogue, items=self._items(likes)),
            self.users,
            self.items,
            user_features(self.catalogue.users, self.users),
            item_features(self.catalogue.items, self.items),
            self.profile,
            as_of=datetime.fromtimestamp(float(self.seconds[train].max()) + 1, UTC),
            matrix=matrix,
        )
        return made if self.tells != "nothing" else replace(made, times=None, validation=None)

    def test_set(self, train: Mask, wanted: Mask) -> TestSet:
        """Users in both parts, and all of the second that is new to them."""
        seen, later = (self._csr(of, np.ones(len(of), np.float32)) for of in (train, wanted))
        relevant = sparse.csr_array(later - later.multiply(seen > 0))
        relevant.eliminate_zeros()
        history = np.diff(seen.indptr)
        both = np.flatnonzero((history > 0) & (np.diff(relevant.indptr) > 0))
        segments = np.where(history[both] < self.profile.evaluation.heavy_user, "warm", "heavy")
        return TestSet(
            both, sparse.csr_array(relevant[both]), sparse.csr_array(seen[both]), segments
        )

    def _items(self, likes: pl.DataFrame) -> pl.DataFrame:
        """As a loader makes them: there since they were first liked, as far as is known. What only
        the held-out part knows of says nothing of when it came."""
        items = self.catalogue.items
        if self.tells != "time":
            return items
        first = likes.group_by(id="item_id").agg(created_at=pl.col("occurred_at").min())
        return items.drop("created_at").join(first, on="id", how="left", maintain_order="left")

    def _csr(self, kept: Mask, values: NDArray) -> sparse.csr_array:
        pairs, shape = (self.rows[kept], self.columns[kept]), (len(self.users), len(self.items))
        return sparse.csr_array((values[kept], pairs), shape=shape)


@dataclass(frozen=True)
class Cut:
    """What is learnt from and what is judged by: masks over a log."""

    train: Mask
    wanted: Mask


@dataclass(frozen=True)
class Protocol:
    """A log, and how it is cut. The users of all cuts are judged together.

    Attributes:
        k: length of the lists.
        newest: what settings are chosen by, inside the training part, is each user's newest;
            False: drawn at random.
        in_time: what is known came before what is judged by, of all users.
    """

    log: Log
    cuts: list[Cut]
    k: int
    newest: bool
    in_time: bool

    @classmethod
    def of(
        cls, log: Log, cuts: list[Cut], *, k: int = 10, newest: bool, in_time: bool = False
    ) -> Self:
        """With the profile's settings for such a test."""
        held_back = "newest" if newest else "random"
        profile = log.profile
        sections = {
            "recommenders": profile.recommenders | {"blend": BlendSettings(held_back=held_back)},
            "ranker": profile.ranker.model_copy(update={"held_back": held_back}),
        }
        if not in_time:  # what is popular now is no better a guess than what always was
            whole = profile.popularity.model_copy(update={"overall_share": 1.0})
            sections["popularity"] = whole
        log = replace(log, profile=profile.model_copy(update=sections))
        return cls(log, cuts, k, newest, in_time)


def films(path: Path | None) -> Log:
    """A folder of MovieLens; None: MovieLens 100K as the sample's wheel carries it. Every rating is
    a like, as in Microsoft's table."""
    sample = movielens.read(path or movielens.sample_path())
    ratings = sample.raw["interactions"]
    likes = ratings.select(
        "user_id",
        "item_id",
        seconds=to_times(ratings["timestamp"], "epoch_s").dt.timestamp("us") / 1e6,
        value="rating",
    )
    # Dates of films are those of their first rating, be it held out.
    items = None if sample.items is None else sample.items.drop("created_at")
    return Log.of(likes, items=items, users=sample.users, tells="time")


def ml_100k(path: Path | None) -> Protocol:
    """A random quarter of each film's ratings is judged by: ``python_stratified_split`` of
    Microsoft's Recommenders."""
    log = films(path)
    train = stratified_split(log.columns, share=0.75, seed=42)
    return Protocol.of(log, [Cut(train, ~train)], newest=False)


def ml_windows(path: Path | None) -> Protocol:
    """A folder of MovieLens in windows of time."""
    log = films(path)
    return Protocol.of(log, windows(log.rows, log.seconds), newest=True, in_time=True)


def gowalla(path: Path | None) -> Protocol:
    """``train.npz`` and ``test.npz``, CSR, users by places, as LightGCN's authors cut them."""
    files = (_there(path) / f"{name}.npz" for name in ("train", "test"))
    parts = [sparse.coo_array(sparse.load_npz(file)) for file in files]
    likes = pl.concat(
        [pl.DataFrame(dict(zip(("user", "item"), part.coords, strict=True))) for part in parts]
    )
    train = np.arange(len(likes)) < parts[0].nnz
    named = likes.select(
        user_id=pl.format("u{}", "user"), item_id=pl.format("i{}", "item"), seconds=FIRST
    )
    log = Log.of(named, tells="nothing")
    return Protocol.of(log, [Cut(train, ~train)], k=20, newest=False)


def beauty(path: Path | None) -> Protocol:
    """``sequences.txt`` as ``sequences`` reads it, and ``item_attributes.json``: numbers of
    categories and brands by item."""
    attributes = json.loads((_there(path) / "item_attributes.json").read_text())
    tags = [[f"a{number}" for number in numbers] for numbers in attributes.values()]
    items = pl.DataFrame({"id": list(attributes), "tags": tags})
    return _last_out(_there(path) / "sequences.txt", items)


def sequences(path: Path | None) -> Protocol:
    """A file with a line a user, ``user item item …``, in the order of time: the last is judged
    by."""
    return _last_out(_there(path), None)


DATA: dict[str, Callable[[Path | None], Protocol]] = {
    "ml-100k": ml_100k,
    "ml-windows": ml_windows,
    "gowalla": gowalla,
    "beauty": beauty,
    "sequences": sequences,
}
"""What reads each; the path is that of the command, None: not given."""


def windows(rows: NDArray[np.int64], seconds: NDArray[np.float64]) -> list[Cut]:
    """The log is cut into windows of time. Who comes to the last fifth of what they do within one
    is judged then: known is all before the window, and what those users did up to their own
    moments.

    Most users of MovieLens come once: a cut at one moment leaves 28 of 610 on both sides.

    Args:
        rows: of the user of each like, shape (n,).
    """
    train = not_last(rows, seconds, LAST)
    asked_at = np.full(rows.max() + 1, np.inf)
    np.minimum.at(asked_at, rows[~train], seconds[~train])
    ends = np.quantile(seconds, np.linspace(FIRST_WINDOW, 1, WINDOWS + 1))
    ends[-1] += 1
    cuts = []
    for start, end in pairwise(ends):
        asked = ((asked_at >= start) & (asked_at < end))[rows]
        cuts.append(Cut(np.where(asked, train, seconds < start), asked & ~train))
    return cuts


def not_last(rows: NDArray[np.int64], seconds: NDArray[np.float64], share: float) -> Mask:
    """False for the newest ``share`` of each user's likes, rounded down; what came at the same
    moment stays together, on the older side. O(n log n)."""
    order = np.lexsort((seconds, rows))
    of, at = rows[order], seconds[order]
    start = np.searchsorted(of, of)
    count = np.searchsorted(of, of, side="right") - start
    last_kept = start + np.maximum(np.ceil(count * (1 - share)).astype(np.int64) - 1, 0)
    kept = np.zeros(len(rows), bool)
    kept[order] = at <= at[last_kept]
    return kept


def _last_out(file: Path, items: pl.DataFrame | None) -> Protocol:
    try:
        lines = [line.split() for line in file.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise BenchmarkError(f"--path {file}: {error.strerror}") from error
    if short := next((line for line in lines if len(line) < 3), None):
        raise BenchmarkError(f"{file}: user {short[0]} has fewer than two items: leave them out")
    sequences = pl.DataFrame(
        {"user_id": [line[0] for line in lines], "item_id": [line[1:] for line in lines]}
    )
    place = pl.int_range(pl.len()).over("user_id")
    likes = sequences.explode("item_id").with_columns(seconds=FIRST + place)
    is_earlier = likes.select(pl.col("seconds") < pl.col("seconds").max().over("user_id"))
    kept = is_earlier["seconds"].to_numpy()
    log = Log.of(likes, items=items, tells="order")
    return Protocol.of(log, [Cut(kept, ~kept)], newest=True)


def _there(path: Path | None) -> Path:
    if path is None:
        raise BenchmarkError("--path is needed: this data set does not come with the project")
    return path


_USERS = {
    "id": pl.String,
    "lat": pl.Float64,
    "lon": pl.Float64,
    "city": pl.String,
    "tags": pl.List(pl.String),
    "attributes": pl.String,
}
_ITEMS = {
    "id": pl.String,
    "owner_id": pl.String,
    "title": pl.String,
    "tags": pl.List(pl.String),
    "category": pl.String,
    "city": pl.String,
    "lat": pl.Float64,
    "lon": pl.Float64,
    "price_min": pl.Float64,
    "price_max": pl.Float64,
    "status": pl.String,
    "capacity": pl.Int32,
    "created_at": TIME,
    "publish_at": TIME,
    "starts_at": TIME,
    "attributes": pl.String,
}
_OWNERS = {
    "id": pl.String,
    "average_rating": pl.Float64,
    "completion_rate": pl.Float64,
    "finished_jobs": pl.Int64,
}


def _whole(frame: pl.DataFrame | None, schema: dict) -> pl.DataFrame:
    """The frame with all columns of the schema, null where it has none."""
    if frame is None:
        return pl.DataFrame(schema=schema)
    missing = [
        pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in frame.columns
    ]
    return frame.with_columns(missing).select(
        pl.col(name).cast(kind) for name, kind in schema.items()
    )
