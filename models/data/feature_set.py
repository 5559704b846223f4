"""Which features a version was trained on, by name and order, with a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from models.data.features import Features

SHOWN = 5


@dataclass(frozen=True)
class FeatureSet:
    """Names of the columns of the users' and the items' features, in their order."""

    users: list[str]
    items: list[str]

    @classmethod
    def of(cls, users: Features, items: Features) -> Self:
        return cls(list(users.names), list(items.names))

    def to_bytes(self) -> bytes:
        """As it is kept beside a model: one text for one set."""
        return json.dumps({"users": self.users, "items": self.items}, ensure_ascii=False).encode()

    @property
    def digest(self) -> str:
        return digest_of(self.to_bytes())


def digest_of(content: bytes) -> str:
    """SHA-256 of ``FeatureSet.to_bytes``, its first 16 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:16]


def described(content: bytes) -> str:
    """The features for a message: how many, and the first of them by name."""
    try:
        stored = json.loads(content)
        groups = [(group, stored[group]) for group in ("users", "items")]
    except (ValueError, KeyError, TypeError):
        return "a file that is no list of features"
    return ", ".join(f"{len(names)} of {group} ({_first(names)})" for group, names in groups)


def _first(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:SHOWN])) + (", …" if len(names) > SHOWN else "")
