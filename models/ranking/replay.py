"""Lessons for the feed's ranker: a past moment made again, and what came of it.

The catalogue is laid out as it was at the moment, with the recommender that was trained up to then,
so no score has seen its outcome. Each user who came back is looked at as the server would have:
their history up to then, candidates by the same code, rules, the recommender's first items, and
the features at the moment when they came. What they then liked of those is wanted. What they were
shown besides is left out: it would be there because it was shown, and the ranker would learn to
tell it by its low rank.

Clicks come from what was looked at, so rows are weighted against position bias (Joachims,
Swaminathan and Schnabel 2017)::

    liked             1 / (examination of its position * propensity), at most ``MOST_WEIGHT``
    shown, passed by  examination of its position: at the foot of a page it may not have been seen
    never shown       ``unshown_weight``: nobody knows
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.catalogue.building import Vectors, build_snapshot
from models.catalogue.fold_in import FoldIn, fold_in_of
from models.catalogue.history import CODES, Events, events_since, history_of
from models.catalogue.live import LiveCatalogue
from models.catalogue.viewer import Indices, Viewer
from models.data.matrices import recent_items
from models.data.similarities import top_neighbours
from models.data.top import top_places
from models.feed.context import DEVICES, Context, Device
from models.feed.lists import patient
from models.feed.pipeline import model_scores
from models.feed.rules import allowed
from models.feed.shortlists import Shortlists
from models.feed.sources import Indexes, SourceGuard, candidates
from models.profile.schema import Profile
from models.ranking.calibration import MOST_WEIGHT, examination
from models.ranking.learned import MADE
from models.ranking.settings import Kind
from models.ranking.table import Table
from models.recommenders.base import Dataset, Progress

LAST_POSITION = 50
"""Examination is told apart up to there; deeper ones count as this."""
LEAST_IMPRESSIONS = 1_000
"""With fewer that tell their position, all positions count the same."""
CLICK_WITHIN = "1h"
"""What a user does with an item is put down to the last time that they were shown it (at that
position, where they tell it), if that was so lately."""


@dataclass(frozen=True)
class World:
    """A catalogue as it was, with all that the server makes ready for it.

    Attributes:
        now: epoch seconds; nothing that happened later is in it.
        past: what users did before, columns of ``told``.
    """

    live: LiveCatalogue
    profile: Profile
    now: float
    past: pl.DataFrame
    shortlists: Shortlists
    indexes: Indexes
    fold_in: FoldIn | None


@dataclass(frozen=True)
class Lesson:
    """n rows, one visit after the other; in each the recommender's best first.

    Attributes:
        labels: bool, shape (n,): liked after the moment.
        shown: bool, shape (n,): whether the user was shown it after the moment.
        weights: float32, shape (n,).
        groups: rows of each visit, int64.
        items: int32, shape (n,), rows of the catalogue.
    """

    table: Table
    labels: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    weights: NDArray[np.float32]
    groups: NDArray[np.int64]
    items: Indices

    @property
    def visits(self) -> NDArray[np.int64]:
        """Number of the visit that each row is of."""
        return np.repeat(np.arange(len(self.groups)), self.groups)

    def only(self, visits: NDArray[np.bool_]) -> Lesson:
        """The rows of those visits, a mask."""
        kept = np.repeat(visits, self.groups)
        return Lesson(
            Table(self.table.names, self.table.values[kept]),
            self.labels[kept],
            self.shown[kept],
            self.weights[kept],
            self.groups[visits],
            self.items[kept],
        )


class Visit(NamedTuple):
    """When a user came back, on what, and what they had to do with: rows of items, ascending,
    whether they were shown it, its position (0: not told) and propensity, whether they liked it."""

    moment: float
    device: Device | None
    items: Indices
    shown: NDArray[np.bool_]
    positions: NDArray[np.int64]
    propensities: NDArray[np.float64]
    liked: NDArray[np.bool_]


def told(interactions: pl.LazyFrame) -> pl.DataFrame:
    """With what the metadata tell: position (from 1), propensity, seconds, attended and device,
    null where nothing is told. Only rows of a user and an item.

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


def world_at(known: Dataset, vectors: Vectors, past: pl.DataFrame) -> World:
    """The catalogue at ``known.as_of``, ready to rank from.

    Items that were made later are in it, as recommenders score them, but hidden.

    Args:
        vectors: of a recommender that was trained on ``known``.
        past: what users did before, as ``told`` gives it.
    """
    profile, now = patient(known.profile), known.as_of
    later = pl.col("created_at") > now
    items = known.catalogue.items.with_columns(
        created_at=pl.when(~later).then("created_at"),
        status=pl.when(later).then(pl.lit("draft")).otherwise("status"),
    )
    k, share = profile.similarity.neighbours, profile.matrix.common_item_share
    matrix = known.matrix
    live = LiveCatalogue(
        build_snapshot(
            replace(known.catalogue, items=items),
            matrix,
            profile,
            now=now,
            vectors=vectors,
            user_neighbours=top_neighbours(matrix.liked, k, max_share=share),
            item_neighbours=top_neighbours(matrix.liked.T.tocsr(), k),
            recent=recent_items(past, matrix.users, matrix.items, profile.interaction_weights),
        )
    )
    return World(
        live,
        profile,
        now.timestamp(),
        past,
        Shortlists.of(live, profile, now.timestamp(), np.random.default_rng(0)),
        Indexes.of(live, profile, now=now.timestamp()),
        fold_in_of(live),
    )


def viewers(world: World, users: list[str], moments: NDArray[np.float64]) -> Iterator[Viewer]:
    """Each user as the server would know them at their moment: what the snapshot says, and what
    their own events of the last while do.

    Args:
        moments: epoch seconds, shape (users,).
    """
    live, profile = world.live, world.profile
    since = events_since(world.now, profile, world.now)
    at = pl.col("occurred_at").dt.timestamp("us") / 1e6
    rows = (
        world.past.with_columns(at=at)
        .filter(pl.col("at") >= since, pl.col("user_id").is_in(users))
        .filter(pl.col("type").is_in(list(CODES)), pl.col("type") != "impression")
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
            world.fold_in,
            trained_at=world.now,
            now=world.now,
        )
        yield live.viewer(user, history=history, now=moment)


def lesson(
    world: World,
    later: pl.DataFrame,
    kind: Kind,
    *,
    max_users: int,
    unshown_weight: float,
    seed: int = 0,
    progress: Progress | None = None,
) -> Lesson:
    """The first visits of at most ``max_users`` users after the world's moment.

    A few ms a user. Users whom the recommender does not know are left out.

    Args:
        later: what users did after the moment, as ``told`` gives it.
    """
    live, profile, make = world.live, world.profile, MADE[kind][0]
    users = sorted(set(later["user_id"].unique()) & set(live.users.ids.to_list()))
    if len(users) > max_users:
        chosen = np.random.default_rng(seed).choice(len(users), max_users, replace=False)
        users = [users[place] for place in np.sort(chosen)]
    visits = dict(_visits(live, profile, later.filter(pl.col("user_id").is_in(users))))
    moments = np.array([visits[user].moment for user in users])
    seen, guard = examined(world.past, profile), SourceGuard()
    parts: list[tuple[Table, NDArray, NDArray, NDArray, Indices]] = []
    for done, viewer in enumerate(viewers(world, users, moments), 1):
        visit = visits[viewer.user_id or ""]
        rows, sources = _offered(world, viewer, guard, visit.moment)
        if len(rows):
            context = Context.at(visit.moment, visit.device)
            table = make(live, viewer, profile, rows, sources, now=visit.moment, context=context)
            parts.append((table, *_outcome(rows, visit, seen, unshown_weight), rows))
        if progress is not None:
            progress(done, len(users))
    names = MADE[kind][1]
    if not parts:
        nothing = np.zeros(0)
        values = np.zeros((0, len(names)), np.float32)
        return Lesson(
            Table(names, values), nothing > 0, nothing > 0, nothing.astype(np.float32),
            nothing.astype(np.int64), nothing.astype(np.int32),
        )  # fmt: skip
    tables, labels, shown, weights, items = zip(*parts, strict=True)
    return Lesson(
        Table(names, np.concatenate([table.values for table in tables])),
        np.concatenate(labels),
        np.concatenate(shown),
        np.concatenate(weights),
        np.array([len(one) for one in labels], np.int64),
        np.concatenate(items),
    )


def examined(past: pl.DataFrame, profile: Profile) -> NDArray[np.float64]:
    """How likely each position is looked at, beside the first, shape (last position,); all 1
    where too few impressions told theirs."""
    shown = (
        past.filter(pl.col("type") == "impression", pl.col("position").is_not_null())
        .sort("occurred_at")
        .with_row_index("impression")
    )
    if len(shown) < LEAST_IMPRESSIONS:
        return np.ones(1)
    liking = [name for name, weight in profile.interaction_weights.items() if weight > 0]
    liked = past.filter(pl.col("type").is_in(liking)).sort("occurred_at")
    taken, pair = np.zeros(len(shown)), ["user_id", "item_id"]
    for place, by in ((pl.col("position").is_not_null(), [*pair, "position"]),
                      (pl.col("position").is_null(), pair)):  # fmt: skip
        led_to = liked.filter(place).join_asof(
            shown.select("occurred_at", "impression", *by),
            on="occurred_at",
            by=by,
            tolerance=CLICK_WITHIN,
            check_sortedness=False,
        )
        taken[led_to["impression"].drop_nulls().to_numpy()] = 1
    return examination(
        shown["item_id"].rank("dense").to_numpy(),
        np.minimum(shown["position"].to_numpy(), LAST_POSITION),
        taken,
    )


def _offered(
    world: World, viewer: Viewer, guard: SourceGuard, moment: float
) -> tuple[Indices, NDArray[np.uint16]]:
    """What the recommender would have put first, its best first."""
    live, profile = world.live, world.profile
    found = candidates(live, viewer, profile, world.shortlists, world.indexes, guard)
    may = allowed(live, viewer, profile, found.rows, now=moment)
    rows, sources = found.rows[may], found.sources[may]
    best = top_places(model_scores(live, viewer, rows), profile.ranker.rerank)
    return rows[best], sources[best]


def _outcome(
    rows: Indices, visit: Visit, seen: NDArray[np.float64], unshown_weight: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float32]]:
    """Label, whether it was shown, and weight of each row."""
    there = np.isin(rows, visit.items)
    if not there.any():
        nothing = np.zeros(len(rows), bool)
        return nothing, nothing, np.full(len(rows), unshown_weight, np.float32)
    place = np.minimum(np.searchsorted(visit.items, rows), len(visit.items) - 1)
    labels, shown = there & visit.liked[place], there & visit.shown[place]
    position = np.minimum(visit.positions[place], len(seen))
    look = np.where(shown & (position > 0), seen[np.maximum(position - 1, 0)], 1.0)
    chance = np.where(shown, visit.propensities[place], 1.0)
    wanted = np.minimum(1 / np.maximum(look * chance, 1e-9), MOST_WEIGHT)
    passed = np.where(shown, np.minimum(look, 1), unshown_weight)
    return labels, shown, np.where(labels, wanted, passed).astype(np.float32)


def _visits(
    live: LiveCatalogue, profile: Profile, later: pl.DataFrame
) -> Iterator[tuple[str, Visit]]:
    """What came of each user's time after the moment."""
    weight = pl.col("type").replace_strict(
        dict(profile.interaction_weights), default=0.0, return_dtype=pl.Float64
    )
    pairs = (
        later.with_columns(row=_rows_of(live, later["item_id"]), weight=weight)
        .group_by("user_id", "row")
        .agg(
            liked=pl.col("weight").sum() > 0,
            shown=(pl.col("type") == "impression").any(),
            position=pl.col("position").min().fill_null(0),
            propensity=pl.col("propensity").filter(pl.col("type") == "impression").max(),
            moment=pl.col("occurred_at").min().dt.timestamp("us") / 1e6,
            device=pl.col("device").sort_by("occurred_at").drop_nulls().first(),
        )
        .sort("user_id", "row")
    )
    for (user,), of_user in pairs.group_by("user_id", maintain_order=True):
        known = of_user.filter(pl.col("row") >= 0, pl.col("shown") | pl.col("liked"))
        device = of_user.sort("moment")["device"].drop_nulls()
        kind = device[0] if len(device) else None
        yield (
            str(user),
            Visit(
                of_user["moment"].min(),  # type: ignore[arg-type]
                kind if kind in DEVICES else None,
                known["row"].to_numpy(),
                known["shown"].to_numpy(),
                known["position"].to_numpy(),
                known["propensity"].fill_null(1.0).clip(1e-3, 1.0).to_numpy(),
                known["liked"].to_numpy(),
            ),
        )


def _events(live: LiveCatalogue, rows: pl.DataFrame) -> Events:
    """As ``models.catalogue.history`` takes them: columns of all users, one after the other."""
    n, row = len(rows), _rows_of(live, rows["item_id"]).to_numpy()
    known = row >= 0
    tags = np.full((n, live.items.tags.shape[1]), -1, np.int32)
    tags[known] = live.items.tags[row[known]]
    numbers = np.arange(n, dtype=np.uint64)
    return Events(
        ids=np.column_stack([numbers, numbers]),
        items=row,
        types=rows["type"]
        .replace_strict(list(CODES), list(CODES.values()), return_dtype=pl.Int8)
        .to_numpy(),
        times=rows["at"].to_numpy(),
        dwell=rows["seconds"].fill_null(float("nan")).to_numpy(),
        tags=tags,
        categories=np.where(known, live.items.category[row], -1).astype(np.int32),
        cities=np.where(known, live.items.city[row], -1).astype(np.int32),
    )


def _starts(users: pl.Series) -> dict[str, tuple[int, int]]:
    """First row and the one after the last of each user, of rows in the order of users."""
    counted = users.rle().struct.unnest() if len(users) else pl.DataFrame({"len": [], "value": []})
    ends = counted["len"].cast(pl.Int64).cum_sum().to_list()
    begins = [0, *ends[:-1]]
    return dict(zip(counted["value"].to_list(), zip(begins, ends, strict=False), strict=True))


def _rows_of(live: LiveCatalogue, items: pl.Series) -> pl.Series:
    """Row of each item in the catalogue, int32, -1: not there."""
    return pl.Series("row", live.snapshot.items.ids.indices(items), dtype=pl.Int32)
