"""JSON that callers send. What no JSON may hold is found, so that it can be named."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

MOST_NESTED = 100_000
"""Objects and lists of a body: a hundred for each of a thousand entries. A body of nothing else has
millions, which hold up all other calls for seconds."""
HALF = "is not Unicode text: it has half a surrogate pair"


def decode(body: bytes | bytearray | str) -> Any:
    """What orjson reads; where it stumbles over NaN, Infinity or half a surrogate pair, which
    spoil their own place alone, what Python reads. A number that is too large is infinite.

    Raises:
        orjson.JSONDecodeError: it is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise error from None


def is_overfull(body: bytes | bytearray) -> bool:
    """Whether it has more than ``MOST_NESTED`` objects and lists; signs in texts count too."""
    return body.count(b"[") + body.count(b"{") > MOST_NESTED


def encode(value: Any) -> str:
    """JSON text of what ``decode`` gave, to be kept: with NaN and Infinity as they are, and half
    surrogate pairs as escapes."""
    try:
        text = orjson.dumps(value)
        if not may_hold_no_number(text):
            return text.decode()
    except TypeError:  # half a surrogate pair, or nested too deeply for orjson
        pass
    return written(value)


def written(value: Any) -> str:
    """As ``encode``, in ASCII; of what nests deeper than can be written, that it does."""
    try:
        return json.dumps(value)
    except RecursionError:
        return '"nested too deeply to be written"'


def may_hold_no_number(text: bytes) -> bool:
    """Whether ``find_unfit`` may find a number in what orjson wrote: there it is null."""
    return b"null" in text


def find_unfit(value: Any) -> tuple[str, str] | None:
    """Where the first thing is that no JSON may hold (``price.max``, ``tags.2``), a number or half
    a surrogate pair, and what is wrong with it; None: all is good."""
    waiting = [("", value)]
    while waiting:
        path, part = waiting.pop()
        if isinstance(part, float) and not math.isfinite(part):
            return path, "NaN is no number of JSON" if math.isnan(part) else "is too large a number"
        if isinstance(part, str) and is_half(part):
            return path, HALF
        below = list(part.items() if isinstance(part, dict) else enumerate(part)
                     if isinstance(part, list) else ())  # fmt: skip
        for name, _ in below:
            if isinstance(name, str) and is_half(name):
                return f"{path}.{as_text(name)}".lstrip("."), HALF
        waiting += [(f"{path}.{name}" if path else str(name), each) for name, each in below[::-1]]
    return None


def is_half(text: str) -> bool:
    """Whether it has half a surrogate pair, and so is no Unicode text."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def as_text(text: str) -> str:
    """The same with ``?`` for halves of surrogate pairs, fit for an answer."""
    return text.encode(errors="replace").decode()
