"""Groups of judged users that should be served equally well: by history, by place, by city."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.recommenders.base import Dataset

TOP_CITIES = 5
MIN_USERS = 20
"""Of a city; the mean of fewer says nothing."""


def user_groups(
    dataset: Dataset, users: NDArray[np.integer], segments: NDArray[np.str_]
) -> dict[str, NDArray[np.bool_]]:
    """Masks over the judged users by name of the group; none is empty, and none but those by
    history holds everybody.

    Args:
        users: rows of the judged users, shape (t,). segments: of each, ``evaluation.SEGMENTS``.
    """
    by_history = {f"{name} users": segments == name for name in ("cold", "warm", "heavy")}
    rows = dataset.catalogue.users.unique("id", keep="last")
    index = dataset.users.indices(rows["id"])
    indexed = index >= 0
    located, city = np.zeros(len(dataset.users), bool), np.full(len(dataset.users), -1)
    has_place = rows.select(pl.col("lat").is_not_null() & pl.col("lon").is_not_null()).to_series()
    located[index[indexed]] = has_place.to_numpy()[indexed]
    most = (
        pl.DataFrame({"city": rows["city"], "row": index})
        .filter(pl.col("row").is_in(users), pl.col("city").is_not_null())
        .group_by("city")
        .len()
        .filter(pl.col("len") >= MIN_USERS)
        .sort("len", "city", descending=[True, False])["city"]
        .head(TOP_CITIES)
    )
    codes = rows["city"].replace_strict(most, np.arange(len(most)), default=-1)
    city[index[indexed]] = codes.cast(pl.Int64).to_numpy()[indexed]
    others = {"with a place": located[users], "without a place": ~located[users]} | {
        f"in {name}": city[users] == number for number, name in enumerate(most)
    }
    return {name: mask for name, mask in by_history.items() if mask.any()} | {
        name: mask for name, mask in others.items() if mask.any() and not mask.all()
    }
