"""Alerts of what goes wrong again and again: one when it begins, one a day while it lasts, and
an all-clear when it is over.

A cause is a job with the step and the check that failed; its last alert says whether it lasts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import psycopg

from going_live.alerts import Severity, raise_alert
from storage.clocks import CLOCKS_DIFFER

FAILED, RECOVERED = "run_failed", "run_recovered"
REPEATED = "1 day"
LAST = """
SELECT DISTINCT ON (detail->'cause')
    kind, raised_at BETWEEN now() - %(repeated)s::interval AND now() + %(differ)s, detail->'cause'
FROM feed.alerts
WHERE kind IN ('run_failed', 'run_recovered') AND detail->'cause'->>'job' = %(job)s
ORDER BY detail->'cause', id DESC
"""


@dataclass(frozen=True)
class Key:
    """What failed. ``step`` None: the run itself; ``check`` None: no data check."""

    job: str
    step: str | None
    check: str | None

    def __str__(self) -> str:
        step = f" at {self.step}" if self.step else ""
        return f"{self.job} fails" + (f" at the check {self.check}" if self.check else step)

    def to_dict(self) -> dict[str, str | None]:
        return {"job": self.job, "step": self.step, "check": self.check}

    @classmethod
    def of(cls, labels: Mapping[str, str | None]) -> Self:
        return cls(str(labels["job"]), labels["step"], labels["check"])


def failed(
    conn: psycopg.Connection, key: Key, severity: Severity, message: str, detail: Mapping[str, Any]
) -> bool:
    """Raise an alert of a failure, unless one of the last day lasts. Returns whether it did.

    Args:
        message: why, in a sentence.
        detail: what people need beside it.
    """
    kind, lately = _last(conn, key.job).get(key, ("", False))
    if kind == FAILED and lately:
        return False
    cause = {"cause": key.to_dict(), "error": message[:800]}
    raise_alert(conn, FAILED, severity, f"{key}: {message}"[:300], {**detail, **cause})
    return True


def lasting(conn: psycopg.Connection, job: str) -> list[Key]:
    """What of a job failed, and has no alert yet that it is over."""
    return [key for key, (kind, _) in _last(conn, job).items() if kind == FAILED]


def over(conn: psycopg.Connection, key: Key, detail: Mapping[str, Any]) -> None:
    """The all-clear."""
    title = f"All clear: {str(key).replace(' fails', ' passes again', 1)}"
    raise_alert(conn, RECOVERED, "info", title, {**detail, "cause": key.to_dict()})


def _last(conn: psycopg.Connection, job: str) -> dict[Key, tuple[str, bool]]:
    """The kind of each cause's last alert, and whether that is less than a day old."""
    rows = conn.execute(
        LAST, {"job": job, "repeated": REPEATED, "differ": CLOCKS_DIFFER}
    ).fetchall()
    return {Key.of(cause): (kind, lately) for kind, lately, cause in rows}
