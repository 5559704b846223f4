"""Data checks as Dagster shows them.

Great Expectations takes seconds to import, so each check imports its suite when it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import dagster as dg
import polars as pl
import psycopg

from data_checks.docs import build_docs, suite_page
from data_checks.report import CheckReport
from models.data.features import Features
from models.data.ids import IdIndex
from models.profile.schema import Profile
from models.profile.training_sections import Checks
from orchestration.resources import Platform
from storage.events.quarantine import Catalogue

SUITE = "suite"
"""Name of the check that every checked asset has: all expectations of its suite."""
REJECTED = "rejected_share"
STRAYS = "unknown_share"
TYPES = "unknown_types"
SHOWN = 20


def holds(check: dg.AssetCheckResult | dg.AssetCheckEvaluation) -> bool:
    """Whether a check passed; one that only warns stops nothing."""
    return check.passed or check.severity is dg.AssetCheckSeverity.WARN


def suite_spec(asset: str, what: str) -> dg.AssetCheckSpec:
    """A blocking check: when it fails, nothing downstream runs."""
    return dg.AssetCheckSpec(
        SUITE, asset=asset, blocking=True, description=f"Great Expectations suite: {what}"
    )


def rejected_spec(asset: str) -> dg.AssetCheckSpec:
    """A blocking check: too many bad rows mean that something is wrong upstream."""
    return dg.AssetCheckSpec(
        REJECTED,
        asset=asset,
        blocking=True,
        description="Share of bad rows; they are in `feed.interactions_rejected` with a reason",
    )


def strays_spec(asset: str) -> dg.AssetCheckSpec:
    """A check that blocks where nearly nothing is known, and warns where much is not."""
    return dg.AssetCheckSpec(
        STRAYS,
        asset=asset,
        blocking=True,
        description="Share of interactions of unknown users or with unknown items, left out. "
        "Nothing is trained where nearly all that there are are such",
    )


def types_spec(asset: str) -> dg.AssetCheckSpec:
    """A check that warns of rows that wait for their type."""
    return dg.AssetCheckSpec(
        TYPES,
        asset=asset,
        description="Interactions of types that the profile does not have. They count for nothing, "
        "and stay for when it has them",
    )


def source_specs(asset: str, what: str) -> list[dg.AssetCheckSpec]:
    """The checks of an asset that reads a table of the product."""
    return [rejected_spec(asset), suite_spec(asset, what)]


def rejected_result(
    asset: str, rejected: Mapping[str, int], rows: int, limits: Checks
) -> dg.AssetCheckResult:
    """Whether the bad rows (by reason) are few, or few of all, ``rows`` being the good."""
    bad, limit = sum(rejected.values()), limits.max_rejected_share
    share = bad / max(bad + rows, 1)
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=REJECTED,
        passed=share <= limit or bad < limits.min_rejected,
        description=f"{bad:,} of {bad + rows:,} rows rejected ({share:.2%}), limit {limit:.2%}",
        metadata={"rejected": bad, "share": share, "by_reason": dict(rejected)},
    )


def strays_result(
    conn: psycopg.Connection, start: datetime, end: datetime, limits: Checks
) -> dg.AssetCheckResult:
    """How many interactions with ``start <= occurred_at < end`` are of nobody, or with nothing,
    that is known. They are left out, so many of them harm nothing: whoever may send events can
    make them up. Only where nearly all of the whole log are such is it not worth a training."""
    from data_checks.interactions import find_strays

    strays, broken = find_strays(conn, start, end), False
    description = f"{strays}; they are left out"
    if strays.share > limits.broken_orphan_share:
        everything = find_strays(conn)
        broken = everything.share > limits.broken_orphan_share
        if broken:
            description = f"Of all, {everything}: load the users and items that they name"
    return dg.AssetCheckResult(
        check_name=STRAYS,
        passed=not broken and strays.share <= limits.max_orphan_share,
        severity=dg.AssetCheckSeverity.ERROR if broken else dg.AssetCheckSeverity.WARN,
        description=description if strays.rows else "every user and item is known",
        metadata={"unknown": strays.rows, "share": strays.share},
    )


def types_result(conn: psycopg.Connection, profile: Profile) -> dg.AssetCheckResult:
    """How many interactions are of which type that the profile does not have, or no longer."""
    from data_checks.interactions import rows_without_type

    counts = rows_without_type(conn, profile.interaction_types)
    named = ", ".join(f"{name} ({count:,})" for name, count in list(counts.items())[:SHOWN])
    return dg.AssetCheckResult(
        check_name=TYPES,
        passed=not counts,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{sum(counts.values()):,} interactions are of types that the profile does not "
        f"have: {named}. They are kept, and count again once it has them under interaction_types"
        if counts
        else "the profile has every type",
        metadata={"rows": sum(counts.values()), "types": dict(list(counts.items())[:SHOWN])},
    )


def suite_result(platform: Platform, report: CheckReport) -> dg.AssetCheckResult:
    """What failed, how many and examples, with a row for each expectation, and a page in
    the Data Docs."""
    docs = platform.settings.home / "data_docs"
    build_docs([report], docs)
    columns = ("expectation", "column", "passed", "observed", "unexpected", "examples")
    records = [
        dg.TableRecord(
            {
                "expectation": finding.expectation,
                "column": finding.column,
                "passed": finding.success,
                "observed": finding.observed,
                "unexpected": finding.unexpected_count,
                "examples": "; ".join(finding.examples),
            }
        )
        for finding in sorted(report.findings, key=lambda finding: finding.success)
    ]
    schema = dg.TableSchema(
        [
            dg.TableColumn(name, {"passed": "bool", "unexpected": "int"}.get(name, "string"))
            for name in columns
        ]
    )
    metadata: dict[str, dg.MetadataValue] = {
        "summary": dg.MetadataValue.text(report.summary),
        "rows_checked": dg.MetadataValue.int(report.rows_checked),
        "expectations": dg.MetadataValue.table(records, schema),
    }
    if report.failures:
        metadata["findings"] = dg.MetadataValue.md(report.to_markdown())
    metadata["data_docs"] = dg.MetadataValue.url(suite_page(docs, report.suite).as_uri())
    return dg.AssetCheckResult(
        check_name=SUITE, passed=report.success, metadata=metadata, description=report.summary
    )


def interactions(
    platform: Platform, start: datetime, end: datetime, *, may_be_empty: bool
) -> dg.AssetCheckResult:
    """The interactions with ``start <= occurred_at < end``, inside Postgres."""
    from data_checks.interactions import check_interactions

    report = check_interactions(
        platform.profile, platform.url, start, end, may_be_empty=may_be_empty
    )
    return suite_result(platform, report)


def catalogue(platform: Platform, entity: Catalogue, where: str) -> dg.AssetCheckResult:
    """The users, items or owners that the predicate keeps, inside Postgres."""
    from data_checks.suites.items import items_suite
    from data_checks.suites.owners import owners_suite
    from data_checks.suites.users import users_suite
    from data_checks.validate import check_table

    suites = {"users": users_suite, "items": items_suite, "owners": owners_suite}
    query = f"SELECT * FROM feed.{entity} WHERE {where}"
    return suite_result(
        platform, check_table(suites[entity](platform.profile), platform.url, query)
    )


def features(platform: Platform, entity: str, made: Features, ids: IdIndex) -> dg.AssetCheckResult:
    """The features of users or items."""
    from data_checks.suites.features import features_frame, features_suite
    from data_checks.validate import check_frame

    suite = features_suite(platform.profile, entity)
    return suite_result(platform, check_frame(suite, features_frame(made.values, ids)))


def recommendations(
    platform: Platform, lists: pl.DataFrame, may_be_shown: pl.Series
) -> CheckReport:
    """The ready lists, before they are published."""
    from data_checks.suites.recommendations import recommendations_frame, recommendations_suite
    from data_checks.validate import check_frame

    suite = recommendations_suite(platform.profile)
    return check_frame(suite, recommendations_frame(lists, may_be_shown))
