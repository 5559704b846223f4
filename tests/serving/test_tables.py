"""What users do counts at once through the score tables, and hourly in them, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from scipy import sparse

from models.catalogue.snapshots.refreshed import MANIFEST, RefreshedTables, folder_of
from models.catalogue.tables.kinds import ItemTable
from models.catalogue.tables.stored import Blend
from models.data.ragged import Ragged
from models.versions.version import REFRESHED_TAG
from storage.postgres.database import connect
from storage.settings import Settings
from tests.serving.conftest import Worker, running_worker
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import make_snapshot

ITEMS = 60
FIRST, LATER = "20261201T092000000000Z", "20261201T102000000000Z"


def leading_to(pairs: Mapping[int, int], items: int = ITEMS) -> ItemTable:
    """Of each item one other follows."""
    related = sparse.csr_array(
        (np.ones(len(pairs)), (list(pairs), list(pairs.values()))), shape=(items, items)
    )
    return ItemTable(Ragged.of(related), made_by={"recommender": "transitions"})


@pytest.fixture
def shown() -> list[int]:
    """Rows of items that anybody may be shown."""
    return np.flatnonzero(make_snapshot("1", items=ITEMS).items.published[:ITEMS]).tolist()


@pytest.fixture
def worker(worker_settings: Settings, mlflow: FakeMlflow, shown: list[int]) -> Iterator[Worker]:
    """Version 1 is a table by which the second item follows from the first."""
    made = make_snapshot.__wrapped__(
        "1",
        items=ITEMS,
        recommender="blend",
        tables={"transitions": leading_to({shown[0]: shown[1]})},
        blend=Blend({"transitions": 1.0}),
    )
    made.save(worker_settings.snapshots / "1")
    mlflow.version = "1"
    with running_worker(worker_settings, mlflow, None) as running:
        running.mlflow.version = "1"
        running.wait_for(lambda: status(running)["model_version"] == "1")
        yield running


def status(worker: Worker) -> dict[str, Any]:
    return worker.client.get("/api/v1/status").json()


def follows(worker: Worker, saved: str, expected: str) -> None:
    """A newcomer who saves the one item is shown the other first. (Lists of others are kept a
    while.)"""
    user = f"newcomer-{uuid4()}"
    event = {"event_id": str(uuid4()), "user_id": user, "item_id": saved, "type": "save"}
    answer = worker.client.post("/api/v1/interactions", json={"interactions": [event]})
    assert answer.status_code < 300, answer.text

    def first() -> str:
        return worker.feed(user_id=user, limit=1, exploration=False)["items"][0]["item_id"]

    worker.wait_for(lambda: first() == expected)


def refreshed(worker: Worker) -> str | None:
    return status(worker)["catalogue"]["tables_refreshed"]


def item_id(worker: Worker, row: int) -> str:
    catalogue = worker.app.live.state.catalogue
    assert catalogue is not None
    return catalogue.live.item_id(row)


def test_events_count_at_once_and_tables_are_swapped_without_a_new_version(
    worker: Worker, shown: list[int]
) -> None:
    saved, next_one, another = (item_id(worker, row) for row in shown[:3])
    follows(worker, saved, next_one)

    # An hour later something else follows, and then an item that came since the training.
    folder = worker.settings.snapshots / "1"
    tables = RefreshedTables("1", FIRST, {"transitions": leading_to({shown[0]: shown[2]})})
    tables.save(folder)
    worker.mlflow.tags[REFRESHED_TAG] = FIRST
    worker.wait_for(lambda: refreshed(worker) == FIRST)
    follows(worker, saved, another)
    assert status(worker)["model_version"] == "1"
    assert worker.settings.database_url is not None
    with connect(worker.settings.database_url, autocommit=True) as conn:
        conn.execute("INSERT INTO feed.items (id, status) VALUES ('brand new', 'published')")
    newer = leading_to({shown[0]: ITEMS}, ITEMS + 1)
    replace(tables, stamp=LATER, tables={"transitions": newer}, added=["brand new"]).save(folder)
    worker.mlflow.tags[REFRESHED_TAG] = LATER
    worker.wait_for(lambda: refreshed(worker) == LATER)
    follows(worker, saved, "brand new")

    # Tables that do not load leave the last good ones, and status says so.
    broken = folder_of(folder, "20261201T112000000000Z")
    broken.mkdir()
    (broken / MANIFEST).write_text("{}")
    worker.mlflow.tags[REFRESHED_TAG] = broken.name
    worker.wait_for(lambda: status(worker)["detail"] is not None)
    assert f"tables {broken.name} of version 1 do not serve" in status(worker)["detail"]
    assert status(worker)["fallback_reason"] is None
    follows(worker, saved, "brand new")
    worker.mlflow.tags[REFRESHED_TAG] = FIRST
    worker.wait_for(lambda: refreshed(worker) == FIRST)
    assert status(worker)["detail"] is None

    # A rollback is of the alias, as ever.
    del worker.mlflow.tags[REFRESHED_TAG]
    worker.publish("2")
    worker.wait_for(lambda: status(worker)["model_version"] == "2")
    assert refreshed(worker) is None


def test_tables_of_another_version_or_size_are_refused(worker: Worker, shown: list[int]) -> None:
    catalogue = worker.app.live.state.catalogue
    assert catalogue is not None
    table = leading_to({shown[0]: shown[1]})
    for wrong, why in (
        (RefreshedTables("2", FIRST, {"transitions": table}), "are of version 2"),
        (RefreshedTables("1", FIRST, {"ease": table}), "name ease"),
        (RefreshedTables("1", FIRST, {"transitions": table}, ["one more"]), "60 rows, expected 61"),
    ):
        with pytest.raises(Exception, match=why):
            wrong.instead_of(catalogue.snapshot)
