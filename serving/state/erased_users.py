"""Who was erased lately: what this worker keeps of them is of somebody else from then on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import sha256

from psycopg import AsyncConnection

from storage.privacy.erasures import erased_since

KEPT_SECONDS = 86_400.0
"""Longer than anything that a worker keeps of a user."""


class ErasedUsers:
    """Used from one event loop. What is kept of a user is marked with ``at`` as it was before, and
    not used once ``at`` says something else: so it does not matter who is late."""

    def __init__(self) -> None:
        self._at: dict[bytes, float] = {}
        self.loaded = False

    def at(self, user_id: str | None) -> float:
        """When the user was last erased, epoch seconds; 0.0: not lately."""
        if not self._at or user_id is None:
            return 0.0
        return self._at.get(_digest(user_id), 0.0)

    def note(self, erased: Mapping[str, float]) -> None:
        """These users were erased, at these epoch seconds."""
        if erased:
            self._add({_digest(user_id): at for user_id, at in erased.items()})

    async def load(self, connection: AsyncConnection) -> None:
        """Those whom another worker, or this one before it was started anew, learnt of."""
        self._add(await erased_since(connection, time.time() - KEPT_SECONDS))
        self.loaded = True

    def _add(self, erased: Mapping[bytes, float]) -> None:
        oldest = time.time() - KEPT_SECONDS
        self._at = {digest: at for digest, at in self._at.items() if at >= oldest}
        for digest, at in erased.items():
            self._at[digest] = max(at, self._at.get(digest, 0.0))


def _digest(user_id: str) -> bytes:
    return sha256(user_id.encode(errors="surrogatepass")).digest()
