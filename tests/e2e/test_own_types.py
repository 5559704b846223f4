"""A type of the profile's own goes the whole way, from an event or a file to the next feed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import psycopg
import pytest
from dagster import AssetCheckSeverity

from data_checks.interactions import check_interactions, rows_without_type
from models.catalogue.history import history_of
from models.catalogue.live import LiveCatalogue
from models.data.interactions.matrices import interaction_matrix
from models.feed.reasons import reasons, texts_of
from models.feed.scoring.scores import explained
from models.profile.schema import Profile, load_profile
from models.ranking.training.examples import examples
from orchestration.data.checks import types_result
from serving.routes.reads.features import user_features
from serving.state.catalogue import load_catalogue
from serving.state.user_states import as_events
from storage.catalogue.queries import read
from storage.events import history, quarantine, telemetry
from storage.loading.load import load
from storage.loading.mapping import read_mapping
from storage.loading.proposal.proposal import propose
from storage.loading.proposal.written import written
from storage.loading.readers import read_log
from storage.operations import variant_counts
from storage.postgres.database import connect
from tests.models.worlds import ago, interactions_frame, shelf_of_rows
from tests.serving.ingest_app import event, ingest_on

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
SHOP = """
name: shop
interaction_types:
  purchase: {weight: 8, wanted: true, counts_as: conversion, words: [buy],
             reason: "Because you bought {title}"}
  refund: {weight: -8, undoes: [purchase]}
  play: {weight: 2, timed: true, counts_as: click}
interaction_weights: {click: 2, view: 1}
engagement_weights: {click: 2, view: 1}
scorer_weights: {collaborative: 1}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    file = tmp_path_factory.mktemp("shop") / "shop.yaml"
    file.write_text(SHOP)
    return load_profile(str(file))


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


def test_from_events_to_counts_matrix_and_features(
    shop: Profile, database: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    types, at = shop.interaction_types, NOW - timedelta(hours=1)
    conn.execute("INSERT INTO feed.users (id) VALUES ('u1'), ('u2')")
    conn.execute("INSERT INTO feed.items (id, capacity) VALUES ('i1', 5), ('i2', 5)")
    events = [
        event(type="click", occurred_at=(at - timedelta(minutes=9)).isoformat()),
        event(type="purchase", occurred_at=at.isoformat()),
        event(type="play", item_id="i2", occurred_at=at.isoformat(), metadata={"seconds": 60}),
        event(type="purchase", user_id="u2", occurred_at=at.isoformat()),
        event(type="refund", user_id="u2", occurred_at=(at + timedelta(minutes=1)).isoformat()),
        event(type="teleport"),
    ]
    with ingest_on(lambda: database, tmp_path, types=lambda: types) as api:
        body = api.post("interactions", json=events).json()
    assert [one["outcome"] for one in body["results"]] == ["accepted"] * 5 + ["rejected"]
    assert "purchase" in body["results"][5]["reason"]

    telemetry.refresh_engagement(conn, (24,), shop.engagement_weights, types)
    counts = "SELECT item_id, applies, clicks FROM feed.engagement_metrics ORDER BY item_id"
    assert conn.execute(counts).fetchall() == [("i1", 2, 1), ("i2", 0, 1)]
    variant_counts.count_new(conn, types, conversion_hours=72, days=7, now=datetime.now(UTC))
    totals = "SELECT sum(clicks)::int, sum(applies)::int, sum(dwells)::int FROM feed.variant_hours"
    assert conn.execute(totals).fetchone() == (2, 1, 1)

    snapshot = load_catalogue(database, shop)
    live = LiveCatalogue(snapshot)
    u1, u2 = live.viewer("u1"), live.viewer("u2")
    assert [live.item_id(row) for row in u1.applied] == ["i1"]
    assert len(u2.applied) == 0
    assert snapshot.items.applied[live.find_item("i1")] == 1
    bought = live.find_item("i1")
    assert dict(zip(u1.liked, u1.liked_weights, strict=True))[bought] == pytest.approx(np.log1p(10))
    view = SimpleNamespace(live=live, viewer=u1, state=SimpleNamespace(model_version=None))
    shown = user_features(cast(Any, view))["recent"]
    assert {(one["item_id"], one["type"]) for one in shown} == {("i1", "purchase"), ("i2", "play")}

    async def asked() -> Any:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            return (
                await history.events_of(connection, "u1", 0.0, 10, types),
                await history.applied_counts(connection, ["i1", "i2"], types),
await history.arrived(
                    connection, (history.NEVER, 0.0), shop.engagement_weights, types
                ),
            )  # fmt: skip

    rows, applied, new = asyncio.run(asked())
    assert applied == {"i1": 1}
    assert {(one.item_id, one.clicks, one.applied) for one in new.items} == {
        ("i1", 1, True), ("i2", 1, False)
    }  # fmt: skip
    online = history_of(
        LiveCatalogue(snapshot), "new", as_events(rows, live, types), shop, None,
        trained_at=0.0, now=time.time(),
    )  # fmt: skip
    assert online.applied.tolist() == u1.applied.tolist()
    assert online.seen.tolist() == u1.seen.tolist()


def test_files_call_it_as_they_like(
    shop: Profile, conn: psycopg.Connection, tmp_path: Path
) -> None:
    types = shop.interaction_types
    rows = [f"u{n % 3},i{n % 5},{word},2024-05-0{n % 5 + 1}" for n, word in
            enumerate(["buy", "purchase", "click", "refund", "play"] * 4)]  # fmt: skip
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,event,timestamp", *rows]))
    text = written(propose(tmp_path, types))
    mapping = read_mapping(text, "the proposal", types)
    assert mapping.types == {"buy": "purchase"}
    report = load(conn, read_log(tmp_path, mapping=mapping, types=types))
    assert report.rejected == 0
    found = conn.execute("SELECT type, count(*) FROM feed.interactions GROUP BY 1 ORDER BY 1")
    assert found.fetchall() == [("click", 4), ("play", 4), ("purchase", 8), ("refund", 4)]


def test_it_gives_reasons_and_examples(shop: Profile) -> None:
    rows = [
        *(("anna", "bought", "purchase", ago(days=9)), ("ben", "bought", "purchase", ago(days=8))),
        *(("anna", "other", "refund", ago(days=8)), ("ben", "other", "purchase", ago(days=7))),
    ]
    shelf = shelf_of_rows(
        [{"id": "anna"}, {"id": "ben"}],
        [{"id": "bought", "title": "A lamp"}, {"id": "other"}],
        interactions=rows,
        profile=shop,
    )
    viewer, row = shelf.viewer("anna"), np.array([shelf.live.find_item("other")], np.int32)
    components = explained(shelf.live, viewer, shop, row, now=ago(days=0).timestamp())
    components.pop("model", None)
    [reason] = reasons(shelf.live, viewer, shop, row, components)
    assert (reason.code, reason.text) == ("because_of_purchase", "Because you bought A lamp")
    assert texts_of(shop)[reason.code] == "Because you bought {title}"
    made = examples(
        interactions_frame(rows), pl.DataFrame({"id": ["bought", "other"]}), shop.interaction_types
    )
    wanted = made.filter(label=1).select("user_id", "item_id", "weight").rows()
    assert sorted(wanted) == [
        ("anna", "bought", 1.0), ("ben", "bought", 1.0), ("ben", "other", 1.0)
    ]  # fmt: skip


def test_rows_of_a_type_that_was_dropped_wait_for_it(
    shop: Profile, database: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    without = load_profile("social")
    with ingest_on(lambda: database, tmp_path, types=lambda: shop.interaction_types) as api:
        body = api.post("interactions", json=[event(type="purchase"), event(type="view")]).json()
    assert body["accepted"] == 2

    def matrix(profile: Profile) -> Any:
        log = read(database, "SELECT user_id, item_id, type, occurred_at FROM feed.interactions")
        live = shelf_of_rows([{"id": "u1"}], [{"id": "i1"}]).live
        ids = live.users.ids, live.snapshot.items.ids
        return interaction_matrix(log, *ids, profile.interaction_weights, profile.interaction_types)

    for profile, waiting, value in ((without, {"purchase": 1}, 1.0), (shop, {}, 9.0)):
        types = profile.interaction_types
        assert quarantine.quarantine_interactions(conn, NOW - DAY, NOW + DAY, types=types) == {}
        assert check_interactions(profile, database).success
        assert rows_without_type(conn, types) == waiting
        warning = types_result(conn, profile)
        assert warning.severity is AssetCheckSeverity.WARN
        assert warning.passed is not bool(waiting)
        assert ("purchase (1)" in str(warning.description)) is bool(waiting)
        assert matrix(profile).values.data.tolist() == [value]
