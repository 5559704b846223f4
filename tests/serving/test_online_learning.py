"""What a user does changes their next feed within two seconds, on the real application."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from models.catalogue.live import LiveCatalogue
from models.profile.schema import load_profile
from serving.postgres.database import DatabaseAway
from serving.state import user_states
from serving.state.touched import Touched
from serving.state.user_states import UserStates
from storage.events.history import EventRow
from storage.postgres.database import connect
from tests.serving.conftest import Worker, running_worker
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import make_snapshot


@pytest.fixture
def sent(worker: Worker) -> Iterator[Callable[..., None]]:
    """Writes an event straight into Postgres, as a product may."""
    assert worker.settings.database_url is not None
    with connect(worker.settings.database_url, autocommit=True) as connection:

        def send(
            user: str | None, item: str | None, type: str, times: int = 1, **metadata: Any
        ) -> None:
            connection.cursor().executemany(
                "INSERT INTO feed.interactions"
                " (event_id, user_id, item_id, type, occurred_at, metadata)"
                " VALUES (%s, %s, %s, %s, clock_timestamp(), %s)",
                [(uuid4(), user, item, type, Jsonb(metadata)) for _ in range(times)],
            )

        worker.wait_for(partial(counting, worker))
        yield send


def live_of(worker: Worker) -> LiveCatalogue:
    catalogue = worker.app.live.state.catalogue
    assert catalogue is not None
    return catalogue.live


def counting(worker: Worker) -> bool:
    """What was there before is counted."""
    return live_of(worker).counted is not None


def ids(page: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in page["items"]]


def soon(worker: Worker, true: Callable[[], bool]) -> None:
    worker.wait_for(true)


def test_what_was_seen_applied_to_or_dismissed_is_gone(
    worker: Worker, sent: Callable[..., None]
) -> None:
    user = "u0007"
    asked = {"user_id": user, "limit": 100}
    plain = asked | {"exclude_seen": False, "exclude_applied": False}
    seen, applied, dismissed = ids(worker.feed(**asked))[:3]
    assert {seen, applied, dismissed} <= set(ids(worker.feed(**plain)))
    sent(user, seen, "view")
    soon(worker, lambda: seen not in ids(worker.feed(**asked)))
    sent(user, applied, "apply")
    soon(
        worker,
        lambda: applied not in ids(worker.feed(**plain | {"exclude_applied": True})),
    )
    sent(user, dismissed, "dismiss")
    soon(worker, lambda: dismissed not in ids(worker.feed(**plain)))
    assert {seen, applied} <= set(ids(worker.feed(**plain)))
    assert dismissed in ids(worker.feed(**plain | {"user_id": "u0008"}))  # who may have seen it
    sent(user, applied, "unapply")
    soon(worker, lambda: applied in ids(worker.feed(**plain | {"exclude_applied": True})))


def test_a_running_feed_keeps_its_places_but_not_what_was_dismissed(
    worker: Worker, sent: Callable[..., None]
) -> None:
    user = "u0009"
    first = worker.feed(user_id=user, limit=5)
    second = worker.client.get(first["next"]).json()
    gone = second["items"][1]
    sent(user, gone["item_id"], "dismiss")
    soon(worker, lambda: gone["item_id"] not in ids(worker.client.get(first["next"]).json()))
    again = worker.client.get(first["next"]).json()
    assert again["feed_id"] == second["feed_id"]
    kept = [(item["item_id"], item["rank"]) for item in second["items"] if item != gone]
    assert [(item["item_id"], item["rank"]) for item in again["items"]] == kept


def test_a_new_users_feed_becomes_their_own(worker: Worker, sent: Callable[..., None]) -> None:
    live = live_of(worker)
    of_tag = {
        live.item_id(row)
        for row in range(60)
        if live.items.published[row] and 0 in live.items.tags[row]
    }

    def of_tag_by_hand() -> int:
        page = worker.feed(user_id="newcomer", limit=10, variant="heuristic")
        return len(of_tag & set(ids(page)))

    before = worker.feed(user_id="newcomer", limit=20)
    assert (before["variant"], before["fallback_reason"]) == ("heuristic", "unknown_user")
    tagged_before = of_tag_by_hand()
    for item in sorted(of_tag)[:3]:
        sent("newcomer", item, "like")
    soon(worker, lambda: worker.feed(user_id="newcomer")["fallback_reason"] is None)
    page = worker.feed(user_id="newcomer", limit=20)
    assert (page["variant"], page["model_version"]) == ("champion", "1")
    assert ids(page) != ids(before)
    assert all(item["reason"] for item in page["items"])
    assert of_tag_by_hand() > tagged_before


def test_searches_make_tags_rise(worker: Worker, sent: Callable[..., None]) -> None:
    def tagged() -> int:
        page = worker.feed(user_id="seeker", limit=10, variant="heuristic")
        found = [live_of(worker).find_item(item) for item in ids(page)]
        tag = live_of(worker).tags.find("café")
        return sum(tag in live_of(worker).items.tags[row] for row in found)

    before = tagged()
    sent("seeker", None, "search", times=5, tags=["café", 7, None, {"no": 1}], city=["no"])
    soon(worker, lambda: tagged() > before)


def test_a_full_item_disappears_for_everybody(worker: Worker, sent: Callable[..., None]) -> None:
    item = ids(worker.feed(user_id="u0011", limit=100))[0]
    assert worker.settings.database_url is not None
    with connect(worker.settings.database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO feed.items (id, title, capacity) VALUES (%s, 'Small', 2)", (item,)
        )
    live = live_of(worker)
    row = live.find_item(item)
    worker.wait_for(lambda: live.items.capacity[row] == 2)
    live.items.applied[row] = 0  # the random snapshot has some of its own
    sent("a", item, "apply", times=3)  # one user, three times
    soon(worker, lambda: live.items.applied[row] == 1)
    assert item in ids(worker.feed(user_id="u0011", limit=100))
    sent("b", item, "apply")
    soon(worker, lambda: item not in ids(worker.feed(user_id="u0011", limit=100)))
    sent("b", item, "unapply")
    soon(worker, lambda: live.items.applied[row] == 1)


def test_counters_are_exact_while_many_write(worker: Worker, sent: Callable[..., None]) -> None:
    """Transactions that overlap, commit late, or are rolled back: each event counts once."""
    live = live_of(worker)
    row = live.find_item("i0005")
    assert row is not None
    live.items.engagement[row] = 0.2
    shown, clicked, engaged = (
        float(getattr(live.items, name)[row]) for name in ("impressions", "clicks", "engagement")
    )
    url = worker.settings.database_url
    assert url is not None

    def write(seconds: float, *, commit: bool = True) -> None:
        with connect(url) as connection:
            for type in ("impression", "click"):
                connection.execute(
                    "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
                    " VALUES (gen_random_uuid(), 'w', 'i0005', %s, now())",
                    (type,),
                )
                time.sleep(seconds)
            (connection.commit if commit else connection.rollback)()

    threads = [
        threading.Thread(target=write, args=(0.05 * n,), kwargs={"commit": n % 4 > 0})
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    soon(worker, lambda: live.items.clicks[row] >= clicked + 12)
    time.sleep(1.2)  # two more looks change nothing
    assert live.items.impressions[row] == shown + 12
    assert live.items.clicks[row] == clicked + 12
    assert live.items.engagement[row] > engaged


def test_impressions_alone_make_no_list_anew(worker: Worker, sent: Callable[..., None]) -> None:
    page = worker.feed(user_id="u0012")
    live = live_of(worker)
    row = live.find_item(ids(page)[0])
    before = int(live.items.impressions[row])
    sent("u0012", ids(page)[0], "impression")
    soon(worker, lambda: live.items.impressions[row] == before + 1)
    assert worker.feed(user_id="u0012")["feed_id"] == page["feed_id"]


def test_another_worker_knows_it_too(
    worker: Worker, sent: Callable[..., None], mlflow: FakeMlflow
) -> None:
    with running_worker(worker.settings, mlflow, "1") as other:
        both = (worker, other)
        asked = {"user_id": "u0013", "limit": 100, "exclude_seen": True}
        item = ids(worker.feed(**asked))[0]

        def shown(one: Worker) -> bool:
            return item in ids(one.feed(**asked))

        for one in both:
            one.wait_for(partial(counting, one))
            assert shown(one)
        sent("u0013", item, "click")
        worker.wait_for(lambda: not any(map(shown, both)))


def test_events_that_a_new_snapshot_lacks_are_not_forgotten(
    worker: Worker, sent: Callable[..., None]
) -> None:
    asked = {"user_id": "u0007", "limit": 100}
    item = ids(worker.feed(**asked))[0]
    sent("u0007", item, "dismiss")
    soon(worker, lambda: item not in ids(worker.feed(**asked)))
    worker.publish("2")
    worker.wait_for(lambda: worker.feed(**asked)["model_version"] == "2")
    assert item not in ids(worker.feed(**asked))


class Fake:
    """Postgres, as slow and as present as the test wants."""

    def __init__(self) -> None:
        self.up = True
        self.seconds = 0.0
        self.asked = 0
        self.rows: list[EventRow] = []
        self.fails = False
        self.answers = asyncio.Event()
        """When it is not set, nothing is answered."""
        self.answers.set()

    async def run(self, work: object) -> list[EventRow]:
        self.asked += 1
        rows = list(self.rows)
        await asyncio.sleep(self.seconds)
        await self.answers.wait()
        if self.fails:
            raise DatabaseAway("gone")
        return rows


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def touched(tmp_path: Path) -> Touched:
    return Touched(tmp_path)


@pytest.fixture
def states(fake: Fake, touched: Touched) -> UserStates:
    profile = load_profile("marketplace")
    return UserStates(fake, touched, lambda: profile)


LIVE = LiveCatalogue(make_snapshot())


def row_of(item: str, type: str = "view") -> EventRow:
    return EventRow(uuid4().bytes, item, type, time.time(), None, None, None, None)


def test_one_question_for_many_requests_and_none_for_the_untouched(
    fake: Fake, touched: Touched, states: UserStates
) -> None:
    async def run() -> None:
        fake.seconds = 0.01
        assert await asyncio.gather(*(states.get("anna", LIVE) for _ in range(20))) == [None] * 20
        assert fake.asked == 1
        for _ in range(5):
            await states.get("anna", LIVE)
        assert await states.get(None, LIVE) is None
        assert fake.asked == 1
        fake.rows = [row_of("i0001")]
        touched.mark(["anna"])
        history = await states.get("anna", LIVE)
        assert fake.asked == 2
        assert history is not None
        assert history.seen.tolist() == [1]
        touched.mark(["anna"])  # nothing that was not known: the same mark, so lists stay
        again = await states.get("anna", LIVE)
        assert again is not None
        assert again.mark == history.mark

    asyncio.run(run())


def test_a_touch_while_the_question_runs_is_not_lost(fake: Fake, touched: Touched) -> None:
    profile = load_profile("marketplace")
    states = UserStates(fake, touched, lambda: profile, patience=10)

    async def run() -> None:
        fake.seconds = 0.3
        asking = asyncio.create_task(states.get("anna", LIVE))
        await asyncio.sleep(0.01)
        fake.rows = [row_of("i0002")]
        touched.mark(["anna"])
        history = await asking
        assert history is not None
        assert history.seen.tolist() == [2]

    asyncio.run(run())


def test_the_feed_does_not_wait_for_a_slow_or_absent_postgres(
    fake: Fake, touched: Touched, states: UserStates
) -> None:
    async def run() -> None:
        fake.rows = [row_of("i0003")]
        known = await states.get("anna", LIVE)
        fake.rows = [row_of("i0003"), row_of("i0004")]
        fake.answers.clear()
        touched.mark(["anna"])
        assert await states.get("anna", LIVE) is known
        fake.answers.set()
        await asyncio.sleep(0.3)  # it comes in meanwhile
        fresh = await states.get("anna", LIVE)
        assert fresh is not None
        assert fresh.seen.tolist() == [3, 4]
        fake.seconds, fake.fails, fake.asked = 0.0, True, 0
        touched.mark(["anna"])
        for _ in range(5):
            assert await states.get("anna", LIVE) is fresh
        assert fake.asked == 1  # left alone for a second
        fake.up = False
        assert await states.get("ben", LIVE) is None

    asyncio.run(run())


def test_what_cannot_be_taken_in_does_not_fail_the_feed(fake: Fake, states: UserStates) -> None:
    async def run() -> None:
        fake.rows = [replace_id(row_of("i0001"))]
        assert await states.get("anna", LIVE) is None
        assert await states.get("anna", LIVE) is None

    asyncio.run(run())


def replace_id(row: EventRow) -> EventRow:
    return row._replace(id=b"short")


def test_few_users_are_kept_at_hand(
    fake: Fake, touched: Touched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_states, "REMEMBERED", 2)
    profile = load_profile("marketplace")
    states = UserStates(fake, touched, lambda: profile)

    async def run() -> None:
        for name in "abcab":
            await states.get(name, LIVE)

    asyncio.run(run())
    assert fake.asked == 5
