"""Pages of one feed fit together, whatever happens while somebody scrolls."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from models.catalogue.viewers.viewer import Viewer
from models.feed.pipeline import FeedPipeline, Query
from models.feed.ranking import Ranking
from models.profile.schema import SHIPPED
from serving.feed.lists import FeedLists
from storage.settings import Settings
from tests.serving.conftest import Worker, running_worker
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import make_snapshot

KNOWN = {"user_id": "u0007", "exclude_seen": False, "exclude_applied": False}
"""Whose feed another version does not shorten, that knows more of what they did."""


def follow(worker: Worker, page: dict[str, Any]) -> list[str]:
    """Ids of this page and of all after it."""
    ids = [item["item_id"] for item in page["items"]]
    while page["next"]:
        page = worker.client.get(page["next"]).json()
        ids += [item["item_id"] for item in page["items"]]
    return ids


def swap(worker: Worker, version: str) -> None:
    worker.publish(version, make_snapshot(version, items=70, seed=3))
    worker.wait_for(lambda: worker.app.live.state.model_version == version)


@pytest.mark.parametrize("by", ["next", "offset"])
def test_a_swap_in_between_neither_repeats_nor_skips(worker: Worker, by: str) -> None:
    first = worker.feed(**KNOWN, limit=7)
    whole = follow(worker, first)
    swap(worker, "2")
    if by == "next":
        rest = worker.client.get(first["next"]).json()
        assert rest["model_version"] == "1", "the one that ranked this feed"
        assert follow(worker, first) == whole
    else:
        pages = [worker.feed(**KNOWN, limit=7, offset=offset) for offset in range(7, 70, 7)]
        assert whole[7:] == [item["item_id"] for page in pages for item in page["items"]]
    assert worker.feed(**KNOWN, limit=7)["model_version"] == "2", "a new visit"


def test_a_worker_that_never_saw_it_goes_on_with_a_feed(worker: Worker) -> None:
    first = worker.feed(**KNOWN, limit=7)
    whole = follow(worker, first)
    swap(worker, "2")
    # As in a process that started after the swap.
    worker.app.engine._kept._translations._ids.clear()
    lists = worker.app.engine._kept._lists
    lists._at_hand = type(lists._at_hand)()
    assert follow(worker, first) == whole


def test_what_is_removed_while_scrolling_is_left_out_and_moves_nothing(
    worker: Worker, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO feed.items (id) SELECT 'i' || lpad(n::text, 4, '0')"
                           " FROM generate_series(0, 59) AS n WHERE n % 10 <> 9")  # fmt: skip
        worker.wait_for(lambda: "i0001" in changed(worker))
        first = worker.feed(**KNOWN, limit=10)
        whole = follow(worker, first)
        gone = {whole[3], whole[14]}
        connection.execute("DELETE FROM feed.items WHERE id = ANY(%s)", (list(gone),))

    def second() -> list[int]:
        return [item["rank"] for item in worker.client.get(first["next"]).json()["items"]]

    worker.wait_for(lambda: 15 not in second())
    assert second() == [11, 12, 13, 14, 16, 17, 18, 19, 20]
    assert follow(worker, first) == [*whole[:10], *(id for id in whole[10:] if id not in gone)]
    again = worker.feed(**KNOWN, limit=10, feed_id=first["feed_id"])
    assert [item["item_id"] for item in again["items"]] == [*whole[:3], *whole[4:10]]
    # The total falls with its items, and not with what the user does on the way.
    assert again["total"] == len(follow(worker, again)) == len(whole) - len(gone)
    dismissed = {"type": "dismiss"}
    for id in (whole[0], whole[20]):
        worker.client.post(
            f"/api/v1/feed/interactions/{id}", params={"user_id": KNOWN["user_id"]}, json=dismissed
        )
    worker.wait_for(lambda: worker.client.get(first["next"]).json()["total"] == len(whole) - 3)


def test_a_feed_ends_with_a_page_that_shows_something(worker: Worker, database: str) -> None:
    first = worker.feed(**KNOWN, limit=10)
    last = follow(worker, first)[10:]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO feed.items (id, status)"
            " SELECT id, 'removed' FROM unnest(%s::text[]) AS id",
            (last,),
        )

    def again() -> dict[str, Any]:
        return worker.feed(**KNOWN, limit=10, feed_id=first["feed_id"])

    worker.wait_for(lambda: not again()["has_more"])
    page = again()
    assert (page["total"], page["next"], len(page["items"])) == (10, None, 10)


def test_a_new_item_can_appear_within_two_seconds(worker: Worker, database: str) -> None:
    worker.feed(**KNOWN)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO feed.items (id, title) VALUES ('brand new', 'Brand new')")
    worker.wait_for(lambda: "brand new" in follow(worker, worker.feed(**KNOWN, limit=100)))


def test_a_feed_is_ranked_once_for_all_its_pages(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked: list[str] = []

    def rank(self: FeedPipeline, viewer: Viewer, query: Query, **options: Any) -> Ranking:
        ranked.append(str(query.by))
        return real(self, viewer, query, **options)

    real = FeedPipeline.rank
    monkeypatch.setattr(FeedPipeline, "rank", rank)
    first = worker.feed(user_id="u0011", limit=10)
    follow(worker, first)
    worker.feed(user_id="u0011", limit=10)
    assert len(ranked) == 1
    worker.feed(user_id="u0011", limit=10, exclude_seen=True)
    assert len(ranked) == 2


def test_nobody_reads_the_feed_of_another(worker: Worker) -> None:
    mine = worker.feed(user_id="u0007", limit=5)
    theirs = worker.feed(user_id="u0008", limit=5, offset=5, feed_id=mine["feed_id"])
    assert theirs["feed_id"] != mine["feed_id"]


def test_old_feeds_are_forgotten_and_answered_anew(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = worker.feed(**KNOWN, limit=5)
    later = time.time() + 3600
    monkeypatch.setattr(worker.app.engine, "_clock", lambda: later)
    page = worker.client.get(old["next"]).json()
    assert page["items"]
    assert page["feed_id"] != old["feed_id"]
    lists: FeedLists = worker.app.engine._kept._lists
    lists.purge(later + 3600)
    assert lists.get(old["feed_id"]) is None


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_jumps_keeps_no_feed_as_it_was(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    first = worker.feed(**KNOWN, limit=5)
    jumped = time.time() + days * 86_400
    monkeypatch.setattr(worker.app.engine, "_clock", lambda: jumped)
    again = worker.feed(**KNOWN, limit=5)
    assert again["items"]
    assert again["feed_id"] != first["feed_id"]  # ranked by what is there now
    assert worker.feed(**KNOWN, limit=5)["feed_id"] == again["feed_id"]
    seen = {item["item_id"] for item in again["items"]}
    after = worker.client.get(again["next"]).json()["items"]
    assert after
    assert not seen & {item["item_id"] for item in after}


def changed(worker: Worker) -> set[str]:
    catalogue = worker.app.live.state.catalogue
    assert catalogue is not None
    return {catalogue.live.item_id(row) for row in catalogue.live.changed_items}


def test_a_changed_profile_is_in_force_at_once(
    postgres_url: str, worker_settings: Settings, mlflow: FakeMlflow, tmp_path: Path
) -> None:
    file = tmp_path / "own.yaml"
    marketplace = (SHIPPED / "marketplace.yaml").read_text()
    strict = "eligibility: {exclude_seen: true, "
    file.write_text(marketplace.replace("eligibility: {", "eligibility: {exclude_seen: false, "))
    settings = worker_settings.model_copy(update={"profile": str(file)})
    with running_worker(settings, mlflow, "1") as worker:
        catalogue = worker.app.live.state.catalogue
        assert catalogue is not None
        live = catalogue.live
        seen = {live.item_id(row) for row in live.viewer("u0007").seen.tolist()}
        first = worker.feed(user_id="u0007", limit=100)
        assert seen & set(follow(worker, first))
        file.write_text(marketplace.replace("eligibility: {", strict))
        worker.wait_for(
            lambda: not seen & set(follow(worker, worker.feed(user_id="u0007", limit=100))), 2
        )
        old = worker.feed(user_id="u0007", limit=100, feed_id=first["feed_id"])
        assert old["feed_id"] == first["feed_id"]
        assert not seen & {item["item_id"] for item in old["items"]}, "rules hold for old feeds too"
        file.write_text(marketplace.replace("max_distance_km: 50", "max_distance_km: -1"))
        worker.wait_for(
            lambda: "max_distance_km" in str(worker.client.get("/api/v1/status").json()), 2
        )
        assert not seen & set(follow(worker, worker.feed(user_id="u0007", limit=100)))
