"""Features of users and items as sparse matrices, from what is known about them.

A feature is a name and a weight, for example ``tag:Comedy``. Rows are scaled to
sum to 1, so that many tags do not weigh more than one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse

from models.data.ids import IdIndex


@dataclass(frozen=True)
class Features:
    """Rows follow the ids they were built for.

    Attributes:
        names: name of each column, sorted.
        values: float32 CSR, shape (rows, len(names)).
    """

    names: list[str]
    values: sparse.csr_array


def user_features(users: pl.DataFrame, index: IdIndex) -> Features:
    """Chosen tags, city, and every short text attribute or bucketed number of a user.

    Args:
        users: columns id, tags (list), city and attributes (JSON text).
    """
    return _features(
        index,
        [
            _listed(users, "tags", "tag"),
            _valued(users, "city"),
            _attributes(users),
        ],
    )


def item_features(items: pl.DataFrame, index: IdIndex) -> Features:
    """Tags, category, city, owner and price decile of an item.

    Args:
        items: columns id, tags (list), category, city, owner_id, price_min, price_max
            and attributes (JSON text).
    """
    price = items.select("id", name=_decile(pl.mean_horizontal("price_min", "price_max"), "price"))
    return _features(
        index,
        [
            _listed(items, "tags", "tag"),
            _valued(items, "category"),
            _valued(items, "city"),
            _valued(items, "owner_id"),
            price,
            _attributes(items),
        ],
    )


def _listed(frame: pl.DataFrame, column: str, prefix: str) -> pl.DataFrame:
    return (
        frame.select("id", name=pl.col(column).list.unique())
        .explode("name")
        .with_columns(name=pl.lit(f"{prefix}:") + pl.col("name"))
    )


def _valued(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    return frame.select("id", name=pl.lit(f"{column}:") + pl.col(column))


def _decile(number: pl.Expr, name: str) -> pl.Expr:
    rank = ((number.rank("average") - 0.5) / number.count() * 10).floor().clip(0, 9)
    return pl.lit(f"{name}:") + rank.cast(pl.Int8).cast(pl.String)


def _attributes(frame: pl.DataFrame) -> pl.DataFrame:
    """One feature an attribute: text and truth values as they are, numbers by decile."""
    if "attributes" not in frame.columns or frame.is_empty():
        return pl.DataFrame(schema={"id": pl.String, "name": pl.String})
    long = (
        frame.select(
            "id",
            pair=pl.col("attributes").str.extract_all(
                r'"[^"\\]+"\s*:\s*("[^"\\]{1,64}"|-?[0-9][0-9.eE+-]*|true|false)'
            ),
        )
        .explode("pair")
        .drop_nulls()
        .with_columns(
            key=pl.col("pair").str.extract(r'^"([^"]+)"'),
            value=pl.col("pair").str.replace(r'^"[^"]+"\s*:\s*"?', "").str.strip_suffix('"'),
        )
    )
    number = pl.col("value").cast(pl.Float64, strict=False)
    is_number = (number.is_not_null() & ~pl.col("pair").str.ends_with('"')).all().over("key")
    rank = number.rank("average").over("key") - 0.5
    decile = (rank / pl.len().over("key") * 10).floor().clip(0, 9)
    return long.select(
        "id",
        name=pl.col("key")
        + ":"
        + pl.when(is_number).then(decile.cast(pl.Int8).cast(pl.String)).otherwise("value"),
    )


def _features(index: IdIndex, parts: list[pl.DataFrame]) -> Features:
    long = pl.concat(parts).drop_nulls()
    rows = index.indices(long["id"])
    # A feature that a single row has says what the row's own indicator already says.
    long = long.with_columns(row=pl.Series(rows)).filter(
        (pl.col("row") >= 0) & (pl.col("row").n_unique().over("name") > 1)
    )
    names = long["name"].unique().sort()
    columns = pl.DataFrame({"name": names}).with_row_index("column")
    long = long.join(columns, on="name")
    shape = (len(index), len(names))
    counts = sparse.csr_array(
        (np.ones(len(long), np.float32), (long["row"].to_numpy(), long["column"].to_numpy())),
        shape=shape,
    )
    totals: np.ndarray = np.asarray(counts.sum(axis=1))
    scale = np.divide(1, totals, out=np.zeros(shape[0]), where=totals > 0)
    values = sparse.csr_array(sparse.diags_array(scale.astype(np.float32)) @ counts)
    return Features(names.to_list(), values)
