"""Whether the first row of a file names its columns, and the names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from storage.loading.names import role_of

LONGEST_NAME = 50

_KINDS = (
    ("number", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")),
    ("time", re.compile(r"(\d{4}[-/.]\d\d?[-/.]\d|\d\d?[-/.]\d\d?[-/.]\d{2,4}\b|\w{3} \w{3} \d)")),
    ("address", re.compile(r"(https?://|[^@\s]+@[^@\s]+\.\w+$)")),
    ("json", re.compile(r"""[\[{]\s*["'{\[\d].*[\]}]$""")),
    ("code", re.compile(r"(?=\w*\d)(?=\w*[A-Za-z])[\w-]+$")),
)
_NAMED_ID = re.compile(r"(?<=[a-z])(_id|Id|ID)$")
_ROLE = re.compile(r":(token|float|token_seq|float_seq)$")  # RecBole writes name:type


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of ``rows`` is a header: names stand there, not values like those below."""
    first, below = rows[0], rows[1:]
    if _has_known_names(first, below):
        return True
    if any(len(cell) > LONGEST_NAME for cell in first):
        return False
    named = [cell for cell in first if cell.strip()]
    if not named or len(set(named)) < len(named) - 1:
        return False
    for at, cell in enumerate(first):
        kind = kind_of(cell)
        if kind in ("number", "time", "address", "json"):
            return False
        values = [row[at] for row in below if at < len(row)]
        if kind == "code" and values and sum(map(_is_code, values)) > len(values) / 2:
            return False
        if values and cell.strip() and values.count(cell) > len(values) / 10:
            return False
    return True


def _has_known_names(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether two names of it are known, or one of an id, and no values of their columns."""
    roles: set[str] = set()
    for at, cell in enumerate(first):
        name = _ROLE.sub("", cell.strip())
        role = role_of(name) if 1 < len(name) <= LONGEST_NAME else None
        if role is not None and all(row[at] != cell for row in below if at < len(row)):
            roles |= {role, "an id"} if _NAMED_ID.search(name) else {role}
    return len(roles) > 1


def kind_of(cell: str) -> str:
    """``number``, ``time``, ``address``, ``json``, ``code`` (letters and digits) or ``words``."""
    text = cell.strip()
    return next((name for name, pattern in _KINDS if pattern.match(text)), "words")


def _is_code(cell: str) -> bool:
    return kind_of(cell) == "code"


def names_of(cells: Sequence[str]) -> tuple[str, ...]:
    """Names of columns: those without one are column_1, …, and none comes twice."""
    stripped = [cell.strip("\ufeff").strip().strip('"').strip() for cell in cells]
    if all(_ROLE.search(cell) for cell in stripped):
        stripped = [_ROLE.sub("", cell) for cell in stripped]
    names: list[str] = []
    for number, name in enumerate(stripped, 1):
        plain = name or f"column_{number}"
        names.append(f"{plain} ({number})" if plain in names else plain)
    return tuple(names)
