"""What must hold of items, ``feed.items``."""

from __future__ import annotations

from great_expectations import ExpectationSuite
from great_expectations import expectations as gxe

from data_checks.suites import parts
from models.profile.schema import Profile
from storage.loading.values.columns import STATUSES


def items_suite(profile: Profile, *, tolerated_share: float = 0.0) -> ExpectationSuite:
    """Columns id, lat, lon, price_min, price_max, status, capacity and the times of an item;
    see ``users_suite``."""
    mostly = 1 - tolerated_share
    return parts.suite(
        "items",
        [
            *parts.rows(),
            *parts.key("id"),
            *parts.bounds("items", profile.checks, mostly),
            *parts.place(mostly),
            gxe.ExpectColumnValuesToBeInSet(
                column="status",
                value_set=list(STATUSES),
                mostly=mostly,
                description=f"status is one of {', '.join(STATUSES)}",
            ),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="price_max",
                column_B="price_min",
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                mostly=mostly,
                description="price_min is not above price_max",
            ),
        ],
        row_id=["id"],
    )
