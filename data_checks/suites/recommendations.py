"""What must hold of precomputed recommendations before they are published."""

from __future__ import annotations

import polars as pl
from great_expectations import ExpectationSuite
from great_expectations import expectations as gxe

from data_checks.suites import parts
from models.profile.schema import Profile


def recommendations_frame(recommendations: pl.DataFrame, eligible: pl.Series) -> pl.DataFrame:
    """The columns user_id, item_id, rank, score, model_version, and what the suite needs to
    know of each row's neighbours.

    Args:
        eligible: ids of the items that may be shown.

    Returns:
        Beside these columns: eligible; place, 1 to n by rank within the user; copies,
        the rows of the same user and item.
    """
    return recommendations.select(
        "user_id",
        "item_id",
        "rank",
        "score",
        "model_version",
        eligible=pl.col("item_id").is_in(eligible.implode()),
        place=pl.col("rank").rank("ordinal").over("user_id"),
        copies=pl.len().over("user_id", "item_id"),
    )


def recommendations_suite(profile: Profile) -> ExpectationSuite:
    """For ``recommendations_frame``. There may be no lists: where nobody was active lately, or all
    have seen everything."""
    most = profile.recommendations.per_user
    return parts.suite(
        "recommendations",
        [
            *(
                gxe.ExpectColumnValuesToNotBeNull(column=column, description=f"{column} is given")
                for column in ("user_id", "item_id", "rank", "model_version")
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="rank", min_value=1, max_value=most, description=f"rank is in 1 to {most}"
            ),
            gxe.ExpectColumnPairValuesToBeEqual(
                column_A="rank", column_B="place", description="ranks of a user are 1, 2, 3, …"
            ),
            gxe.ExpectColumnValuesToNotBeNull(column="score", description="score is a number"),
            gxe.ExpectColumnValuesToBeBetween(
                column="score", min_value=0, max_value=1, description="score is in 0 to 1"
            ),
            gxe.ExpectColumnValuesToBeInSet(
                column="copies", value_set=[1], description="an item comes once for a user"
            ),
            gxe.ExpectColumnValuesToBeInSet(
                column="eligible", value_set=[True], description="the item is known and eligible"
            ),
            gxe.ExpectColumnUniqueValueCountToBeBetween(
                column="model_version",
                max_value=1,
                description="all are of one model version",
            ),
        ],
        row_id=["user_id", "item_id"],
    )
