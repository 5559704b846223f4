"""The check of the interactions, which names who and what is unknown most often."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from data_checks.report import CheckReport, Finding
from data_checks.suites.interactions import UNKNOWN, interactions_query, interactions_suite
from data_checks.validate import EXAMPLES, check_table
from models.profile.schema import Profile
from storage.database import connect


def check_interactions(
    profile: Profile,
    database_url: str,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    may_be_empty: bool = False,
) -> CheckReport:
    """The interactions with ``since <= occurred_at < until``, inside Postgres.

    Raises:
        CheckError: the table cannot be read.
    """
    query = interactions_query(since, until)
    report = check_table(
        interactions_suite(profile, may_be_empty=may_be_empty), database_url, query
    )

    def told(finding: Finding) -> Finding:
        if finding.column != UNKNOWN or finding.success:
            return finding
        most = _most_frequent(database_url, query)
        return replace(finding, observed=f"{finding.observed}, most often {most}")

    return replace(report, findings=tuple(map(told, report.findings)))


def _most_frequent(database_url: str, query: str) -> str:
    with connect(database_url) as conn:
        rows = conn.execute(
            f"SELECT {UNKNOWN}, count(*) FROM ({query}) AS checked WHERE {UNKNOWN} IS NOT NULL"
            f" GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {EXAMPLES}"
        )
        return ", ".join(f"{name} ({count:,})" for name, count in rows)
