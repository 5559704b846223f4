"""The keys and secrets that a worker knows, as Postgres has them."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from pathlib import Path

import psycopg

from serving.access.kept import Known, keep, recall
from serving.access.tokens import BadToken, Claims, read_token
from serving.postgres.database import Database, DatabaseAway
from storage.catalogue.entities import Connection
from storage.operations import keys
from storage.operations.keys import LiveKey, TokenSecret

log = logging.getLogger("feedwright.serving")

MISS_SECONDS = 1.0
"""An unknown key makes Postgres be asked again, but not more often than this."""
REMEMBERED_TOKENS = 10_000
_NO_HASH = bytes(32)


class KeyRing:
    """Looked into for every request, without asking anybody. When Postgres is away, what was
    known last goes on; ``file`` keeps it for workers to come.

    Attributes:
        loaded: what is known is not nothing for want of an answer.
    """

    def __init__(self, database: Database, file: Path) -> None:
        self._database = database
        self._file = file
        self._known: Known = [], []
        self._keys: dict[str, LiveKey] = {}
        self._secrets: list[TokenSecret] = []
        self._tokens: dict[str, Claims] = {}
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = -MISS_SECONDS
        self._used: dict[str, float] = {}
        self.loaded = False

    async def find(self, key: str) -> LiveKey | None:
        """The key, if it is one and was not revoked."""
        key_id = keys.key_id_of(key)
        if key_id is None:
            return None
        if key_id not in self._keys:
            await self._ask_again()
        held = self._keys.get(key_id)
        given = keys.hash_key(key)
        if not hmac.compare_digest(given, held.key_hash if held else _NO_HASH) or held is None:
            return None
        self._used[key_id] = time.time()
        return held

    async def read(self, token: str) -> Claims:
        """What a token says.

        Raises:
            BadToken: it is not valid now.
        """
        claims = self._tokens.get(token)
        if claims is None:
            try:
                claims = self._verify(token)
            except BadToken:
                if not await self._ask_again():
                    raise
                claims = self._verify(token)  # signed by a secret that is new
            if len(self._tokens) >= REMEMBERED_TOKENS:
                self._tokens.clear()
            self._tokens[token] = claims
        if claims.expires_at < time.time():
            self._tokens.pop(token, None)
            raise BadToken("it has expired")
        return claims

    async def signing(self) -> TokenSecret:
        """The secret that signs tokens.

        Raises:
            DatabaseAway: it is not known yet.
        """
        if not self._secrets:
            await self.reload()
        return self._secrets[0]

    async def reload(self) -> None:
        """Ask Postgres.

        Raises:
            DatabaseAway: it does not answer; what was known stays.
        """
        used, self._used = self._used, {}

        async def work(connection: Connection) -> tuple[list[LiveKey], list[TokenSecret]]:
            if used:
                await keys.note_use(connection, used)
            return await keys.live_keys(connection), await keys.live_secrets(connection)

        try:
            stored, secrets = await self._database.run(work)
        except (DatabaseAway, psycopg.Error) as error:
            self._used = used | self._used
            if isinstance(error, DatabaseAway):
                raise
            # a role without the right, or a database that is not migrated yet
            log.error("keys cannot be read", extra={"detail": str(error)})
            raise DatabaseAway("keys cannot be read") from error
        self._learn((stored, secrets))

    async def open(self) -> None:
        """Learn what there is, from the file if Postgres is away."""
        try:
            await self.reload()
        except DatabaseAway:
            kept = recall(self._file)
            if kept is not None:
                self._learn(kept)

    def _learn(self, stored: Known) -> None:
        first, self.loaded = not self.loaded, True
        if stored == self._known and not first:
            return
        self._known = stored
        keys, self._secrets = stored
        self._keys = {key.key_id: key for key in keys}
        self._tokens.clear()
        try:
            keep(self._file, stored)
        except OSError as error:
            log.warning("keys are not kept on disk", extra={"detail": str(error)})

    def _verify(self, token: str) -> Claims:
        return read_token(token, {str(secret.id): secret.secret for secret in self._secrets})

    async def _ask_again(self) -> bool:
        """Reload unless that was done just now; whether it was done. Who comes meanwhile waits
        for the same answer."""
        if self._asking is None or self._asking.done():
            if time.monotonic() - self._asked_at < MISS_SECONDS:
                return False
            self._asked_at = time.monotonic()
            self._asking = asyncio.create_task(self._try_reload())
        await asyncio.shield(self._asking)
        return True

    async def _try_reload(self) -> None:
        try:
            await self.reload()
        except DatabaseAway:
            log.debug("keys not read")
