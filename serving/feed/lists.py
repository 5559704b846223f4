"""Ranked lists, kept so that the pages of one feed fit together.

All workers of a machine share them, so another worker may answer page 2, and they outlive a worker
and a model. They are in an LMDB file: it is read without a lock, and a process that is killed
while it writes leaves what was there before. A list that is gone, or damaged, is a miss.

Nothing is forced to disk. When the machine itself goes down the file may not be whole, so each
start of the machine has a file of its own.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import threading
import time
from pathlib import Path

import lmdb
from cachetools import LRUCache

from serving.feed.feed_list import FeedList, decode, encode, new_feed_id

log = logging.getLogger("feedwright.serving")

KEY_BYTES = 16
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
FULL = 0.75  # share of the file in use from which the oldest lists go; deleting needs room too
BATCH = 200  # lists deleted at once: for so long, other workers wait to write
FILE = "data.mdb"  # LMDB's own name for it
DAMAGE = (lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, SystemError)
"""SystemError: what py-lmdb makes of some pages that are none."""
FAILURES = (lmdb.Error, SystemError)
REMEMBERED = 500  # lists that a worker has at hand, of about 15 kB each


def drop(folder: Path) -> None:
    """Remove the file of kept lists: LMDB ends a process that meets a damaged page of it.

    Workers that have it open find the new one at their next ``purge``.
    """
    for made in folder.glob(f"*/{FILE}"):
        shutil.rmtree(made.parent, ignore_errors=True)


class FeedLists:
    """One a process, opened after the worker's process has begun: a fork must not take it along.

    Nothing here raises because of the disk: when it cannot be written, the worker keeps lists for
    itself, and says so in the log, once. A file that is found damaged is made anew within a minute,
    by ``purge``, for all workers.
    """

    def __init__(self, folder: Path, max_bytes: int = 2**30, keep_seconds: float = 3600):
        """
        Args:
            folder: made if it is not there; on a local disk.
            max_bytes: of the file. The oldest lists go when three quarters are in use.
            keep_seconds: ``purge`` removes what is older.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._keep_seconds = keep_seconds
        self._at_hand = _AtHand()
        self._told = False
        self._env: lmdb.Environment | None = None
        self._open()

    def _open(self) -> None:
        self._env = None  # before it is opened again: once a process
        try:
            env = _open(self._folder, self._max_bytes, self._keep_seconds)
            self._lists = env.open_db(b"lists")  # feed id -> key, then the list
            self._latest = env.open_db(b"latest")  # key -> feed id
            self._file = _identity(env)
            self._env, self._told = env, False
        except (OSError, *FAILURES) as error:
            self._tell(error)

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None

    def put(self, key: bytes, feed_list: FeedList) -> None:
        """Keep the list, and make it the latest of ``key`` (16 bytes, of user and filters).

        Raises:
            ValueError: the key has another length, or the arrays differ in theirs.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"key: {len(key)} bytes, must have {KEY_BYTES}")
        record = key + encode(feed_list)
        id = bytes.fromhex(feed_list.feed_id)
        self._at_hand.put(key, id, feed_list)
        if (env := self._env) is None:
            return
        try:
            try:
                if not self._write(env, key, id, record):  # a few, so that nobody waits long
                    self._remove_oldest(env, min(self._entries(env) // 4, BATCH))
            except lmdb.MapFullError as error:  # this list stays with this worker
                self._tell(error)
                env.reader_check()  # a reader that was killed would keep pages from reuse
                self._remove_oldest(env, self._entries(env) // 4)
        except FAILURES as error:
            self._fail(error)

    def get(self, feed_id: str) -> FeedList | None:
        """The list of that id, or None."""
        try:
            id = bytes.fromhex(feed_id)
        except ValueError:
            return None
        return self._get(id) if len(id) == KEY_BYTES else None

    def latest(self, key: bytes) -> FeedList | None:
        """The newest list of ``key``, whichever worker made it, or None."""
        id = self._at_hand.latest(key)
        if (env := self._env) is not None:
            try:
                with env.begin(db=self._latest) as reading:
                    id = reading.get(key)
            except FAILURES as error:
                self._fail(error)
        return self._get(id) if id is not None else None

    def purge(self, now: float) -> int:
        """Remove the lists that are older than ``keep_seconds``. Returns how many there were."""
        oldest = bytes.fromhex(new_feed_id(max(now - self._keep_seconds, 0)))
        self._at_hand.purge(oldest)
        if self._env is None or _identity(self._env) != self._file:  # another made it anew
            self._open()
        if (env := self._env) is None:
            return 0
        try:
            env.reader_check()
            return self._remove_oldest(env, self._entries(env), before=oldest)
        except FAILURES as error:
            self._fail(error)
            return 0

    def _get(self, id: bytes) -> FeedList | None:
        kept = self._at_hand.get(id)
        if kept is not None or (env := self._env) is None:
            return kept
        try:
            with env.begin(db=self._lists) as reading:
                record = reading.get(id)
        except FAILURES as error:
            self._fail(error)
            return None
        kept = decode(record[KEY_BYTES:]) if record is not None else None
        if kept is not None:
            self._at_hand.put(None, id, kept)
        return kept

    def _write(self, env: lmdb.Environment, key: bytes, id: bytes, record: bytes) -> bool:
        """Whether there is room for more."""
        with env.begin(write=True) as writing:
            writing.put(id, record, db=self._lists)
            writing.put(key, id, db=self._latest)
            stat = writing.stat(self._lists)
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return pages * stat["psize"] <= FULL * self._max_bytes

    def _entries(self, env: lmdb.Environment) -> int:
        with env.begin() as reading:
            return reading.stat(self._lists)["entries"]

    def _remove_oldest(
        self, env: lmdb.Environment, count: int, before: bytes = b"\xff" * KEY_BYTES
    ) -> int:
        """Remove at most ``count`` lists with ids below ``before``. Returns how many."""
        removed = 0
        while removed < count:
            batch = self._remove_batch(env, min(BATCH, count - removed), before)
            removed += batch
            if batch < BATCH:
                break
        return removed

    def _remove_batch(self, env: lmdb.Environment, count: int, before: bytes) -> int:
        removed = 0
        with env.begin(write=True, buffers=True) as writing:
            cursor = writing.cursor(self._lists)
            there = cursor.first()
            while there and removed < count and (id := bytes(cursor.key())) < before:
                key = bytes(cursor.value()[:KEY_BYTES])
                if writing.get(key, db=self._latest) == id:
                    writing.delete(key, db=self._latest)
                there = cursor.delete() and len(cursor.key()) > 0
                removed += 1
        return removed

    def _fail(self, error: Exception) -> None:
        """The file goes if it is damaged: nothing in it is worth a repair."""
        self._tell(error)
        if isinstance(error, DAMAGE) and (env := self._env) is not None:
            self._env = None
            shutil.rmtree(env.path(), ignore_errors=True)

    def _tell(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            log.warning("feed lists not shared between workers", extra={"detail": str(error)})


class _AtHand:
    """The lists that this worker made or read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: LRUCache[bytes, FeedList] = LRUCache(REMEMBERED)
        self._latest: LRUCache[bytes, bytes] = LRUCache(REMEMBERED)

    def put(self, key: bytes | None, id: bytes, feed_list: FeedList) -> None:
        with self._lock:
            self._lists[id] = feed_list
            if key is not None:
                self._latest[key] = id

    def get(self, id: bytes) -> FeedList | None:
        with self._lock:
            return self._lists.get(id)

    def latest(self, key: bytes) -> bytes | None:
        with self._lock:
            return self._latest.get(key)

    def purge(self, oldest: bytes) -> None:
        with self._lock:
            for id in [id for id in self._lists if id < oldest]:
                del self._lists[id]


def _open(folder: Path, max_bytes: int, keep_seconds: float) -> lmdb.Environment:
    """The file of this start of the machine; those of earlier ones are removed.

    A file that is none of ours, or damaged, is made anew.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else "lists"
    with open(folder / ".lock", "w") as lock:  # one process makes, the others find
        fcntl.flock(lock, fcntl.LOCK_EX)
        for other in folder.iterdir():
            # A recent one may be in use by another machine on the same disk.
            if other.is_dir() and other.name != boot and _age(other) > max(keep_seconds, 3600):
                shutil.rmtree(other, ignore_errors=True)
        try:
            return _whole(_environment(folder / boot, max_bytes))
        except (*DAMAGE, lmdb.VersionMismatchError):
            shutil.rmtree(folder / boot)
            return _environment(folder / boot, max_bytes)


def _whole(env: lmdb.Environment) -> lmdb.Environment:
    """
    Raises:
        lmdb.CorruptedError: the file is shorter than it says; to read there would end the process.
    """
    if (Path(env.path()) / FILE).stat().st_size < (env.info()["last_pgno"] + 1) * env.stat()[
        "psize"
    ]:
        env.close()
        raise lmdb.CorruptedError("the file is cut off")
    return env


def _identity(env: lmdb.Environment) -> int | None:
    """Of the file at the environment's path; None: there is none."""
    try:
        return (Path(env.path()) / FILE).stat().st_ino
    except FileNotFoundError:
        return None


def _environment(folder: Path, max_bytes: int) -> lmdb.Environment:
    folder.mkdir(exist_ok=True, mode=0o700)  # py-lmdb makes it so that only root can enter
    folder.chmod(0o700)
    # Not writemap: a write is 20 µs instead of 8, but never the 13 ms that growing a map can take.
    return lmdb.open(
        str(folder),
        map_size=max_bytes,
        max_dbs=2,
        max_readers=512,
        sync=False,
        metasync=False,
        mode=0o600,
    )


def _age(folder: Path) -> float:
    return time.time() - max(file.stat().st_mtime for file in (folder, *folder.iterdir()))
