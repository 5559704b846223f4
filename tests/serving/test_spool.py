"""What was acknowledged is stored once: Postgres may stop, and every process may be killed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from starlette.testclient import TestClient

from serving.ingest import spool as spooling
from serving.ingest.spool import HEADER, Spool, SpoolFull
from storage.postgres.database import connect, migrate
from storage.postgres.embedded import EmbeddedPostgres
from tests.conftest import fast_folder
from tests.serving.ingest_app import event, ingest_on
from tests.serving.ingest_process import Sender


def records(spool: Spool) -> list[bytes]:
    """All that there are, and done with."""
    found = []
    while chunk := spool.next(1_000):
        found += chunk.records
        spool.done(chunk)
    return found


def test_records_that_belong_together_are_there_or_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=1_000)
    spool.append(b"a" * 100, b"b" * 100)
    with pytest.raises(SpoolFull):
        spool.append(b"c" * 100, b"d" * 300)
    with pytest.raises(ValueError, match="a record of more than"):
        spool.append(b"e", bytes(spooling.MAX_RECORD + 1))
    assert records(spool) == [b"a" * 100, b"b" * 100]


def only_segment(folder: Path) -> Path:
    (path,) = folder.glob("*.spool")
    return path


def killed(spool: Spool) -> None:
    """As the process of ``spool`` would leave it."""
    spool.close()


def test_records_come_back_in_order_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "SEGMENT_BYTES", 2_000)
    spool = Spool(tmp_path)
    sent = [str(n).encode() * 50 for n in range(300)]
    for one in sent[:200]:
        spool.append(one)
    assert len(list(tmp_path.iterdir())) > 3
    chunk = spool.next(1_000)
    assert chunk is not None
    assert chunk.records == sent[: len(chunk.records)]
    assert spool.next(1_000) == chunk  # not done: it comes again
    for one in sent[200:]:
        spool.append(one)
    assert spool.behind
    assert records(spool) == sent
    assert (spool.behind, spool.size(), list(tmp_path.iterdir())) == (False, 0, [])


def test_a_torn_tail_is_cut_off_and_what_was_before_is_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for n in range(3):
        spool.append(b"%d" % n * 100)
    killed(spool)
    whole = only_segment(tmp_path).read_bytes()
    record = HEADER.size + 100
    for length in (len(whole) - record - 1, len(whole) - record - 105):
        only_segment(tmp_path).write_bytes(whole[:length])
        after = Spool(tmp_path)
        assert after.adopt() == 1
        chunk = after.next(10_000)
        assert chunk is not None
        assert chunk.records == [b"0" * 100, b"1" * 100]  # the third was never acknowledged
        after.close()
    only_segment(tmp_path).write_bytes(whole + bytes(4096))  # as a file system may leave it
    last = Spool(tmp_path)
    last.adopt()
    assert len(records(last)) == 3
    assert list(tmp_path.iterdir()) == []


RECORD = HEADER.size + 100


@pytest.mark.parametrize(
    ("at", "damage", "left"),
    [
        (150, b"x", "012"),  # a payload
        (2 * RECORD, b"\xff" * HEADER.size, "012"),  # a header: its length is no length
        (2 * RECORD, b"\x05\x00\x00\x00", "012"),  # a length that could be one
        (0, bytes(RECORD), "012"),  # zeros
        (5 * RECORD + 50, b"x", "012"),  # the last one
        (2 * RECORD + 50, b"x" * RECORD, "02"),  # both copies of the second
    ],
)
def test_damage_costs_no_event_that_has_a_copy_and_its_file_is_kept(
    tmp_path: Path, at: int, damage: bytes, left: str
) -> None:
    spool = Spool(tmp_path)
    for n in range(3):
        spool.append(b"%d" % n * 100)
    killed(spool)
    with only_segment(tmp_path).open("r+b") as file:
        file.seek(at)
        file.write(damage)
    after = Spool(tmp_path)
    after.adopt()
    assert records(after) == [one.encode() * 100 for one in left]
    assert [path.suffix for path in tmp_path.iterdir()] == [".damaged"]


def test_a_segment_belongs_to_one_process_until_it_ends(tmp_path: Path) -> None:
    one, other = Spool(tmp_path), Spool(tmp_path)
    one.append(b"a")
    assert other.adopt() == 0
    killed(one)
    assert other.adopt() == 1
    assert Spool(tmp_path).adopt() == 0
    assert not other.behind  # it took no event itself
    assert records(other) == [b"a"]


def test_bounded_over_all_processes(tmp_path: Path) -> None:
    one, other = Spool(tmp_path, 2_000), Spool(tmp_path, 2_000)
    one.append(bytes(400))
    other.append(bytes(400))
    for spool in (one, other):
        with pytest.raises(SpoolFull, match="of 2000 bytes"):
            spool.append(bytes(400))
    assert records(one) == [bytes(400)]
    other.append(bytes(400))


def test_a_full_disk_keeps_nothing_by_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.append(b"a")
    with monkeypatch.context() as patch:

        def full(file: int) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fdatasync", full)
        with pytest.raises(SpoolFull, match="No space left"):
            spool.append(b"b")
    spool.append(b"c")
    assert records(spool) == [b"a", b"c"]


@pytest.mark.parametrize("fails", ["fdatasync", "pwrite", "fsync"])
def test_a_full_disk_leaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    spool = Spool(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    before = psutil.Process().num_fds()
    with monkeypatch.context() as patch:
        patch.setattr(os, fails, full)
        for _ in range(20):
            with pytest.raises(SpoolFull, match="No space left"):
                spool.append(b"a")
            assert list(tmp_path.iterdir()) == []
    assert psutil.Process().num_fds() == before
    spool.append(b"b")
    assert records(spool) == [b"b"]


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, to be stopped."""
    with fast_folder() as folder:
        server = EmbeddedPostgres(folder / "postgres", {"fsync": "off"})
        try:
            migrate(server.start())
            yield server
        finally:
            server.remove()


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with connect(url, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def wait_until_empty(folder: Path, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while list(folder.glob("*.spool")):
        assert time.monotonic() < deadline, list(folder.iterdir())
        time.sleep(0.05)


def test_postgres_stops_and_comes_back(server: EmbeddedPostgres, tmp_path: Path) -> None:
    told: set[str] = set()

    def send(client: TestClient, *events: object) -> dict[str, int]:
        answer = client.post("interactions", json=list(events))
        assert answer.status_code == 202, answer.text
        return answer.json()

    events = [event(user_id=f"u{n}", item_id=f"i{n}") for n in range(40)]
    with ingest_on(lambda: server.url, tmp_path, committed=told.update) as client:
        send(client, *events[:10])
        assert told == {f"u{n}" for n in range(10)}
        server.stop()
        for n in range(10, 30, 2):
            assert send(client, *events[n : n + 2], event(type="?"))["accepted"] == 2
        timeless = event(occurred_at=...)
        for _ in range(2):
            assert send(client, timeless, *events[:20])["accepted"] == 21
        taken = [{**events[5], "user_id": "eve"}, {**timeless, "item_id": "eve"}]
        assert send(client, *taken)["accepted"] == 2  # nobody can tell yet
        assert list(tmp_path.glob("*.spool"))
        full = client.app.state.ingest._writer._spool  # type: ignore[attr-defined]
        full._max_bytes = full.size()
        answer = client.post("interactions", json=events[30:])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        server.start()
        wait_until_empty(tmp_path)
        assert send(client, *events)["duplicates"] == 30
        assert told == {f"u{n}" for n in range(40)} | {"u1"}
    ids = rows(server.url, "SELECT event_id::text FROM feed.interactions")
    assert sorted(ids) == sorted((one["event_id"],) for one in [*events, timeless])
    kept = rows(
        server.url,
        "SELECT count(*), count(*) FILTER (WHERE reason LIKE '%another event''s%')"
        " FROM feed.interactions_rejected",
    )
    assert kept == [(12, 2)]


def test_killed_at_any_moment(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Postgres goes and comes too, and two processes share the spool."""
    chance = random.Random(4)
    acknowledged: set[int] = set()
    url, first = server.url, 0
    for round in range(3):
        senders = [Sender(url, tmp_path, first + n * 1_000_000) for n in range(2)]
        first += 2_000_000
        for sender in senders:
            acknowledged.update(sender.acknowledged())  # it is up
        if round > 0:
            server.stop()
        time.sleep(chance.uniform(0, 0.6))
        if round == 2:
            server.start()
            time.sleep(chance.uniform(0, 0.6))
        for sender in senders:
            sender.process.kill()
        for sender in senders:
            acknowledged.update(sender.kill())
        if round == 1:
            server.start()
    with ingest_on(lambda: server.url, tmp_path):
        wait_until_empty(tmp_path)
    stored = rows(url, "SELECT event_id::text FROM feed.interactions")
    found = {UUID(str(id)).int for (id,) in stored}
    assert len(found) == len(stored)  # nothing twice, also where the time is the server's
    assert len(acknowledged) > 500
    assert {number for number in acknowledged if number % 3} <= found
    kept = rows(url, "SELECT raw::jsonb->>'event_id' FROM feed.interactions_rejected")
    assert {n for n in acknowledged if not n % 3} <= {UUID(str(id)).int for (id,) in kept}
