"""Synthetic worlds of any size, kept on disk: the log, and a snapshot that can be served.

The log is that of ``storage/samples/marketplace.py``. A snapshot needs no training: its
vectors are random, but clustered by category, and a user's lies where his history does.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse

from benchmarks.common.report import log
from models.catalogue.building import Catalogue, ModelInfo, Vectors, build_snapshot
from models.data.ids import IdIndex
from models.data.interactions.engagement import engagement
from models.data.interactions.matrices import InteractionMatrix, interaction_matrix, recent_items
from models.data.similarities import top_neighbours
from models.feed.candidates.sources import index_of
from models.profile.schema import load_profile
from storage.events.lake import SCHEMA, Lake
from storage.loading.log import Log
from storage.loading.samples import marketplace

FORMAT = 3  # part of the folders' names: raise it when what is in them changes
KEPT_SECONDS = 86_400  # a snapshot must not be older than a champion may be
VERSION = "1"
DIMS = 33  # as LightFM's 32, and one for the trend
PROFILE = load_profile("marketplace")


@dataclass(frozen=True)
class Size:
    users: int
    items: int
    interactions: int

    def __str__(self) -> str:
        return f"{self.users}x{self.items}x{self.interactions}"


@dataclass(frozen=True)
class World:
    """A log on disk: ``users.parquet``, ``items.parquet``, ``owners.parquet`` and the lake."""

    folder: Path

    @property
    def lake(self) -> Lake:
        return Lake(str(self.folder / "lake"))

    @property
    def end(self) -> datetime:
        """The midnight at which the log ends: what is learnt depends on no hour."""
        return midnight(self.lake.days()[-1] + timedelta(days=1))

    def catalogue(self) -> Catalogue:
        users, items, owners = (
            pl.read_parquet(self.folder / f"{name}.parquet")
            for name in ("users", "items", "owners")
        )
        return Catalogue(users, items, owners)


def world(size: Size) -> World:
    """The log of that size; generated unless it is there."""
    return World(_kept(f"log-{size}", lambda draft: _write_log(size, draft)))


def snapshot(size: Size) -> Path:
    """Folder of a snapshot of that size with a model; built unless it is there."""
    return _kept(f"snapshot-{size}", lambda draft: _write_snapshot(world(size), draft))


def log_of(size: Size) -> Log:
    """The same log as frames, for a database. It ends at the last midnight."""
    now = midnight(datetime.now(UTC).date())
    return marketplace.generate(size.users, size.items, size.interactions, now=now)


def midnight(day: date) -> datetime:
    """When a day begins."""
    return datetime.combine(day, datetime.min.time(), UTC)


def _write_log(size: Size, folder: Path) -> None:
    made = log_of(size)
    folder.mkdir()
    for name, frame in made.frames().items():
        if name == "items":  # has no such column; Postgres gives one to the pipeline
            frame = frame.with_columns(publish_at=pl.lit(None, pl.Datetime("us", "UTC")))
        if name != "interactions":
            frame.write_parquet(folder / f"{name}.parquet")
    rows = made.interactions.with_columns(
        received_at=pl.col("occurred_at"), day=pl.col("occurred_at").dt.date()
    ).sort("occurred_at")
    lake = World(folder).lake
    for (day,), part in rows.partition_by("day", as_dict=True).items():
        lake.write_day(day, part.select(list(SCHEMA)))


def _write_snapshot(of: World, folder: Path) -> None:
    now, frames, profile = datetime.now(UTC), of.catalogue(), PROFILE
    interactions = of.lake.scan()
    matrix = interaction_matrix(
        interactions,
        IdIndex.of(frames.users["id"]),
        IdIndex.of(frames.items["id"]),
        profile.interaction_weights,
    )
    counted = engagement(interactions, dict(profile.engagement_weights))
    k = profile.similarity.neighbours
    built = build_snapshot(
        Catalogue(frames.users, frames.items, frames.owners, counted, _trending(counted)),
        matrix,
        profile,
        now=now,
        vectors=clustered_vectors(frames, matrix),
        model=ModelInfo(VERSION, "lightfm_hybrid", now),
        user_neighbours=top_neighbours(matrix.liked, k, max_share=profile.matrix.common_item_share),
        item_neighbours=top_neighbours(matrix.liked.T.tocsr(), k),
        recent=recent_items(interactions, matrix.users, matrix.items, profile.interaction_weights),
    )
    built.save(folder, nearest=index_of(built, profile, now=now.timestamp()))


def clustered_vectors(
    frames: Catalogue, matrix: InteractionMatrix, *, dims: int = DIMS, seed: int = 0
) -> Vectors:
    """Items lie about the centre of their category, users where the items that they liked do."""
    rng = np.random.default_rng(seed)
    where = matrix.items.indices(frames.items["id"])
    code = np.zeros(len(matrix.items), np.int64)
    code[where] = frames.items["category"].rank("dense").fill_null(0).to_numpy()
    centres = rng.standard_normal((code.max(initial=0) + 1, dims), np.float32)
    items = centres[code] + 0.5 * rng.standard_normal((len(code), dims), np.float32)
    liked = sparse.csr_array(matrix.liked)
    total = np.maximum(liked.sum(axis=1), 1e-6)
    users = (liked @ items) / total[:, None]
    users += 0.2 * rng.standard_normal(users.shape, np.float32)
    popular = np.log1p(np.bincount(liked.indices, minlength=len(matrix.items)))
    return Vectors(users.astype(np.float32), items, popular.astype(np.float32))


def _trending(counted: pl.DataFrame) -> pl.DataFrame:
    top = counted.sort("weighted", descending=True).head(200)
    return top.select("item_id", score=pl.col("weighted").rank() / max(len(top), 1))


def _kept(name: str, write: Callable[[Path], None]) -> Path:
    """The folder of that name; ``write(draft)`` makes it, and it appears whole or not at all."""
    parent = Path(tempfile.gettempdir()) / f"feedwright-benchmarks-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    for old in parent.iterdir():
        if time.time() - old.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    folder = parent / f"{name}-{FORMAT}"
    if not folder.exists():
        log.info("making %s", folder.name)
        started = time.monotonic()
        draft = Path(tempfile.mkdtemp(dir=parent, prefix=".draft-"))
        try:
            write(draft / "made")
            (draft / "made").rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        log.info("made %s in %.1f s", folder.name, time.monotonic() - started)
    return folder
