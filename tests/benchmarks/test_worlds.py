"""Worlds: what is made is whole, and made once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common import worlds
from benchmarks.common.worlds import Size
from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.feed.pipeline import FeedPipeline, Query
from models.profile.schema import load_profile

SIZE = Size(60, 150, 3_000)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_snapshot_can_be_served(folder: Path) -> None:
    snapshot = Snapshot.load(worlds.snapshot(SIZE))
    assert (len(snapshot.users.ids), len(snapshot.items.ids)) == (60, 150)
    assert snapshot.has_model
    live, profile = LiveCatalogue(snapshot), load_profile("marketplace")
    now = np.nanmax(snapshot.items.created_at)
    pipeline = FeedPipeline.offline(live, profile, now=now)
    pages = [
        pipeline.rank(live.viewer(snapshot.users.ids[user]), Query(now, "model")).rows[:20].tolist()
        for user in (0, 1)
    ]
    assert pages[0] != pages[1]


def test_it_is_made_once(folder: Path) -> None:
    first = worlds.snapshot(SIZE)
    stamp = (first / "manifest.json").stat().st_mtime_ns
    assert worlds.snapshot(SIZE) == first
    assert (first / "manifest.json").stat().st_mtime_ns == stamp
    assert worlds.snapshot(Size(60, 150, 2_000)) != first


def test_the_lake_holds_the_whole_log(folder: Path) -> None:
    world = worlds.world(SIZE)
    rows = world.lake.scan().collect()
    assert len(rows) == 3_000
    frames = world.catalogue()
    assert (len(frames.users), len(frames.items)) == (60, 150)
    assert rows["user_id"].is_in(frames.users["id"].implode()).all()


def test_vectors_are_clustered(folder: Path) -> None:
    """Items of one category lie nearer to each other than to the rest."""
    snapshot = Snapshot.load(worlds.snapshot(SIZE))
    items = slice(len(snapshot.items.ids))
    vectors, category = snapshot.items.vectors[items], snapshot.items.category[items]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    same = category[:, None] == category[None, :]
    assert cosine[same].mean() > cosine[~same].mean() + 0.3
