"""What must hold of interactions, once the quarantine has taken the bad ones out."""

from __future__ import annotations

from datetime import datetime

from great_expectations import ExpectationSuite
from great_expectations import expectations as gxe
from great_expectations.expectations.row_conditions import Column

from data_checks.suites import parts
from models.profile.schema import INTERACTION_TYPES, Profile
from storage.columns import MAX_ID_BYTES, WITHOUT_ITEM

UNKNOWN = "unknown"
"""Column of ``interactions_query``."""


def interactions_query(since: datetime | None = None, until: datetime | None = None) -> str:
    """SQL of the columns that the suite reads, for ``since <= occurred_at < until``.

    ``unknown`` names the user or item that has no row of its own, and was not deleted either; null
    when all are known.
    """
    limits = [f"occurred_at >= '{since.isoformat()}'"] if since else []
    limits += [f"occurred_at < '{until.isoformat()}'"] if until else []
    where = f"WHERE {' AND '.join(limits)}" if limits else ""
    return f"""
        SELECT event_id::text AS event_id, i.type, i.user_id, i.item_id, i.occurred_at,
               octet_length(i.user_id) AS user_id_bytes, octet_length(i.item_id) AS item_id_bytes,
               CASE WHEN {_unknown("users", "i.user_id", "u.id")}
                    THEN 'user ' || left(i.user_id, 80)
                    WHEN {_unknown("items", "i.item_id", "t.id")}
                    THEN 'item ' || left(i.item_id, 80)
               END AS {UNKNOWN}
        FROM (SELECT * FROM feed.interactions {where}) AS i
        LEFT JOIN feed.users AS u ON u.id = i.user_id
        LEFT JOIN feed.items AS t ON t.id = i.item_id"""


def _unknown(entity: str, named: str, known: str) -> str:
    return (
        f"{named} IS NOT NULL AND {known} IS NULL AND NOT EXISTS (SELECT FROM feed.deleted AS d "
        f"WHERE d.entity = '{entity}' AND d.id_sha256 = sha256(convert_to({named}, 'UTF8')))"
    )


def interactions_suite(profile: Profile, *, may_be_empty: bool = False) -> ExpectationSuite:
    """For the columns of ``interactions_query``. A quiet day may be empty, a history not."""
    share = profile.checks.max_orphan_share
    return parts.suite(
        "interactions",
        [
            *([] if may_be_empty else parts.rows()),
            gxe.ExpectColumnValuesToBeUnique(column="event_id", description="event_id is unique"),
            gxe.ExpectColumnValuesToBeInSet(
                column="type", value_set=list(INTERACTION_TYPES), description="type is known"
            ),
            gxe.ExpectColumnValuesToNotBeNull(
                column="item_id",
                row_condition=Column("type").is_not_in(WITHOUT_ITEM),
                description=f"item_id is given, except for {' and '.join(WITHOUT_ITEM)}",
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
            gxe.ExpectColumnValuesToBeNull(
                column=UNKNOWN,
                mostly=1 - share,
                description=f"user and item are known, but for a share of {share:g}",
            ),
        ],
        row_id=["event_id"],
    )
