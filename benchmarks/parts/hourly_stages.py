"""An hourly refresh of tables beside what it spares: run by ``benchmarks.train`` as a child."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import polars as pl

from benchmarks.common.stages import fact, stage
from benchmarks.common.worlds import PROFILE, World
from models.catalogue.snapshots.refreshed import RefreshedTables
from models.catalogue.tables.kinds import ItemTable
from models.data.ids import IdIndex
from models.data.ragged import Ragged
from models.profile.recommender_settings import ItemKNNSettings, TransitionsSettings
from models.recommenders.incremental.likes import Likes
from models.recommenders.incremental.state import Counted, TableState, affordable

ONE_OF = 1_000
"""Rows came within the hour: drawn evenly, so of nearly as many users."""
EVERYTHING = PROFILE.model_copy(
    update={"interaction_weights": dict.fromkeys(PROFILE.interaction_types.names, 1.0)}
)
"""Whatever a user did says that they like it: the most that there can be to count."""
SETTINGS = {"transitions": TransitionsSettings(), "item_knn": ItemKNNSettings()}


def run(world: World) -> None:
    """From everything but the rows of the hour, then with them."""
    catalogue, rows = world.catalogue(), world.lake.scan()
    users, items = IdIndex.of(catalogue.users["id"]), IdIndex.of(catalogue.items["id"])
    made_by = [
        {"recommender": name, "settings": of.model_dump(mode="json"), "items": len(items)}
        for name, of in SETTINGS.items()
    ]
    hour = pl.col("event_id").hash(0) % ONE_OF == 0
    before = Likes.of(rows.filter(~hour), users, items, EVERYTHING)
    kept = affordable(made_by, before)
    state = TableState.of(before, kept)
    served = {one["recommender"]: ItemTable(Ragged.empty(len(items)), made_by=one) for one in kept}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state.save(folder / "state", {})
        del state, before
        with stage("hourly refresh"):
            state, _ = TableState.load(folder / "state")
            changed = _users(rows.filter(hour))
            theirs = rows.filter(pl.col("user_id").is_in(changed.implode()))
            likes = Likes.of(theirs, IdIndex.of(changed), items, EVERYTHING)
            state = state.updated(changed, likes)
            tables = state.tables(served)
            RefreshedTables("1", "1", tables).save(folder)
            state.save(folder / "state", {})
        size = sum(file.stat().st_size for file in (folder / "state").iterdir())
    with stage("full build"):
        whole = TableState.of(Likes.of(rows, users, items, EVERYTHING), kept)
    fact("liked", whole.likes.histories.liked.nnz)
    fact("rows of the hour", rows.filter(hour).select(pl.len()).collect().item())
    fact("users of the hour", len(changed))
    fact("state bytes", size)
    fact("tables", len(kept))
    both = zip(state.counted, whole.counted, strict=True)
    fact("differences", sum(_differences(one, other) for one, other in both))


def _users(rows: pl.LazyFrame) -> pl.Series:
    return rows.select(pl.col("user_id").drop_nulls().unique()).collect()["user_id"]


def _differences(one: Counted, other: Counted) -> int:
    return int(abs(one.related - other.related).count_nonzero())


if __name__ == "__main__":
    run(World(Path(sys.argv[1])))
