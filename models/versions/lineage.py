"""From which data, and in which run, a version was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any


@dataclass(frozen=True)
class Lineage:
    """The way back from a version to the rows it learnt from.

    Attributes:
        fingerprint: of ids and values of the interaction matrix.
        first_day, last_day: partitions of the lake, both included; None: it was empty.
        rows: interactions in them.
        data_until: when the last of them occurred.
        received_until: what was received up to then is in the lake.
        dagster_run_id: the run that trained.
        partitions: the days that this run was for, as Dagster names them.
        assets: asset → the run that made it last, and when: what the training read.
    """

    fingerprint: str
    first_day: date | None
    last_day: date | None
    rows: int
    data_until: datetime | None
    received_until: datetime | None
    dagster_run_id: str
    partitions: tuple[str, ...] = ()
    assets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            name: value.isoformat() if isinstance(value, date) else value
            for name, value in asdict(self).items()
        }

    def tags(self) -> dict[str, str]:
        """For the version in MLflow; ``assets`` is in its artifact alone."""
        flat = self.to_dict() | {"partitions": " to ".join(self.partitions)}
        del flat["assets"]
        return {name: str(value) for name, value in flat.items() if value not in (None, "")}
