"""Whom a refused row names. It is kept beside the row: exports and erasures find it by that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from storage.loading.names import NAMES, letters
from storage.loading.values.columns import MAX_ID_BYTES, Entity

MOST = 10_000
"""Objects and lists of one depth that are looked at."""

_NAMING = frozenset(NAMES["user_id"])
"""What a field is called that names a user, as ``storage.loading.names.letters`` writes it."""


LONGEST = 100
_PLAIN = {code: chr(code).lower() if chr(code).isalnum() else None for code in range(128)}
"""``letters`` of ASCII."""


def users_in(entity: Entity, row: Any) -> list[str]:
    """Ids of users in a row as it was sent: in its own fields, or else in those further down.

    Args:
        entity: the table that the row was meant for; of users ``id`` is one too.
        row: what was read from JSON.
    """
    level = [(row, entity == "users")]
    while level:
        ids = [id for value, is_user in level for id in _ids(value, is_user)]
        if ids:
            return list(dict.fromkeys(ids))
        below = (inner for value, is_user in level for inner in _below(value, is_user))
        level = list(islice(below, MOST))
    return []


def _ids(value: Any, is_user: bool) -> Iterator[str]:
    """Ids in the fields of an object. What no user can be called is nobody's."""
    for name, given in value.items() if isinstance(value, dict) else ():
        if _names_user(name) or (is_user and name == "id"):
            text = _as_id(given)
            if text and "\0" not in text and _fits(text):
                yield text


def _below(value: Any, is_user: bool) -> Iterator[tuple[Any, bool]]:
    """Objects and lists in one of them, and whether each is a user's."""
    below: Iterable[tuple[Any, bool]] = ()
    if isinstance(value, dict):
        nested = ((name, inner) for name, inner in value.items() if isinstance(inner, dict | list))
        below = ((inner, _names_user(name)) for name, inner in nested)
    elif isinstance(value, list):
        below = ((inner, is_user) for inner in value if isinstance(inner, dict | list))
    return iter(below)


def _names_user(name: str) -> bool:
    """Quick for what names nobody: a request may have half a million fields."""
    if name.isascii():
        return name.translate(_PLAIN) in _NAMING
    return len(name) <= LONGEST and letters(name) in _NAMING


def _as_id(value: Any) -> str | None:
    """The text that stands for it; of whole numbers their digits, as where files are read."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        # Python writes no number of thousands of digits.
        return str(value) if value.bit_length() < 8 * MAX_ID_BYTES else None
    return value if isinstance(value, str) else None


def _fits(text: str) -> bool:
    try:
        return len(text.encode()) <= MAX_ID_BYTES
    except UnicodeEncodeError:  # half a surrogate pair
        return False
