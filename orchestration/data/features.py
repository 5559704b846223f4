"""Group ``features``: the interaction matrix, similarities, and features."""

from datetime import UTC, datetime

import dagster as dg
import numpy as np
import polars as pl
from psycopg import Connection

from models.data import features
from models.data.ids import IdIndex
from models.data.interactions.matrices import InteractionMatrix
from models.data.interactions.matrices import interaction_matrix as build_matrix
from models.data.similarities import Neighbours, top_neighbours
from models.profile.schema import Profile
from orchestration import plots
from orchestration.data import checks
from orchestration.data.sources import Rows, interactions
from orchestration.policies import OWNERS, TRANSIENT, value_of
from orchestration.resources import Platform
from storage.postgres.bulk import replace_rows

GROUP = "features"


@dg.asset(
    dagster_type=value_of(InteractionMatrix),
    group_name=GROUP,
    kinds={"scipy"},
    owners=OWNERS,
    deps=[dg.AssetDep(interactions, partition_mapping=dg.AllPartitionMapping())],
)
def interaction_matrix(platform: Platform, users: Rows, items: Rows) -> dg.MaterializeResult:
    """Users by items: the weighted sum of what each user did with each item."""
    profile = platform.profile
    matrix = build_matrix(
        platform.lake.scan(),
        IdIndex.of(users.frame["id"]),
        IdIndex.of(items.frame["id"]),
        profile.interaction_weights,
        profile.interaction_types,
        half_life_days=profile.matrix.half_life_days,
        now=datetime.now(UTC),
    )
    values = matrix.values
    by_day = (
        platform.lake.scan()
        .group_by(day=pl.col("occurred_at").dt.date(), type="type")
        .agg(count=pl.len())
        .collect()
    )
    if not matrix.positive.nnz:
        raise dg.Failure(_no_likes(by_day, profile), allow_retries=False)
    cells = max(values.shape[0] * values.shape[1], 1)
    return dg.MaterializeResult(
        value=matrix,
        metadata={
            "users": values.shape[0],
            "items": values.shape[1],
            "pairs": values.nnz,
            "density": values.nnz / cells,
            # Here, not on `interactions`: a run repeats its metadata for each of its days.
            "interactions_by_day_and_type": plots.as_metadata(plots.interactions_by_day, by_day),
            "long_tail": plots.as_metadata(
                plots.long_tail, np.bincount(values.indices, minlength=values.shape[1])
            ),
            "values": plots.as_metadata(
                plots.distribution, values.data, "Value of a pair", "sum of weights"
            ),
        },
    )


def _no_likes(by_day: pl.DataFrame, profile: Profile) -> str:
    """What the log has, and what it lacks. ``by_day`` counts interactions by ``type``."""
    counts = by_day.group_by("type").agg(pl.sum("count")).sort("count", descending=True).head(10)
    there = ", ".join(f"{count:,} {kind}" for kind, count in counts.iter_rows())
    wanted = ", ".join(name for name, weight in profile.interaction_weights.items() if weight > 0)
    return (
        "There is nothing to learn from yet: no interaction says that a user likes an item "
        f"(there are: {there or 'none'}). Send or load some of these types, with a user and an "
        f"item: {wanted}; or give a type of yours a weight above 0 in the profile, "
        "under interaction_weights."
    )


@dg.asset(
    dagster_type=value_of(Neighbours),
    group_name=GROUP,
    kinds={"scipy", "postgres"},
    owners=OWNERS,
    retry_policy=TRANSIENT,
)
def user_similarities(
    platform: Platform, interaction_matrix: InteractionMatrix
) -> dg.MaterializeResult:
    """Users with similar taste: top-k cosine over what they liked."""
    neighbours = top_neighbours(
        interaction_matrix.liked,
        platform.profile.similarity.neighbours,
        max_share=platform.profile.matrix.common_item_share,
    )
    with platform.connect() as conn:
        _store(conn, "user", interaction_matrix.users, neighbours)
    return dg.MaterializeResult(value=neighbours, metadata=_described(neighbours))


@dg.asset(
    dagster_type=value_of(Neighbours),
    group_name=GROUP,
    kinds={"scipy", "postgres"},
    owners=OWNERS,
    retry_policy=TRANSIENT,
)
def item_similarities(
    platform: Platform, interaction_matrix: InteractionMatrix
) -> dg.MaterializeResult:
    """Items liked by the same users: top-k cosine."""
    neighbours = top_neighbours(
        interaction_matrix.liked.T.tocsr(), platform.profile.similarity.neighbours
    )
    with platform.connect() as conn:
        _store(conn, "item", interaction_matrix.items, neighbours)
    return dg.MaterializeResult(value=neighbours, metadata=_described(neighbours))


def _store(conn: Connection, entity: str, ids: IdIndex, neighbours: Neighbours) -> None:
    indices, scores = neighbours
    row, position = np.nonzero(indices >= 0)
    names = ids.to_series()
    frame = pl.DataFrame(
        {
            f"{entity}_id": names.gather(row),
            "similar_id": names.gather(indices[row, position]),
            "rank": (position + 1).astype(np.int16),
            "score": scores[row, position],
        }
    )
    replace_rows(conn, f"{entity}_similarities", frame)


def _described(neighbours: Neighbours) -> dict[str, dg.MetadataValue | float]:
    indices, scores = neighbours
    with_neighbours = np.count_nonzero((indices >= 0).any(axis=1))
    return {
        "rows": len(indices),
        "share_with_neighbours": float(with_neighbours / max(len(indices), 1)),
        "scores": plots.as_metadata(
            plots.distribution, scores[indices >= 0], "Cosine of neighbours", "cosine"
        ),
    }


@dg.asset(
    dagster_type=value_of(features.Features),
    group_name=GROUP,
    kinds={"scipy"},
    owners=OWNERS,
    check_specs=[checks.suite_spec("user_features", "finite weights that sum to 1")],
)
def user_features(platform: Platform, users: Rows) -> dg.MaterializeResult:
    """What is known of users, as a sparse matrix."""
    ids = IdIndex.of(users.frame["id"])
    return _checked(features.user_features(users.frame, ids), ids, platform, "user")


@dg.asset(
    dagster_type=value_of(features.Features),
    group_name=GROUP,
    kinds={"scipy"},
    owners=OWNERS,
    check_specs=[checks.suite_spec("item_features", "finite weights that sum to 1")],
)
def item_features(platform: Platform, items: Rows) -> dg.MaterializeResult:
    """What is known of items, as a sparse matrix."""
    ids = IdIndex.of(items.frame["id"])
    return _checked(features.item_features(items.frame, ids), ids, platform, "item")


def _checked(
    made: features.Features, ids: IdIndex, platform: Platform, entity: str
) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        value=made,
        metadata={
            "rows": made.values.shape[0],
            "features": len(made.names),
            "names": dg.MetadataValue.json(made.names[:100]),
        },
        check_results=[checks.features(platform, entity, made, ids)],
    )


ASSETS = [interaction_matrix, user_similarities, item_similarities, user_features, item_features]
