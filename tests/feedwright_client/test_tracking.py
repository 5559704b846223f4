"""No event is lost while there is room, none is sent as two, and nobody waits for one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from datetime import datetime

import httpx
import pytest

from feedwright_client import AsyncFeedwright, Feedwright, Rejected
from feedwright_client.outbox import Outbox, new_event
from tests.feedwright_client.conftest import Ingest, wait_for

AWAY = "http://127.0.0.1:9"


def test_events_go_in_batches_by_number_and_by_time(ingest: Ingest) -> None:
    with Feedwright(ingest.url) as client:
        for number in range(450):
            client.track("view", user_id="u", item_id=f"i{number}")
        wait_for(lambda: len(ingest.requests) == 2)
        time.sleep(0.3)
        assert [len(batch) for batch in ingest.requests] == [200, 200]  # the rest may wait a second
        wait_for(lambda: len(ingest.stored) == 450, 2)
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


def test_events_over_the_limit_of_their_user_alone_are_sent_again() -> None:
    outbox = Outbox()
    for user in ("ann", "bob", "eve"):
        outbox.add(new_event("view", user, "i", None, None, None))
    outbox.take()
    results = [
        {"outcome": "accepted"},
        {"outcome": "rejected", "field": "user_id", "reason": "slow down", "retry_after": 7},
        {"outcome": "rejected", "field": "type", "reason": "unknown"},
    ]
    assert not outbox.settle(httpx.Response(202, json={"results": results}))
    assert [event["user_id"] for event in outbox.take()] == ["bob"]
    assert outbox.settle(httpx.Response(202, json={"results": results[:1]}))
    assert (outbox.counts.sent, outbox.counts.rejected, len(outbox)) == (2, 1, 0)


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
    assert time.monotonic() - start < 0.5
    assert client.counts.dropped == 900
    assert not client.flush(0.1)
    client.close(0.2)
    assert client.counts.dropped == 1_000
    assert time.monotonic() - start < 3
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

    async def work() -> None:
        async with AsyncFeedwright(ingest.url) as client:
            for number in range(450):
                client.track("view", user_id="u", item_id=f"i{number}")
            assert await client.flush()
            assert len(ingest.stored) == 450
            client.track("click", user_id="u", item_id="i")
            await asyncio.sleep(1.3)
            assert len(ingest.stored) == 451
            client.track("stare", user_id="u", item_id="i")
        assert (client.counts.sent, client.counts.rejected) == (451, 1)

    asyncio.run(work())
    assert max(len(batch) for batch in ingest.requests) == 200
