"""What every synthetic sample draws: words, ids, places, times, tags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import yaml
from numpy.typing import NDArray
from polars import selectors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY = 86_400_000_000  # microseconds
END = datetime(2026, 1, 1, tzinfo=UTC)
"""When every sample's log ends as it is drawn: what is drawn depends on no clock."""


def words(name: str) -> Any:
    """The content of ``words/NAME.yaml``."""
    file = Path(__file__).parent / "words" / f"{name}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8"))


CITIES: list[tuple[str, float, float, int]] = [tuple(city) for city in words("cities")]


def microseconds(moment: datetime) -> int:
    """Since the epoch."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def moved(frame: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Rows of a world that ends at ``END``, moved by hours, all by as many: it ends within the hour
    before ``now``, and what began on the hour still does."""
    hours = (now - END) // timedelta(hours=1)
    return frame.with_columns(selectors.datetime() + timedelta(hours=hours))


def ids(prefix: str, count: int) -> pl.Series:
    """``prefix`` and a number from 1."""
    return pl.select(pl.lit(prefix) + pl.int_range(1, count + 1).cast(pl.String)).to_series()


def event_ids(rng: np.random.Generator, count: int) -> pl.Series:
    """Random (version 4) UUIDs as 32 hex digits."""
    octets = np.frombuffer(rng.bytes(16 * count), np.uint8).reshape(count, 16).copy()
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    # by way of Arrow: numpy's own bytes lose their trailing zeros
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), count, [None, pa.py_buffer(octets)])
    return pl.Series("event_id", array).cast(pl.Binary).bin.encode("hex")


def city_names() -> pl.Series:
    return pl.Series([name for name, *_ in CITIES])


def places(rng: np.random.Generator, count: int) -> tuple[Ints, Floats, Floats]:
    """City numbers by size, and coordinates scattered about 8 km around the centres."""
    size = np.array([city[3] for city in CITIES], float)
    city = rng.choice(len(CITIES), count, p=size / size.sum())
    centre = np.array([city[1:3] for city in CITIES])[city]
    lat = centre[:, 0] + rng.normal(0, 0.07, count)
    lon = centre[:, 1] + rng.normal(0, 0.07, count) / np.cos(np.radians(centre[:, 0]))
    return city, lat.round(5), lon.round(5)


def distance_km(lat1: Floats, lon1: Floats, lat2: Floats, lon2: Floats) -> Floats:
    """Kilometres on a flat map: near enough within a city, and far is far."""
    x = (lon2 - lon1) * np.cos(np.radians(lat1))
    return 111.2 * np.hypot(lat2 - lat1, x)


def zipf(count: int, exponent: float = 1.0) -> Floats:
    """Shares of ``count`` ranks by Zipf's law; they sum to 1."""
    weight = 1.0 / np.arange(1, count + 1) ** exponent
    return weight / weight.sum()


def times(microseconds: NDArray[np.number]) -> pl.Series:
    """Datetimes in UTC of microseconds since the epoch."""
    return pl.Series(microseconds.astype(np.int64)).cast(pl.Datetime("us", "UTC"))


def pick_tags(tags: NDArray[np.str_], category: Ints, count: Ints, start: Ints) -> pl.Series:
    """For each row, ``count`` tags of its category: neighbours on a ring, from ``start``.

    Args:
        tags: shape (categories, tags of each).
    """
    per_row = tags.shape[1]
    flat = pl.Series(tags.ravel().tolist())
    picked = pl.DataFrame(
        {
            str(step): flat.gather(category * per_row + (start + step) % per_row)
            for step in range(int(count.max()) + 1)
        }
    )
    first = pl.concat_list(pl.all().exclude("count")).list.head(pl.col("count"))
    return picked.with_columns(count=pl.Series(count)).select(first).to_series()


def users_frame(
    user_ids: pl.Series,
    city: Ints,
    lat: Floats,
    lon: Floats,
    located: NDArray[np.bool_],
    tags: pl.Series,
    created: Floats,
) -> pl.DataFrame:
    """Users, of whom those that are not ``located`` tell no place."""
    return pl.DataFrame(
        {
            "id": user_ids,
            "lat": lat,
            "lon": lon,
            "city": city_names().gather(city),
            "tags": tags,
            "created_at": times(created),
            "_located": located,
        }
    ).select(
        "id",
        pl.when("_located").then(pl.col("lat", "lon", "city")),
        "tags",
        "created_at",
    )
