"""The spool: a log on the local disk for events that Postgres cannot take now.

A folder of segments, each written by one process, which holds its lock for as long as it lives.
A segment without a holder belongs to whoever locks it first: so what a killed worker left is
taken over by a living one. A record is its length, a CRC-32 and the bytes:

    <u4 length> <u4 CRC-32 of the payload> <payload>

Each is written twice, so that a damaged place costs no event; what follows such a place is found
again. A record is durable once ``append`` has returned. Reading it again does no harm: events are
written once to Postgres however often they come. So a segment is only deleted, when all of it is
there.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.ingest.metrics import DAMAGED, SPOOL_BYTES

log = logging.getLogger("feedwright.serving")

MAX_BYTES = 256 * 2**20
SEGMENT_BYTES = 8 * 2**20
"""From this size a segment is not added to: the space of what is replayed comes back in parts."""
MAX_RECORD = 64 * 2**20
"""A length above this is no length."""
HEADER = struct.Struct("<II")
COPIES = 2
SUFFIX, NEW = ".spool", ".new"
FORGOTTEN_SECONDS = 60


class SpoolFull(RuntimeError):
    """There is no room for more, by the bound or by the disk."""


@dataclass
class _Segment:
    """An open, locked file. Bytes up to ``end`` are durable, up to ``read`` they are replayed.

    ``own``: this process wrote it. ``full``: nothing is added to it any more.
    """

    path: Path
    file: int
    own: bool
    read: int = 0
    end: int = 0
    full: bool = False
    damaged: bool = False


@dataclass(frozen=True)
class Chunk:
    """Records in the order in which they were written, and where the next one begins."""

    records: list[bytes]
    segment: _Segment
    next: int


class Spool:
    """The segments that one process holds.

    Calls block on the disk: make them in a thread. ``append``, ``adopt`` and ``done`` go one at a
    time.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        """
        Args:
            folder: made if it is not there; on a local disk.
            max_bytes: of all segments, of this process and of others.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._segments: list[_Segment] = []
        self._made = 0

    @property
    def behind(self) -> bool:
        """Whether events that this process took are still to be replayed."""
        return any(segment.own for segment in self._segments)

    def append(self, *payloads: bytes) -> None:
        """Add records, all or none of them; they are durable on return.

        Raises:
            SpoolFull: nothing was added.
            ValueError: one is larger than ``MAX_RECORD``: it could not be read again.
        """
        if any(len(payload) > MAX_RECORD for payload in payloads):
            raise ValueError(f"a record of more than {MAX_RECORD} bytes")
        record = b"".join(
            (HEADER.pack(len(payload), zlib.crc32(payload)) + payload) * COPIES
            for payload in payloads
        )
        used = self.size()
        if used + len(record) > self._max_bytes:
            raise SpoolFull(f"{used} of {self._max_bytes} bytes are in use")
        try:
            segment = self._writable()
        except OSError as error:
            raise SpoolFull(f"{self._folder}: {error}") from error
        try:
            _write(segment.file, record, segment.end)
            os.fdatasync(segment.file)
        except OSError as error:
            self._end_before_failure(segment)
            raise SpoolFull(f"{segment.path}: {error}") from error
        segment.end += len(record)
        SPOOL_BYTES.set(used + len(record))

    def adopt(self) -> int:
        """Take over the segments that nobody holds. Returns how many there were."""
        held = {segment.path for segment in self._segments}
        adopted = 0
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            if path not in held and (segment := _lock(path)) is not None:
                log.info("spool of a dead worker taken over", extra={"detail": path.name})
                self._segments.append(segment)
                adopted += 1
        self._segments.sort(key=lambda segment: segment.path)
        for path in self._folder.glob(f"*{NEW}"):  # their makers were killed before the lock
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > FORGOTTEN_SECONDS:
                    path.unlink()
        return adopted

    def next(self, max_bytes: int) -> Chunk | None:
        """The oldest records that are not done, about so many bytes; None: all are done."""
        if not self._segments:
            return None
        segment = self._segments[0]
        records: list[bytes] = []
        at, end = segment.read, segment.end
        while at < end and at - segment.read < max_bytes:
            payload = _record(segment.file, at, end)
            if payload is None:
                at = self._after_damage(segment, at)
            else:
                at += HEADER.size + len(payload)
                if not records or payload != records[-1]:  # its copy
                    records.append(payload)
        if records and _record(segment.file, at, end) == records[-1]:
            at += HEADER.size + len(records[-1])
        return Chunk(records, segment, at)

    def done(self, chunk: Chunk) -> None:
        """What ``next`` gave is in Postgres; a segment of which all is, is deleted."""
        segment = chunk.segment
        segment.read = chunk.next
        if segment.read < segment.end:
            return
        self._segments.remove(segment)
        os.close(segment.file)
        with contextlib.suppress(FileNotFoundError):  # somebody deleted it meanwhile
            if segment.damaged:  # somebody may want to look at it
                segment.path.rename(segment.path.with_suffix(".damaged"))
            else:
                segment.path.unlink()
        SPOOL_BYTES.set(self.size())

    def size(self) -> int:
        """Bytes of all segments in the folder."""
        if not self._folder.is_dir():
            return 0
        with os.scandir(self._folder) as files:
            return sum(_size(file) for file in files if file.name.endswith(SUFFIX))

    def close(self) -> None:
        """Let go of the segments; what is in them waits for the next process."""
        for segment in self._segments:
            os.close(segment.file)
        self._segments.clear()

    def _writable(self) -> _Segment:
        last = self._segments[-1] if self._segments else None
        if last is not None and last.own and not last.full and last.end < SEGMENT_BYTES:
            return last
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._made += 1
        name = f"{time.time_ns():020d}-{os.getpid()}-{self._made}"
        # It gets its name when it is locked: until then nobody takes it for a dead worker's.
        new = self._folder / f"{name}{NEW}"
        path = new.with_suffix(SUFFIX)
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            new.rename(path)
            _sync_folder(self._folder)
        except OSError:
            os.close(file)
            new.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise
        segment = _Segment(path, file, own=True)
        self._segments.append(segment)
        return segment

    def _end_before_failure(self, segment: _Segment) -> None:
        """After a failed write or sync nobody knows what is on disk: the segment ends before it,
        and goes if nothing was before it."""
        segment.full = True
        with contextlib.suppress(OSError):  # then it is replayed, though nobody got that answer
            os.ftruncate(segment.file, segment.end)
        if segment.end == 0:
            self._segments.remove(segment)
            os.close(segment.file)
            with contextlib.suppress(OSError):  # left empty, it is replayed as nothing
                segment.path.unlink()

    def _after_damage(self, segment: _Segment, at: int) -> int:
        """Where to read on behind a place that is no record."""
        end = segment.end
        detail = {"detail": f"{segment.path}: byte {at} of {end}"}
        there = _next_record(segment.file, at + 1, end)
        if there is None and _is_torn(segment.file, at, end):
            # As a kill leaves it: nobody got the answer that it is durable.
            log.info("spool: torn record dropped", extra=detail)
        else:
            DAMAGED.inc()
            segment.damaged = True
            log.error("spool: damaged record skipped", extra=detail)
        return end if there is None else there


def oldest_age(folder: Path, now: float) -> float:
    """Seconds since the oldest segment was begun, by anybody; 0.0 when there is none.

    Args:
        now: epoch seconds.
    """
    begun = [int(path.name.partition("-")[0]) for path in folder.glob(f"*{SUFFIX}")]
    return max(now - min(begun) / 1e9, 0.0) if begun else 0.0


def _lock(path: Path) -> _Segment | None:
    """The segment, if nobody holds it."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = os.fstat(file)
        if there.st_nlink:  # else its holder has replayed and deleted it meanwhile
            return _Segment(path, file, own=False, end=there.st_size)
    except BlockingIOError:
        pass
    os.close(file)
    return None


def _record(file: int, at: int, end: int) -> bytes | None:
    """The payload of the record that begins at ``at``; None: there is none, or it is damaged."""
    header = os.pread(file, HEADER.size, at)
    length, checksum = HEADER.unpack(header) if len(header) == HEADER.size else (0, 0)
    if not 0 < length <= min(end - at - HEADER.size, MAX_RECORD):
        return None
    payload = os.pread(file, length, at + HEADER.size)
    return payload if zlib.crc32(payload) == checksum else None


def _next_record(file: int, start: int, end: int) -> int | None:
    """Where the first whole record from ``start`` on begins."""
    data = os.pread(file, end - start, start)
    places = len(data) - HEADER.size
    if places <= 0:
        return None
    lengths = np.ndarray((places,), "<u4", data, strides=(1,))  # as if one began at each byte
    likely = (lengths > 0) & (lengths <= np.arange(places, 0, -1))  # text is none
    for place in np.flatnonzero(likely):
        if _record(file, start + int(place), end) is not None:
            return start + int(place)
    return None


def _is_torn(file: int, at: int, end: int) -> bool:
    """Whether the record at ``at`` goes beyond the end, or is of zeros."""
    header = os.pread(file, HEADER.size, at)
    length = HEADER.unpack(header)[0] if len(header) == HEADER.size else 0
    return length == 0 or at + HEADER.size + length > end


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def _sync_folder(folder: Path) -> None:
    """Make names durable."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _size(file: os.DirEntry[str]) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
