"""What ``load`` calls good, the blocking checks of a training take: one set of rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from data_checks.interactions import check_interactions
from data_checks.suites.items import items_suite
from data_checks.suites.owners import owners_suite
from data_checks.suites.users import users_suite
from data_checks.validate import check_table
from models.profile.interaction_types import DEFAULT_TYPES
from models.profile.schema import load_profile
from storage.loading.load import load
from storage.loading.log import Log, shift_to
from storage.loading.values.columns import COLUMNS, STATUSES, Column, Entity
from storage.postgres.database import connect

NOW = datetime.now(UTC)
MINUTES = [(NOW + timedelta(minutes=n)).isoformat() for n in (-5, 8, 60)]
CELLS: dict[str, list[str | None]] = {
    "number": [None, "", "NaN", "inf", "1e999", "-1", "-0.0", "0", "0.5", "5.1", "90.01", "180",
               "1e15", "1.1e15"],
    "whole": [None, "", "-1", "0", "2147483647", "2147483648", "1.5"],
    "time": [None, "", "1969-12-31T23:59:59Z", "1970-01-01", "2024-05-01T10:00:00Z", *MINUTES,
             "9999-12-31T23:59:59.999999Z", "20026-01-01"],
    "id": [None, "", "a", "b", "é" * 127, "é" * 128, "n\0l"],
    "type": [None, "", "purchase", *DEFAULT_TYPES.names],
    "status": [None, "", "gone", "Published", *STATUSES],
}  # fmt: skip
CHECKED: dict[Entity, list[Column]] = {
    entity: [column for column in columns if column.kind in CELLS]
    for entity, columns in COLUMNS.items()
}
GOOD = {"id": "a", "user_id": "a", "item_id": "a", "type": "view", "occurred_at": "2024-05-01"}


@st.composite
def frames(draw: st.DrawFn, entity: Entity) -> pl.DataFrame:
    """Rows of one entity, of which the first is good, with some of its columns."""
    columns = [one for one in CHECKED[entity] if one.required or draw(st.booleans())]
    row = st.fixed_dictionaries({one.name: st.sampled_from(CELLS[one.kind]) for one in columns})
    rows: list[dict[str, Any]] = [
        {one.name: GOOD.get(one.name) for one in columns},
        *draw(st.lists(row, min_size=10, max_size=30)),
    ]
    return pl.DataFrame(rows, schema={one.name: pl.String for one in columns})


LOGS = st.fixed_dictionaries({entity: frames(entity) for entity in CHECKED})


def items(**columns: str) -> dict[Entity, pl.DataFrame]:
    """A log that says this of one item."""
    log: dict[Entity, pl.DataFrame] = {
        entity: pl.DataFrame({one.name: [GOOD.get(one.name)] for one in made if one.required})
        for entity, made in CHECKED.items()
    }
    return log | {"items": log["items"].with_columns(**{k: pl.lit(v) for k, v in columns.items()})}


@given(first=LOGS, second=LOGS, shift=st.booleans())
@example(first=items(price_min="5"), second=items(price_max="1"), shift=False)
@example(first=items(lat="1", lon="2"), second=items(lat="3"), shift=False)
@settings(
    max_examples=2,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_what_load_calls_good_passes_the_checks(
    database: str, first: dict[str, pl.DataFrame], second: dict[str, pl.DataFrame], shift: bool
) -> None:
    """Also when one log is loaded over another that has other columns."""
    with connect(database, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE feed.users, feed.items, feed.owners, feed.interactions CASCADE"
        )
    with psycopg.connect(database) as connection:
        for frames in (first, second):
            log = Log(**frames)  # type: ignore[arg-type]
            load(connection, shift_to(log, NOW) if shift else log)
    profile = load_profile("marketplace")
    reports = [
        check_table(users_suite(profile), database, "feed.users"),
        check_table(items_suite(profile), database, "feed.items"),
        check_table(owners_suite(profile), database, "feed.owners"),
        check_interactions(profile, database),
    ]
    assert [one.summary for one in reports if not one.success] == []
