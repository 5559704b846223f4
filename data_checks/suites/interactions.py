"""What must hold of interactions, once the quarantine has taken the bad ones out."""

from __future__ import annotations

from datetime import datetime

from great_expectations import ExpectationSuite
from great_expectations import expectations as gxe
from great_expectations.expectations.row_conditions import Column

from data_checks.suites import parts
from models.profile.interaction_types import NAME
from models.profile.schema import Profile
from storage.loading.values.columns import MAX_ID_BYTES


def interactions_query(since: datetime | None = None, until: datetime | None = None) -> str:
    """SQL of the columns that the suite reads, for ``since <= occurred_at < until``."""
    return f"""
        SELECT event_id::text AS event_id, type, user_id, item_id, occurred_at,
               octet_length(user_id) AS user_id_bytes, octet_length(item_id) AS item_id_bytes
        FROM feed.interactions {within(since, until)}"""


def within(since: datetime | None, until: datetime | None) -> str:
    """SQL condition ``since <= occurred_at < until``, where either is given."""
    limits = [f"occurred_at >= '{since.isoformat()}'"] if since else []
    limits += [f"occurred_at < '{until.isoformat()}'"] if until else []
    return f"WHERE {' AND '.join(limits)}" if limits else ""


def interactions_suite(profile: Profile, *, may_be_empty: bool = False) -> ExpectationSuite:
    """For the columns of ``interactions_query``. A quiet day may be empty, a history not."""
    types = profile.interaction_types
    return parts.suite(
        "interactions",
        [
            *([] if may_be_empty else parts.rows()),
            gxe.ExpectColumnValuesToBeUnique(column="event_id", description="event_id is unique"),
            gxe.ExpectColumnValuesToMatchRegex(
                column="type", regex=NAME, description="type is the name of one"
            ),
            gxe.ExpectColumnValuesToNotBeNull(
                column="item_id",
                row_condition=Column("type").is_in(types.with_item),
                description="item_id is given, except for "
                + " and ".join(sorted(types.without_item, reverse=True)),
            ),
            *parts.bounds("interactions", profile.checks, 1.0),
            *(
                gxe.ExpectColumnValuesToBeBetween(
                    column=f"{column}_bytes",
                    min_value=1,
                    max_value=MAX_ID_BYTES,
                    description=f"{column} has 1 to {MAX_ID_BYTES} bytes",
                )
                for column in ("user_id", "item_id")
            ),
        ],
        row_id=["event_id"],
    )
