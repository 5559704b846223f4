"""A ranked list, and the bytes that it is kept as."""

from __future__ import annotations

import secrets
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.feed.candidates.sources import BITS, MARKS

PREFIX = struct.Struct("<4sI")  # MAGIC, CRC-32 of all that follows
LENGTHS = struct.Struct("<II")  # bytes of the header, entries
MAGIC = b"FwL2"  # raise the digit when the layout changes
BEFORE = b"FwL1"  # without ``bits`` in its header: they were those of ``BITS_BEFORE``
BITS_BEFORE = {
    name: 1 << bit
    for bit, name in enumerate(
        ("model", "similar_users", "similar_items", "near", "tags", "trending", "fresh", "popular",
         "explore")
    )
} | {"seen": 1 << 14, "ranked": 1 << 15}  # fmt: skip
COLUMNS = (  # widest first, so that each is aligned
    ("rows", np.dtype("<i4")),
    ("scores", np.dtype("<f4")),
    ("propensities", np.dtype("<f4")),
    ("sources", np.dtype("<u2")),
    ("explored", np.dtype("?")),
)
CHANCE = np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class FeedList:
    """A ranked list as it was made. Arrays have one entry an item, best first.

    Attributes:
        feed_id: from ``new_feed_id``.
        made_at: epoch seconds.
        catalogue: name of the snapshot that ``rows`` are rows of.
        rows: int32, shape (n,).
        scores: float32, shape (n,).
        sources: uint16, shape (n,), a bit for each source of candidates (``BITS``, ``MARKS``).
        propensities: float32, shape (n,), chance of the item to be where it is.
        explored: bool, shape (n,), whether exploration put it there.
        chances: float32, shape (n, actions), how likely each action of ``meta["actions"]`` is; NaN:
            not known. Of no action where there is no such entry.
        extra_ids: ids of items that the snapshot does not have.
        meta: what answers say of the list (model_version, variant, …); JSON.
    """

    feed_id: str
    made_at: float
    catalogue: str
    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    sources: NDArray[np.uint16]
    propensities: NDArray[np.float32]
    explored: NDArray[np.bool_]
    chances: NDArray[np.float32]
    extra_ids: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)


def new_feed_id(now: float) -> str:
    """32 hexadecimal digits: 48 bits of time in milliseconds, then 80 that nobody can guess."""
    return f"{round(now * 1000):012x}{secrets.token_hex(10)}"


def encode(feed_list: FeedList) -> bytes:
    """``PREFIX``, ``LENGTHS``, a header in JSON, then the arrays one after the other, the chances
    last: an earlier release reads all but those.

    Raises:
        ValueError: the arrays differ in length.
    """
    n = len(feed_list.rows)
    for name in ("chances", *(name for name, _ in COLUMNS)):
        if len(getattr(feed_list, name)) != n:
            raise ValueError(f"{name}: {len(getattr(feed_list, name))} entries, rows has {n}")
    header = orjson.dumps(
        {
            name: getattr(feed_list, name)
            for name in ("feed_id", "made_at", "catalogue", "extra_ids", "meta")
        }
        | {"bits": BITS | MARKS}
    )
    header += b" " * (-len(header) % 4)  # the arrays begin aligned
    arrays = (np.asarray(getattr(feed_list, name), kind).tobytes() for name, kind in COLUMNS)
    chances = np.asarray(feed_list.chances, CHANCE).tobytes()
    body = b"".join((LENGTHS.pack(len(header), n), header, *arrays, chances))
    return PREFIX.pack(MAGIC, zlib.crc32(body)) + body


def decode(data: bytes) -> FeedList | None:
    """What ``encode`` made, with read-only arrays on ``data``; None if it is damaged."""
    if len(data) < PREFIX.size:
        return None
    magic, checksum = PREFIX.unpack_from(data)
    if magic not in (MAGIC, BEFORE) or zlib.crc32(memoryview(data)[PREFIX.size :]) != checksum:
        return None
    header_bytes, n = LENGTHS.unpack_from(data, PREFIX.size)
    start = PREFIX.size + LENGTHS.size
    content: dict[str, Any] = orjson.loads(memoryview(data)[start : start + header_bytes])
    start += header_bytes
    for name, kind in COLUMNS:
        content[name] = np.frombuffer(data, kind, n, start)
        start += n * kind.itemsize
    actions = len(content["meta"].get("actions", ()))
    content["chances"] = _chances(data, n, actions, start)
    if ("bits" in content) is not (magic == MAGIC):
        return None
    bits = content.pop("bits", BITS_BEFORE)
    if bits != BITS | MARKS:
        content["sources"] = _translated(content["sources"], bits)
    return FeedList(**content)


def _chances(data: bytes, n: int, actions: int, start: int) -> NDArray[np.float32]:
    """From unaligned bytes."""
    return np.frombuffer(data[start:], CHANCE, n * actions).reshape(n, actions)


def _translated(masks: NDArray[np.uint16], bits: dict[str, int]) -> NDArray[np.uint16]:
    """Masks of another release, whose ``bits`` stood for other sources, as this one has them."""
    ours, translated = BITS | MARKS, np.zeros_like(masks)
    for name in ours.keys() & bits.keys():
        translated[masks & bits[name] > 0] |= ours[name]
    return translated
