"""Lists are shared by real processes, survive their death, and never make a request fail."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import time
import zlib
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import lmdb
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.feed.candidates.sources import RANKED, SEEN, names_of
from serving.feed import feed_list
from serving.feed import lists as feed_lists
from serving.feed.feed_list import (
    COLUMNS,
    LENGTHS,
    PREFIX,
    FeedList,
    decode,
    encode,
    new_feed_id,
)
from serving.feed.lists import FeedLists
from serving.runner import DAMAGE

KEY = bytes(16)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def a_list(n: int = 100, now: float | None = None, seed: int = 0) -> FeedList:
    rng = np.random.default_rng(seed)
    now = time.time() if now is None else now
    return FeedList(
        feed_id=new_feed_id(now),
        made_at=now,
        catalogue="7",
        rows=rng.integers(-1, 10**6, n).astype(np.int32),
        scores=rng.random(n, np.float32),
        sources=rng.integers(0, 2**16, n).astype(np.uint16),
        propensities=rng.random(n, np.float32),
        explored=rng.random(n) < 0.1,
        chances=rng.random((n, 2), np.float32),
        extra_ids=["i-1", "ünïcode"],
        meta={"model_version": "7", "variant": "champion", "fallback_reason": None}
        | {"actions": ["click", "save"]},
    )


def same(one: FeedList | None, other: FeedList) -> bool:
    return one is not None and encode(one) == encode(other)


def key_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


@given(st.integers(0, 50), st.integers(0, 2**32))
def test_what_goes_in_comes_out(n: int, seed: int) -> None:
    given = a_list(n, now=1e9, seed=seed)
    found = decode(encode(given))
    assert found is not None
    for name, kind in COLUMNS:
        np.testing.assert_array_equal(getattr(found, name), getattr(given, name))
        assert getattr(found, name).dtype == kind
        assert getattr(found, name).flags.aligned
    np.testing.assert_array_equal(found.chances, given.chances)
    for name in ("feed_id", "made_at", "catalogue", "extra_ids", "meta"):
        assert getattr(found, name) == getattr(given, name)


def test_bits_of_sources_are_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a release with other sources, and of one that did not name them yet."""
    masks = np.array([1, 8, 256, 1 << 14, 1 << 15, 1 | 8 | 1 << 15], np.uint16)
    made = replace(a_list(len(masks), now=1e9), sources=masks)
    other = {"near": 1, "new": 2, "model": 4, "explore": 8}
    with monkeypatch.context() as later:
        later.setattr(feed_list, "BITS", other)
        now = encode(made)
    found = decode(now)
    assert found is not None
    assert [names_of(mask) for mask in found.sources.tolist()] == [
        ["near"], ["explore"], [], [], [], ["near", "explore"]
    ]  # fmt: skip
    assert (found.sources & (RANKED | SEEN) == masks & (RANKED | SEEN)).all()
    assert same(decode(as_before(encode(made))), made)


def as_before(record: bytes) -> bytes:
    """The record as the release before wrote it."""
    size, n = LENGTHS.unpack_from(record, PREFIX.size)
    start = PREFIX.size + LENGTHS.size
    header = orjson.loads(record[start : start + size])
    del header["bits"]
    text = orjson.dumps(header)
    text += b" " * (-len(text) % 4)
    body = LENGTHS.pack(len(text), n) + text + record[start + size :]
    return PREFIX.pack(b"FwL1", zlib.crc32(body)) + body


@given(st.data())
def test_a_damaged_list_is_a_miss(data: st.DataObject) -> None:
    whole = encode(a_list(20, now=1e9))
    place = data.draw(st.integers(0, len(whole) - 1))
    assert decode(whole[:place]) is None
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    # A changed length of the header or count of entries is seen too: they are in the checksum.
    assert decode(bytes(changed)) is None


def test_ids_are_in_the_order_of_time() -> None:
    ids = [new_feed_id(1e9 + second / 10) for second in range(50)]
    assert ids == sorted(ids)
    assert len({new_feed_id(1e9) for _ in range(100)}) == 100
    assert {len(id) for id in ids} == {32}


def test_what_is_no_feed_id_is_a_miss(tmp_path: Path) -> None:
    lists = FeedLists(tmp_path)
    for id in ("", "x", "0" * 31, "zz" * 16, "0" * 32, "ab" * 500, "\ud800", " " * 32):
        assert lists.get(id) is None
    with pytest.raises(ValueError, match="key"):
        lists.put(b"short", a_list())
    lists.close()


def _worker(folder: Path, key: bytes, n: int, done: Event) -> None:
    lists = FeedLists(folder)
    lists.put(key, a_list(n, seed=1))
    lists.close()
    done.set()


def test_another_process_makes_a_newer_list(tmp_path: Path) -> None:
    lists, mine, done = FeedLists(tmp_path), a_list(), PROCESSES.Event()
    lists.put(KEY, mine)
    assert same(lists.latest(KEY), mine)
    process = PROCESSES.Process(target=_worker, args=(tmp_path, KEY, 10, done))
    process.start()
    process.join()
    assert done.is_set()
    newer = lists.latest(KEY)
    assert newer is not None
    assert len(newer.rows) == 10
    assert same(lists.get(mine.feed_id), mine)
    lists.close()
    again = FeedLists(tmp_path)  # a worker that was started anew
    assert same(again.get(mine.feed_id), mine)
    assert same(again.latest(KEY), newer)
    again.close()


def _writes_until_killed(folder: Path, number: int, begun: Event) -> None:
    lists = FeedLists(folder, max_bytes=2**21)
    for turn in range(10**9):
        lists.put(key_of(number), a_list(1000, seed=turn % 7))
        if turn == 50:
            begun.set()


def test_killed_while_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two processes fill a small file over and over and are killed; a third goes on."""
    monkeypatch.setattr(feed_lists._AtHand, "put", lambda *_: None)
    lists = FeedLists(tmp_path, max_bytes=2**21)
    whole = {a_list(1000, seed=seed).rows.tobytes() for seed in range(7)}
    for _ in range(2):
        begun = [PROCESSES.Event() for _ in range(2)]
        processes = [
            PROCESSES.Process(target=_writes_until_killed, args=(tmp_path, number, event))
            for number, event in enumerate(begun)
        ]
        for process in processes:
            process.start()
        for event in begun:
            assert event.wait(60)
        for process in processes:
            assert process.is_alive()
            process.kill()
            process.join()
        for reopened in (False, True):
            if reopened:
                lists.close()
                lists = FeedLists(tmp_path, max_bytes=2**21)
            for number in range(2):
                found = lists.latest(key_of(number))
                assert found is None or found.rows.tobytes() in whole
            assert any(lists.latest(key_of(number)) for number in range(2))
            lists.put(key_of(7), mine := a_list())
            assert same(lists.latest(key_of(7)), mine)
    assert lists.purge(time.time() + 10**6) > 0
    assert lists.latest(key_of(7)) is None
    assert not caplog.records
    lists.close()


def test_the_oldest_go_when_it_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However long the lists: in pages of their own, or several to a page."""
    for n in (0, 100, 1000):
        lists = FeedLists(tmp_path / str(n), max_bytes=2**20)
        made = [a_list(n, now=1e9 + second) for second in range(4000 if n == 0 else 400)]
        for number, one in enumerate(made):
            lists.put(key_of(number), one)
        lists.close()
        again = FeedLists(tmp_path / str(n), max_bytes=2**20)
        there = [again.get(one.feed_id) is not None for one in made]
        assert there[-1]
        assert not there[0]
        assert there == sorted(there)  # none is gone that is newer than one that is there
        assert sum(there) > 20
        latest = [again.latest(key_of(number)) is not None for number in range(len(made))]
        assert latest == there
        again.close()
    assert not caplog.records


def test_a_list_that_does_not_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lists = FeedLists(tmp_path, max_bytes=2**18)
    huge = a_list(50_000)
    lists.put(KEY, huge)
    assert lists.get(huge.feed_id) is huge
    lists.put(KEY, small := a_list())
    assert same(lists.latest(KEY), small)
    assert len(caplog.records) == 1
    lists.close()


def test_purge_removes_what_expired(tmp_path: Path) -> None:
    lists = FeedLists(tmp_path, keep_seconds=60)
    old, new = a_list(now=1e9), a_list(now=1e9 + 50)
    lists.put(KEY, old)
    lists.put(key_of(1), old)
    lists.put(KEY, new)
    assert lists.purge(1e9 + 59) == 0
    assert lists.purge(1e9 + 61) == 1
    assert lists.get(old.feed_id) is None
    assert lists.latest(key_of(1)) is None
    assert same(lists.latest(KEY), new)
    lists.close()


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    lists, mine = FeedLists(tmp_path / "file" / "lists"), a_list()
    for _ in range(3):
        lists.put(KEY, mine)
        assert lists.latest(KEY) is mine
        assert lists.get(mine.feed_id) is mine
    assert lists.purge(time.time()) == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    lists.purge(time.time() + 10**6)
    assert lists.latest(KEY) is None


def _busy(folder: Path) -> None:
    """What a worker does; none of it raises."""
    feed_lists._AtHand.put = lambda *_: None  # type: ignore[method-assign]
    lists = FeedLists(folder)
    for n in range(200):
        lists.latest(key_of(n))
        lists.put(key_of(n), a_list(seed=n))
    lists.purge(time.time() + 10**6)
    lists.purge(time.time())
    lists.put(KEY, a_list())
    lists.close()


def _ended(folder: Path) -> int:
    """The exit code of a process that is ``_busy``."""
    process = PROCESSES.Process(target=_busy, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


@pytest.mark.parametrize("damage", ["no file of ours", "start", "middle", "scattered", "cut off"])
def test_a_damaged_file_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(feed_lists._AtHand, "put", lambda *_: None)
    lists = FeedLists(tmp_path)
    for n in range(200):
        lists.put(key_of(n), a_list(seed=n))
    lists.close()
    (file,) = tmp_path.rglob("data.mdb")
    file.write_bytes(_damaged(file.read_bytes(), damage))
    if status := _ended(tmp_path):  # LMDB gave up; the runner then does
        assert -status in DAMAGE
        feed_lists.drop(tmp_path)
        assert _ended(tmp_path) == 0
    lists = FeedLists(tmp_path)  # another worker
    found = lists.latest(KEY)
    if damage != "scattered":  # LMDB has no checksums: what it cannot find again is a miss
        assert found is not None
        assert same(lists.get(found.feed_id), found)
    lists.close()


def _damaged(whole: bytes, damage: str) -> bytes:
    rng, data, middle = np.random.default_rng(0), bytearray(whole), len(whole) // 2
    if damage == "no file of ours":
        return b"\x07" * 9000
    if damage == "cut off":
        return whole[: len(whole) // 3]
    if damage == "scattered":
        for at in rng.integers(8192, len(data), 2_000):
            data[at] = rng.integers(256)
    else:
        at = 0 if damage == "start" else middle
        data[at : at + 4096] = rng.bytes(4096)
    return bytes(data)


def test_a_file_that_another_worker_made_anew_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_lists._AtHand, "put", lambda *_: None)
    lists = FeedLists(tmp_path)
    lists.put(KEY, a_list())
    shutil.rmtree(next(tmp_path.rglob("data.mdb")).parent)
    done = PROCESSES.Event()
    process = PROCESSES.Process(target=_worker, args=(tmp_path, KEY, 10, done))
    process.start()
    process.join()
    lists.purge(time.time())
    found = lists.latest(KEY)
    assert found is not None
    assert len(found.rows) == 10
    lists.close()


def test_a_damaged_value_in_the_file_is_a_miss(tmp_path: Path) -> None:
    lists, mine = FeedLists(tmp_path), a_list()
    lists.put(KEY, mine)
    lists.close()
    (file,) = tmp_path.rglob("data.mdb")
    with lmdb.open(str(file.parent), max_dbs=2) as env, env.begin(write=True) as writing:
        id = bytes.fromhex(mine.feed_id)
        writing.put(id, KEY + encode(mine)[:-1], db=env.open_db(b"lists", writing))
    lists = FeedLists(tmp_path)
    assert lists.latest(KEY) is None
    assert lists.get(mine.feed_id) is None
    lists.close()


def test_the_machine_was_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not forced to disk may be damaged then, so it is left alone."""
    (boot := tmp_path / "boot").write_text("first\n")
    monkeypatch.setattr(feed_lists, "BOOT_ID", boot)
    folder = tmp_path / "lists"
    lists = FeedLists(folder)
    lists.put(KEY, a_list())
    lists.close()
    boot.write_text("second\n")
    lists = FeedLists(folder)
    assert lists.latest(KEY) is None
    lists.close()
    for file in (folder / "first", *(folder / "first").iterdir()):
        os.utime(file, (1e9, 1e9))
    FeedLists(folder).close()
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "second"]
