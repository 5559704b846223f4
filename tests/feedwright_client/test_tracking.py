"""No event is lost while there is room, none is sent as two, and nobody waits for one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime

import httpx
import pytest

from feedwright_client import AsyncFeedwright, Event, Feedwright, Rejected
from feedwright_client.outbox import Outbox, new_event
from tests.feedwright_client.conftest import Ingest, wait_for

AWAY = "http://127.0.0.1:9"


def test_events_go_in_batches_by_number_and_by_time(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedwright_client.outbox.BATCH_SECONDS", 4.0)
    with Feedwright(ingest.url) as client:
        for number in range(450):
            client.track("view", user_id="u", item_id=f"i{number}")
        wait_for(lambda: len(ingest.requests) == 2)
        time.sleep(0.3)
        assert [len(batch) for batch in ingest.requests] == [200, 200]  # the rest may wait
        wait_for(lambda: len(ingest.stored) == 450)
        assert client.flush()
    assert [event["item_id"] for batch in ingest.requests for event in batch] == [
        f"i{number}" for number in range(450)
    ]


def test_a_retry_is_the_same_event(ingest: Ingest) -> None:
    ingest.failures = [503, 429, 0, 500]
    with Feedwright(ingest.url) as client:
        event_id = client.track("click", user_id="u", item_id="i", metadata={"position": 1})
        assert client.flush()
        assert client.counts.sent == 1
        assert client.counts.duplicates == 1  # the cut answer was of a batch that was stored
    assert len(ingest.requests) == 5
    assert all(batch == ingest.requests[0] for batch in ingest.requests)
    assert [key[0] for key in ingest.stored] == [event_id]


def test_refused_events_are_told(ingest: Ingest) -> None:
    told: list[Rejected] = []
    with Feedwright(ingest.url, on_rejected=told.append) as client:
        client.track("stare", user_id="u", item_id="i")
        client.track("view", user_id="u", item_id="i")
        assert client.flush()
        ingest.key = "other"
        client.track("save", user_id="u", item_id="i")
        assert client.flush()
        assert (client.counts.sent, client.counts.rejected) == (1, 2)
    assert [one.entry["type"] for one in told] == ["stare", "save"]
    assert told[0].reasons == ["type: unknown type"]
    assert "401: a key is needed" in told[1].reasons[0]


def test_events_over_the_limit_of_their_user_are_held_and_nobody_elses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    monkeypatch.setattr("feedwright_client.outbox.monotonic", lambda: now)
    outbox = Outbox(max_events=5)
    good = {"outcome": "accepted"}
    over = {"outcome": "rejected", "field": "user_id", "reason": "slow down", "retry_after": 7}
    bad = {"outcome": "rejected", "field": "type", "reason": "unknown"}

    def add(user: str, item: str) -> bool:
        return outbox.add(new_event("view", user, item, None, None, None))

    def sends(*results: Mapping[str, object]) -> list[str]:
        batch = outbox.take()
        assert outbox.settle(httpx.Response(202, json={"results": results}))
        return [f"{event['user_id']} {event['item_id']}" for event in batch]

    for user, item in (("ann", "1"), ("bob", "1"), ("eve", "1"), ("bob", "2")):
        add(user, item)
    assert sends(good, over, bad, over) == ["ann 1", "bob 1", "eve 1", "bob 2"]
    assert outbox.due_in() == outbox.due_in(hurried=True) == 7.0
    add("bob", "3")
    add("ann", "2")
    assert (outbox.due_in(), outbox.due_in(hurried=True)) == (1.0, 0.0)
    assert add("eve", "2")
    assert not add("eve", "3")  # those that are held have their place too
    assert sends(good, good) == ["ann 2", "eve 2"]
    assert outbox.take() == []
    now += 7.0
    assert outbox.due_in() == 0.0
    assert sends(good, over, over) == ["bob 1", "bob 2", "bob 3"]
    now += 7.0
    assert sends(good, good) == ["bob 2", "bob 3"]
    assert (outbox.counts.sent, outbox.counts.rejected, outbox.counts.dropped) == (6, 1, 1)
    assert (len(outbox), outbox.due_in()) == (0, None)


def test_others_are_sent_while_a_user_who_is_over_the_limit_waits(ingest: Ingest) -> None:
    ingest.limited = {"bob": 2}
    with Feedwright(ingest.url) as client:
        client.track("view", user_id="bob", item_id="i1")
        client.track("view", user_id="bob", item_id="i2")
        assert not client.flush(0.2)
        client.track("view", user_id="ann", item_id="i")
        assert client.flush()
    assert [event["user_id"] for event in ingest.stored.values()] == ["ann", "bob", "bob"]
    assert ingest.times[-1] - ingest.times[0] >= 1.0


@pytest.mark.parametrize("is_async", [False, True])
def test_closing_waits_for_no_limit_and_hands_back_what_it_holds(
    ingest: Ingest, is_async: bool
) -> None:
    ingest.limited, ingest.retry_after = {"bob": 1}, 600.0
    items = ["1", "2"]

    def use(client: Feedwright | AsyncFeedwright) -> None:
        for item in items:
            client.track("view", user_id="bob", item_id=item)
        client.track("view", user_id="ann", item_id="3")

    async def close() -> list[Event]:
        client = AsyncFeedwright(ingest.url)
        use(client)
        assert not await client.flush(1.0)
        return await client.close(timeout=300.0)

    began = time.monotonic()
    if is_async:
        left = asyncio.run(close())
    else:
        client = Feedwright(ingest.url)
        use(client)
        assert not client.flush(1.0)
        left = client.close(timeout=300.0)
    assert time.monotonic() - began < 200
    assert [event["item_id"] for event in left] == ["1"]
    assert {event["item_id"] for event in ingest.stored.values()} == {"2", "3"}


def test_closing_while_the_server_is_away_hands_back_all() -> None:
    client = Feedwright(AWAY)
    ids = [client.track("view", user_id="u", item_id=str(number)) for number in range(3)]
    assert [event["event_id"] for event in client.close(timeout=0.1)] == ids
    assert client.counts.dropped == 3
    assert client.close() == []


def test_a_batch_that_is_too_large_is_halved(ingest: Ingest) -> None:
    ingest.failures = [413, 413]
    with Feedwright(ingest.url) as client:
        for number in range(100):
            client.track("view", user_id="u", item_id=f"i{number}")
        assert client.flush()
    assert [len(batch) for batch in ingest.requests] == [100, 50, 25, 50, 25]
    assert len(ingest.stored) == 100


def test_nobody_waits_and_memory_is_bounded() -> None:
    client = Feedwright(AWAY, max_queued=100)
    start = time.monotonic()
    for _ in range(1_000):
        client.track("view", user_id="u", item_id="i")
    assert time.monotonic() - start < 10
    assert client.counts.dropped == 900
    assert not client.flush(0.1)
    client.close(0.2)
    assert client.counts.dropped == 1_000
    assert time.monotonic() - start < 30
    with pytest.raises(RuntimeError, match="closed"):
        client.track("view")
    with pytest.raises(ValueError, match="time zone"):
        Feedwright(AWAY).track("view", occurred_at=datetime(2026, 1, 1))


@pytest.mark.parametrize(
    "program",
    [
        "from feedwright_client import Feedwright\n"
        "Feedwright(URL).track('view', user_id='u', item_id='i')",
        "from feedwright_client import Feedwright\nclient = Feedwright(URL)\n"
        "for n in range(300): client.track('view', user_id='u', item_id=str(n))",
        "import asyncio\nfrom feedwright_client import AsyncFeedwright\n"
        "async def main():\n    global client\n    client = AsyncFeedwright(URL)\n"
        "    client.track('view', user_id='u', item_id='i')\n    await asyncio.sleep(0)\n"
        "asyncio.run(main())",
    ],
)
def test_the_end_of_the_program_sends_the_rest(ingest: Ingest, program: str) -> None:
    subprocess.run([sys.executable, "-c", f"URL = {ingest.url!r}\n{program}"], check=True)
    assert len(ingest.stored) == (300 if "range" in program else 1)


def test_a_forked_process_sends_its_own(ingest: Ingest) -> None:
    program = f"""
import os
from feedwright_client import Feedwright
client = Feedwright({ingest.url!r})
client.track("view", user_id="parent", item_id="i")
if os.fork() == 0:
    client.track("view", user_id="child", item_id="i")
    client.close()
    os._exit(0)
os.wait()
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    users = [event["user_id"] for batch in ingest.requests for event in batch]
    assert sorted(users) == ["child", "parent"]


def test_the_async_client_tracks_too(ingest: Ingest) -> None:
    ingest.failures = [503]
    ingest.limited = {"bob": 1}

    async def work() -> None:
        async with AsyncFeedwright(ingest.url) as client:
            client.track("view", user_id="bob", item_id="i")
            assert not await client.flush(0.2)
            for number in range(450):
                client.track("view", user_id="u", item_id=f"i{number}")
            assert await client.flush()
            assert len(ingest.stored) == 451
            assert list(ingest.stored.values())[-1]["user_id"] == "bob"
            client.track("click", user_id="u", item_id="i")
            deadline = time.monotonic() + 120
            while len(ingest.stored) < 452:  # by itself, after a second
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            client.track("stare", user_id="u", item_id="i")
        assert (client.counts.sent, client.counts.rejected) == (452, 1)

    asyncio.run(work())
    assert max(len(batch) for batch in ingest.requests) == 200
