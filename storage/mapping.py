"""The mapping file: how the columns and event names of a log are called."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.profile import InteractionType, read_yaml
from storage.columns import COLUMNS, Entity
from storage.log import LoadError
from storage.times import TimeFormat

SHIPPED = Path(__file__).parent / "mappings"


class Step(BaseModel):
    """One step of a scale: numbers from ``at_least`` on mean ``type``; None: all others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_least: float | None = None
    type: InteractionType


class Mapping(BaseModel):
    """Our column name -> the log's, by entity; and the log's event names -> our types."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    time_format: TimeFormat = "auto"
    tag_separator: str = Field(default="|", min_length=1)
    users: dict[str, str] = {}
    items: dict[str, str] = {}
    owners: dict[str, str] = {}
    interactions: dict[str, str] = {}
    types: dict[str, InteractionType] = Field(
        default={}, description="The log's event name -> our interaction type."
    )
    thresholds: dict[str, list[Step]] = Field(
        default={},
        max_length=1,
        description="A column of numbers -> steps, the first that fits gives the type.",
    )
    default_type: InteractionType | None = Field(
        default=None, description="The type of every interaction of a log without a type column."
    )

    @model_validator(mode="after")
    def _known_columns(self) -> Mapping:
        for entity in COLUMNS:
            known = [column.name for column in COLUMNS[entity]]
            for name in self.columns(entity):
                if name not in known:
                    raise ValueError(
                        f"{entity}.{name}: no such column; there are {', '.join(known)}"
                    )
        return self

    def columns(self, entity: Entity) -> dict[str, str]:
        """Our name -> the log's, as far as the file says."""
        found: dict[str, str] = getattr(self, entity)
        return found


def load_mapping(name_or_path: str | Path) -> Mapping:
    """Read the mapping that ships under a name, or the YAML file at a path.

    Raises:
        LoadError: no such file, not YAML, or a field is wrong; the message names each.
    """
    return read_yaml(Mapping, name_or_path, SHIPPED, "mapping", LoadError)


def typed_events(frame: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """``frame`` with ``type`` from the mapping: of names, of a scale of numbers, or the default."""
    if mapping.types and "type" in frame.columns:
        frame = frame.with_columns(pl.col("type").cast(pl.String).replace(dict(mapping.types)))
    for column, steps in mapping.thresholds.items():
        scale = f"scale {column}"
        number = pl.col(scale).cast(pl.Float64, strict=False)
        # what is no number stays as it is, and is refused as an unknown type
        kind = pl.lit(None, dtype=pl.String)
        for step in reversed(steps):
            fits = pl.lit(True) if step.at_least is None else number >= step.at_least
            kind = pl.when(fits).then(pl.lit(step.type)).otherwise(kind)
        is_number = number.is_finite().fill_null(False)
        kind = pl.when(is_number).then(kind).otherwise(pl.col(scale).cast(pl.String))
        frame = frame.with_columns(type=kind).drop(scale)
    if mapping.default_type and "type" not in frame.columns:
        frame = frame.with_columns(type=pl.lit(mapping.default_type))
    return frame
