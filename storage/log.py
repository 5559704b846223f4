"""A log: what a product knows of its users, items, owners and interactions, as frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import polars as pl

from storage.columns import ENTITIES, Entity
from storage.times import TimeFormat, to_times

PROBLEM = "__problem__"  # reserved column: why the reader could not take a row apart


class LoadError(ValueError):
    """Input that cannot be loaded; the message names what is wrong and the fix."""


@dataclass(frozen=True)
class Log:
    """Frames with the columns of ``storage.columns``, one row a user, item, owner, interaction.

    A cell is text as it stood in the file, or already of its own type (numbers,
    lists of text, datetimes in UTC); ``storage.validation`` makes them typed.
    """

    interactions: pl.DataFrame
    users: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    owners: pl.DataFrame | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    """File name by entity, kept beside rejected rows."""
    raw: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    """By entity, the rows as the file has them, row for row, when they differ from the frame."""
    time_format: TimeFormat = "auto"
    tag_separator: str = "|"
    clock_shift: timedelta = timedelta(0)
    """Added to every time when the log is loaded (see ``shift_to``)."""
    notice: str = ""
    """What the person who loads the log must be told, such as a licence."""

    def frame(self, entity: Entity) -> pl.DataFrame | None:
        """The frame of ``entity``; None when the log has none."""
        return {
            "users": self.users,
            "items": self.items,
            "owners": self.owners,
            "interactions": self.interactions,
        }[entity]

    def frames(self) -> dict[Entity, pl.DataFrame]:
        """The frames that are there, in the order in which they are loaded."""
        return {name: frame for name in ENTITIES if (frame := self.frame(name)) is not None}

    def source(self, entity: Entity) -> str:
        return self.sources.get(entity, entity)


def shift_to(log: Log, now: datetime) -> Log:
    """Shift the whole clock of ``log`` so that its newest interaction happens at ``now``.

    One constant is added to every time, so distances in time stay as they are.
    Event ids that the loader derives do not depend on the shift, so loading the
    same log tomorrow still adds nothing.
    """
    times = to_times(log.interactions["occurred_at"], log.time_format)
    newest = times.filter(times <= datetime.now(UTC)).max()
    if not isinstance(newest, datetime):
        return log
    return replace(log, clock_shift=now - newest)
