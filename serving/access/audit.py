"""Lines for ``feed.audit_log``, written in the background: no request waits for them, or fails."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from datetime import UTC, datetime
from typing import Any

import psycopg

from serving.access.rules import Rule
from serving.postgres.database import Database, DatabaseAway
from storage.catalogue.entities import Connection
from storage.operations.keys import AuditEntry, write_audit

log = logging.getLogger("feedwright.serving")

MOST_WAITING = 10_000
LONGEST_PATH = 1_000
AT_ONCE = 1_000


class AuditLog:
    """Calls that were answered are noted one by one; those that were refused are counted, so that
    nobody fills the table from outside."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[AuditEntry] = deque(maxlen=MOST_WAITING)
        self._refused: dict[tuple[str, str, int], int] = {}
        self._lost = 0

    def note(self, actor: str, method: str, rule: Rule, text: str, **detail: Any) -> None:
        """One call; ``text`` is what stands in its path. Whom it is about is kept as a hash."""
        if "{user}" in rule.path:
            user = text.encode("utf-8", "surrogatepass")
            detail["user_sha256"] = hashlib.sha256(user).hexdigest()
            path = rule.path
        else:
            before, brace, after = rule.path.partition("{")
            path = before + _storable(text) + after.partition("}")[2] if brace else rule.path
        self._add(AuditEntry(datetime.now(UTC), actor, f"{method} {rule.path}",
                             {"path": path, **detail}))  # fmt: skip

    def count_refused(self, actor: str, method: str, rule: Rule, status: int) -> None:
        key = actor, f"{method} {rule.path}", status
        self._refused[key] = self._refused.get(key, 0) + 1

    async def flush(self) -> None:
        """Write what waits; what cannot be written waits on, and the oldest go first."""
        refused, self._refused = self._refused, {}
        for (actor, action, status), times in refused.items():
            detail = {"status": status, "refused": True, "times": times}
            self._add(AuditEntry(datetime.now(UTC), actor, action, detail))
        if self._lost:
            log.error("lines of the audit log were lost", extra={"count": self._lost})
            self._lost = 0
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]

            async def work(connection: Connection, batch: list[AuditEntry] = batch) -> None:
                await write_audit(connection, batch)

            try:
                await self._database.run(work)
            except DatabaseAway:
                for entry in reversed(batch):
                    if len(self._waiting) == MOST_WAITING:
                        self._lost += 1
                    else:
                        self._waiting.appendleft(entry)
                return
            except psycopg.Error:  # it would be refused again
                log.exception("lines of the audit log were refused", extra={"count": len(batch)})

    def _add(self, entry: AuditEntry) -> None:
        self._lost += len(self._waiting) == MOST_WAITING
        self._waiting.append(entry)


def _storable(text: str) -> str:
    """What Postgres can keep of it: no NUL, and no half of a character."""
    whole = text[:LONGEST_PATH].encode("utf-8", "replace").decode()
    return whole.replace("\0", "\ufffd")
