"""The champion's tables learn what users did since: over a real Postgres, lake and MLflow."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import numpy as np
import polars as pl
import psycopg
import pytest

from models.catalogue.snapshots.refreshed import RefreshedTables, folder_of
from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.tables.kinds import ItemTable
from models.catalogue.tables.stored import Blend
from models.data.ids import IdIndex
from models.recommenders.incremental.likes import Likes
from models.recommenders.incremental.state import TableState, makers_of
from models.recommenders.zoo import make
from models.versions.version import ModelVersion
from orchestration.data.lake_days import write_days
from orchestration.resources import Platform
from orchestration.snapshots import served_snapshot
from serving.versions.download import download
from storage.catalogue import queries
from storage.events import changed
from storage.events.lake import Extent
from storage.loading.load import load
from storage.loading.samples.marketplace import generate
from storage.postgres.database import connect
from storage.privacy import people
from storage.registry.registry import Registry
from storage.settings import Settings, mlflow_tracking_uri
from tests.models.worlds import catalogue_of_log, dataset_of, snapshot_of
from tests.orchestration.conftest import run_job

NAMES = ("transitions", "item_knn")


@dataclass
class World:
    """An installation whose champion has two tables, made of all that the lake has."""

    platform: Platform
    instance: dg.DagsterInstance
    conn: psycopg.Connection
    snapshot: Snapshot

    @property
    def registry(self) -> Registry:
        return self.platform.registry

    @property
    def champion(self) -> ModelVersion:
        found = self.registry.champion()
        assert found is not None
        return found

    def refresh(self) -> dict[str, object]:
        """The metadata of an hourly run."""
        result = run_job(self.instance, "tables")
        assert result.success
        (event,) = result.asset_materializations_for_node("refreshed_tables")
        return {name: value.value for name, value in event.metadata.items()}

    def refreshed(self) -> RefreshedTables:
        stamp = self.champion.refreshed
        assert stamp is not None
        folder = self.platform.settings.snapshots / self.champion.version
        return RefreshedTables.load(folder_of(folder, stamp))

    def whole(self, added: list[str]) -> dict[str, ItemTable]:
        """The tables of all that is in Postgres."""
        url, ids = self.platform.url, self.snapshot.items.ids.to_list()
        users = IdIndex.of(changed.users_there(url))
        rows = changed.histories_of(url, users.to_list())
        items = IdIndex.in_order(pl.Series([*ids, *added]))
        likes = Likes.of(rows.lazy(), users, items, self.platform.profile)
        return TableState.of(likes, makers_of(self.snapshot.tables)).tables(self.snapshot.tables)

    def did(self, user: str, item: str, kind: str = "save", ago: float = 0.0) -> None:
        self.conn.execute(
            "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
            " VALUES (%s, %s, %s, %s, now() - %s * interval '1 second')",
            (uuid4(), user, item, kind, ago),
        )


@pytest.fixture
def world(small: Settings) -> Iterator[World]:
    log = generate(50, 60, 1_500, days=6, seed=4, now=datetime.now(UTC) - timedelta(hours=1))
    platform = Platform()
    with connect(platform.url, autocommit=True) as conn, dg.DagsterInstance.get() as instance:
        load(conn, log)
        for entity, moment in (("users", "updated_at"), ("interactions", "received_at")):
            conn.execute(f"UPDATE feed.{entity} SET {moment} = now() - interval '1 hour'")
        days = queries.changed_days(conn, None)
        write_days(logging.getLogger(), platform, days)
        platform.lake.set_extent(Extent(days[0], datetime.now(UTC)))
        rows = platform.lake.scan().collect()
        dataset = dataset_of(catalogue_of_log(log), rows, as_of=datetime.now(UTC))
        trained = [make(name, platform.profile).fit(dataset).vectors for name in NAMES]
        assert trained[0] is not None
        tables = {
            name: vectors.tables[name]
            for name, vectors in zip(NAMES, trained, strict=True)
            if vectors
        }
        vectors = replace(trained[0], tables=tables, blend=Blend(dict.fromkeys(NAMES, 1.0)))
        made = snapshot_of(dataset, vectors, recommender="blend", interactions=rows)
        snapshot = replace(made, manifest=replace(made.manifest, model_version="1"))
        registry = platform.registry
        run = registry.client.create_run(registry.experiment_id())
        version = registry.register(run.info.run_id, "nowhere", {})
        registry.add_snapshot(version, snapshot.save(small.snapshots / version.version))
        registry.activate(version.version)
        yield World(platform, instance, conn, snapshot)


def same(ours: RefreshedTables, whole: dict[str, ItemTable]) -> bool:
    return ours.tables.keys() == whole.keys() and all(
        np.array_equal(getattr(table.related, part), getattr(whole[name].related, part))
        for name, table in ours.tables.items()
        if isinstance(table, ItemTable)
        for part in table.related._fields
    )


def test_tables_follow_what_users_did_and_no_longer_did(world: World) -> None:
    first = world.refresh()
    assert first["tables"] == "transitions, item_knn"
    assert same(world.refreshed(), world.whole([]))

    # What is undone, new, of a new user, with a new item.
    (user, item), (other, _) = world.conn.execute(
        "SELECT user_id, min(item_id) FROM feed.interactions WHERE type = 'save'"
        " GROUP BY user_id ORDER BY user_id LIMIT 2"
    ).fetchall()
    world.conn.execute("INSERT INTO feed.items (id, status) VALUES ('brand new', 'published')")
    world.conn.execute("INSERT INTO feed.users (id) VALUES ('a newcomer \"\\{}')")
    for _ in range(40):
        world.did(user, item, "dismiss")
    for ago, touched in enumerate(["brand new", item, "unknown"]):
        world.did('a newcomer "\\{}', touched, ago=ago * 60.0)
    world.did("nobody", item)
    second = world.refresh()
    assert second["users_changed"] == 3
    assert second["items_added"] == 1
    refreshed = world.refreshed()
    assert refreshed.added == ["brand new"]
    assert same(refreshed, world.whole(["brand new"]))

    # Erased, and kept long enough.
    old = datetime.now(UTC) - timedelta(days=3)

    async def erase() -> None:
        async with await psycopg.AsyncConnection.connect(world.platform.url) as conn:
            await people.erase(conn, other)

    asyncio.run(erase())
    days = world.platform.profile.privacy.retention_days
    world.conn.execute("DELETE FROM feed.interactions WHERE occurred_at < %s::date", (old,))
    world.conn.execute(
        "INSERT INTO feed.watermarks VALUES ('retention', %s::date + %s * interval '1 day')",
        (old, days),
    )
    world.refresh()
    assert same(world.refreshed(), world.whole(["brand new"]))
    assert (
        other
        not in TableState.load(world.platform.settings.home / "pipeline/table-state")[
            0
        ].likes.users.to_list()
    )

    # Nothing more: the version keeps what it has, and MLflow the newest two.
    stamp = world.champion.refreshed
    assert world.refresh()["published"] == "nothing changed"
    assert world.champion.refreshed == stamp
    kept = world.registry.client.list_artifacts(world.champion.run_id, "refreshed")
    assert len(kept) == 2


def test_another_machine_fetches_them(world: World, tmp_path: Path) -> None:
    """A worker by its command, and the pipeline for ready lists."""
    world.refresh()
    version, stamp = world.champion, world.champion.refreshed
    assert stamp is not None
    shutil.rmtree(folder_of(world.platform.settings.snapshots / version.version, stamp))
    snapshot = served_snapshot(world.platform, version)
    assert snapshot.refreshed == stamp
    assert same(world.refreshed(), world.whole([]))
    tracking = mlflow_tracking_uri(world.platform.settings, world.platform.url)
    fetched = tmp_path / "1" / "refreshed" / stamp
    tables = RefreshedTables.load
    for _ in range(2):  # the second finds it there
        download(tracking, version.run_id, f"refreshed/{stamp}", fetched, load=tables)
    assert same(tables(fetched), world.whole([]))


def away(*_: object) -> None:
    raise dg.Failure("MLflow is away", allow_retries=False)


def test_a_refresh_that_fails_leaves_the_last_good_tables(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.refresh()
    stamp = world.champion.refreshed
    (user,) = world.conn.execute(
        "SELECT user_id FROM feed.interactions WHERE user_id IS NOT NULL GROUP BY 1"
        " ORDER BY count(*) DESC, 1 LIMIT 1"
    ).fetchone() or ("",)
    (item,) = world.conn.execute(  # that is new to them: something changes
        "SELECT item_id FROM feed.interactions WHERE item_id IS NOT NULL AND item_id NOT IN"
        " (SELECT item_id FROM feed.interactions WHERE user_id = %s AND item_id IS NOT NULL)"
        " ORDER BY 1 LIMIT 1",
        (user,),
    ).fetchone() or ("",)
    world.did(user, item, "apply")
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "add_tables", away)
        assert not run_job(world.instance, "tables").success
    assert world.champion.refreshed == stamp
    world.refresh()  # what the failed one had read is read again
    assert same(world.refreshed(), world.whole([]))


def test_a_version_that_went_live_is_counted_anew(world: World) -> None:
    world.refresh()
    registry, older = world.registry, world.champion
    made = registry.register(older.run_id, "nowhere", {"snapshot_artifact": "snapshot"})
    snapshot = replace(
        world.snapshot, manifest=replace(world.snapshot.manifest, model_version=made.version)
    )
    snapshot.save(world.platform.settings.snapshots / made.version)
    registry.activate(made.version)
    assert world.champion.refreshed is None
    world.refresh()
    assert same(world.refreshed(), world.whole([]))
    registry.activate(older.version)  # rolled back: to the tables that it had
    assert world.champion.refreshed == older.refreshed
