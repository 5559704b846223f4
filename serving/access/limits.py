"""Rate limits: token buckets that the workers of a machine share.

A bucket holds ``limit`` tokens and gains ``limit`` a minute; a call, or an event, takes one. It
is one number, the time at which it will be full again (the generic cell rate algorithm, ITU-T
I.371), in a table that is memory-mapped by every worker, in the cache of one set of ``WAYS``
slots. Nothing is locked: two workers that write to a bucket, or to a set, at the same moment may
lose a few counts. A full set forgets the bucket that is nearest to full.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.access.caller import Caller, caller_of

WINDOW_SECONDS = 60.0
SETS = 8_192
WAYS = 8
STATE = "feedwright.limits"
"""Key of the limits in an ASGI scope."""
ROUNDING = 1e-3
"""Share of a token that the precision of a time may cost."""

_SLOT = struct.Struct("<Qd")  # hash of the name, or 0; when it is full again, epoch seconds
_SET = struct.Struct("<" + "Qd" * WAYS)


class Buckets:
    """The table, in a file. 1 MiB for 65,536 buckets."""

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.time) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(handle, SETS * _SET.size)  # keeps what is there
            self._table = mmap.mmap(handle, SETS * _SET.size)
        finally:
            os.close(handle)
        self._clock = clock

    def take(self, name: str, wanted: int, limit: int, *, part: bool = False) -> tuple[int, float]:
        """Take ``wanted`` tokens of a bucket, or none; with ``part`` as many as there are.

        Returns:
            Tokens taken, and seconds until those that were not could be.
        """
        now = self._clock()
        mark, at = self._find(name)
        (owner, full_at) = _SLOT.unpack_from(self._table, at)
        backlog = max(full_at - now, 0.0) if owner == mark else 0.0
        set_back = backlog > WINDOW_SECONDS  # the clock was: else it is never as much
        backlog = min(backlog, WINDOW_SECONDS)
        seconds = WINDOW_SECONDS / limit
        there = int((WINDOW_SECONDS - backlog) / seconds + ROUNDING)
        taken = wanted if wanted <= there else there if part else 0
        if taken or set_back:
            backlog += taken * seconds
            _SLOT.pack_into(self._table, at, mark, now + backlog)
        left = min(wanted - taken, limit)
        return taken, max(backlog + left * seconds - WINDOW_SECONDS, 0.0) if left else 0.0

    def close(self) -> None:
        self._table.close()

    def _find(self, name: str) -> tuple[int, int]:
        """The name's hash, and where its slot is, or the one to use for it."""
        mark, start = _slot_of(name)
        slots = _SET.unpack_from(self._table, start)
        try:
            way = slots[::2].index(mark)
        except ValueError:
            way = min(range(WAYS), key=slots[1::2].__getitem__)
        return mark, start + way * _SLOT.size


@lru_cache(10_000)
def _slot_of(name: str) -> tuple[int, int]:
    """A name's hash, not 0, and where its set is."""
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    mark, number = struct.unpack("<QQ", digest)
    return mark or 1, number % SETS * _SET.size


@dataclass(frozen=True)
class Limits:
    """Tokens a minute; 0: no limit."""

    buckets: Buckets
    per_user: int
    per_key: int

    def of(self, caller: Caller) -> Limits:
        """Those of a caller whose key may have its own."""
        per_user, per_key = caller.limit_per_user, caller.limit_per_key
        return Limits(
            self.buckets,
            self.per_user if per_user is None else per_user,
            self.per_key if per_key is None else per_key,
        )

    def take_key(self, key_id: str | None, cost: int) -> None:
        """Charge a key; a call without one is not limited.

        Raises:
            HTTPException: 429.
        """
        if key_id is None or not self.per_key or not cost:
            return
        taken, wait = self.buckets.take(f"key {key_id}", cost, self.per_key)
        if not taken:
            raise too_many("key", self.per_key, wait)

    def take_user(self, user_id: str, wanted: int = 1) -> tuple[int, float]:
        """Events that a user may still send, up to ``wanted``, and seconds until the others."""
        if not self.per_user:
            return wanted, 0.0
        return self.buckets.take(f"user {user_id}", wanted, self.per_user, part=True)


@dataclass(frozen=True)
class Charged:
    """What became of the entries of a batch.

    Attributes:
        granted: for each entry whether it is within its user's limit.
        retry_after: whole seconds until the others may be; 0: all are granted.
    """

    granted: list[bool]
    retry_after: int


def charge_events(request: Request, user_ids: Sequence[str | None]) -> Charged:
    """Charge a call's events to its key and to each user; the first of a user go first.

    Args:
        user_ids: of each entry; None where it is of nobody.

    Raises:
        HTTPException: 429, the key's limit is reached; 413, the batch alone is larger than it.
    """
    limits: Limits | None = request.scope.get(STATE)
    if limits is None or not user_ids:
        return Charged([True] * len(user_ids), 0)
    caller = caller_of(request)
    limits = limits.of(caller)
    if caller.key_id is not None and 0 < limits.per_key < len(user_ids):
        raise HTTPException(
            413,
            f"A batch of {len(user_ids):,}, but this key may send {limits.per_key:,} events a "
            "minute: send fewer at once.",
        )
    limits.take_key(caller.key_id, len(user_ids) - 1)  # the call itself took one
    left: dict[str, int] = {}
    wait = 0.0
    for named, wanted in Counter(id for id in user_ids if id is not None).items():
        left[named], seconds = limits.take_user(named, wanted)
        wait = max(wait, seconds)
    granted = []
    for user_id in user_ids:
        if user_id is not None:
            left[user_id] -= 1
        granted.append(user_id is None or left[user_id] >= 0)
    return Charged(granted, math.ceil(wait))


def too_many(which: str, limit: int, wait: float) -> HTTPException:
    """429 with ``Retry-After`` and the fields of draft-ietf-httpapi-ratelimit-headers."""
    seconds = max(math.ceil(wait), 1)
    return HTTPException(
        429,
        f"More than {limit} a minute for this {which}: try again in {seconds} s.",
        {
            "Retry-After": str(seconds),
            "RateLimit-Policy": f'"{which}";q={limit};w={WINDOW_SECONDS:.0f}',
            "RateLimit": f'"{which}";r=0;t={seconds}',
        },
    )
