"""What must hold of a feature matrix, read as one row of numbers a user or item."""

from __future__ import annotations

import numpy as np
import polars as pl
from great_expectations import ExpectationSuite
from great_expectations import expectations as gxe
from great_expectations.expectations.row_conditions import Column
from scipy import sparse

from data_checks.suites import parts
from models.data.ids import IdIndex
from models.profile.schema import Profile

SUM_TOLERANCE = 1e-3  # of a sum of float32 weights


def features_frame(values: sparse.csr_array, ids: IdIndex) -> pl.DataFrame:
    """A feature matrix, shape (len(ids), features), as columns id, features (how many the
    row has), not_finite (how many of their weights are NaN or infinite), weight (their sum;
    null when one is not finite)."""
    rows = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))
    finite = np.isfinite(values.data)
    data = np.where(finite, values.data, 0).astype(np.float64)
    broken = np.bincount(rows[~finite], minlength=len(ids))
    return pl.DataFrame(
        {
            "id": ids.to_series(),
            "features": np.bincount(rows, minlength=len(ids)),
            "not_finite": broken,
            "weight": np.bincount(rows, weights=data, minlength=len(ids)),
        }
    ).with_columns(weight=pl.when(pl.col("not_finite") == 0).then("weight"))


def features_suite(
    profile: Profile, entity: str = "item", *, min_coverage: float = 0.0
) -> ExpectationSuite:
    """For ``features_frame``; ``entity`` is ``user`` or ``item``.

    Args:
        min_coverage: share of rows that must have at least one feature. A row without
            any is left to its own indicator column, so 0 is no error in itself.
    """
    described = Column("features") > 0
    return parts.suite(
        f"{entity}_features",
        [
            *parts.rows(),
            gxe.ExpectColumnValuesToBeInSet(
                column="not_finite", value_set=[0], description="all weights are finite"
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="weight",
                min_value=1 - SUM_TOLERANCE,
                max_value=1 + SUM_TOLERANCE,
                row_condition=described,
                description=f"the weights of a {entity} that has features sum to 1",
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="features",
                min_value=1,
                mostly=min_coverage,
                description=f"at least {min_coverage:.0%} of rows have a feature",
            ),
        ],
        row_id=["id"],
    )
