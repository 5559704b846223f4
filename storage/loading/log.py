"""A log: what a product knows of its users, items, owners and interactions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import polars as pl

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes
from storage.loading.reading.chunk import Chunk, of_frame
from storage.loading.summary import Summary
from storage.loading.values.columns import CLOCK_SLACK, ENTITIES, Entity
from storage.loading.values.times import TimeReader, newest_until


class LoadError(ValueError):
    """Input that cannot be loaded; the message names what is wrong and the fix."""


class Damaged(LoadError):
    """A file that cannot be read to its end.

    ``spoilt``: its bytes are not those that were written, so that the last rows that were read
    may be wrong; else it is cut short, and what was read is right.
    """

    def __init__(self, message: str, *, spoilt: bool) -> None:
        super().__init__(message)
        self.spoilt = spoilt


class Rows(Protocol):
    """The rows of one entity, which are read anew at each call.

    ``damage``: what could not be read when they were read last; empty: nothing.
    """

    @property
    def damage(self) -> str: ...

    def chunks(self) -> Iterator[Chunk]:
        """Some rows at a time, under our names."""
        ...

    def document(self) -> dict[str, str | bool | None]:
        """The form of the file, as a report says it."""
        ...


@dataclass(frozen=True)
class InMemory:
    """A frame, and its rows as they stood where that differs."""

    frame: pl.DataFrame
    raw: pl.DataFrame | None = None
    damage = ""

    def chunks(self) -> Iterator[Chunk]:
        yield of_frame(self.frame, self.raw)

    def document(self) -> dict[str, str | bool | None]:
        return {"encoding": None, "delimiter": None, "header": None}


class Log:
    """Rows with the columns of ``values.columns``, one a user, item, owner, interaction.

    A cell is text as it stood in the file, or already of its own type (numbers,
    lists of text, datetimes in UTC); ``storage.loading.values.validation`` makes them typed.

    Args:
        interactions, users, items, owners: a frame, or rows that are read when they are needed.
        sources: file name by entity, kept beside rejected rows.
        raw: by entity, the rows as the file has them, row for row, when they differ from a frame.
        time_format, time_zone, decimal: as in a mapping.
        types: of interactions, that there are.
        notice: what the person who loads the log must be told, such as a licence.
        has_times: whether the times are the log's own; else they stand for an order, or nothing.
        without_user_is_said: the mapping says which words stand for no user.
        ends_now: whether its clock is to be shifted when nobody says otherwise.
    """

    def __init__(
        self,
        interactions: pl.DataFrame | Rows,
        users: pl.DataFrame | Rows | None = None,
        items: pl.DataFrame | Rows | None = None,
        owners: pl.DataFrame | Rows | None = None,
        *,
        sources: Mapping[str, str] | None = None,
        raw: Mapping[str, pl.DataFrame] | None = None,
        time_format: str = "auto",
        time_zone: str = "UTC",
        decimal: str | None = None,
        tag_separator: str = "|",
        types: InteractionTypes = DEFAULT_TYPES,
        notice: str = "",
        has_times: bool = True,
        ends_now: bool = False,
        without_user_is_said: bool = False,
    ) -> None:
        self.raw = dict(raw or {})
        given = {"users": users, "items": items, "owners": owners, "interactions": interactions}
        self.rows: dict[Entity, Rows] = {}
        for name in ENTITIES:
            rows = given[name]
            if isinstance(rows, pl.DataFrame):
                rows = InMemory(rows, self.raw.get(name))
            if rows is not None:
                self.rows[name] = rows
        self.sources = dict(sources or {})
        self.time_format, self.time_zone = time_format, time_zone
        self.decimal, self.tag_separator, self.types = decimal, tag_separator, types
        self.clock_shift = timedelta(0)
        """Added to every time when the log is loaded (see ``shift_to``)."""
        self.ends_at: datetime | None = None
        """The newest interaction by the log's own clock, where it is shifted."""
        self.notice = notice
        self.has_times, self.ends_now = has_times, ends_now
        self.summary = Summary(without_user_is_said=without_user_is_said)
        self._whole: dict[Entity, pl.DataFrame] = {}

    @property
    def entities(self) -> list[Entity]:
        """What the log has, in the order in which it is loaded."""
        return list(self.rows)

    def chunks(self, entity: Entity) -> Iterator[Chunk]:
        """The rows of ``entity``, some at a time; KeyError when the log has none."""
        return self.rows[entity].chunks()

    def column(self, entity: Entity, name: str) -> Iterator[pl.Series]:
        """The cells of one column, some at a time."""
        return (chunk.frame[name] for chunk in self.chunks(entity))

    def frame(self, entity: Entity) -> pl.DataFrame | None:
        """The whole frame of ``entity``, in memory; None when the log has none."""
        if entity not in self.rows:
            return None
        if entity not in self._whole:
            parts = [chunk.frame for chunk in self.chunks(entity)]
            self._whole[entity] = pl.concat(parts, how="diagonal_relaxed")
        return self._whole[entity]

    def frames(self) -> dict[Entity, pl.DataFrame]:
        """The frames that are there, in the order in which they are loaded."""
        return {name: frame for name in ENTITIES if (frame := self.frame(name)) is not None}

    @property
    def interactions(self) -> pl.DataFrame:
        frame = self.frame("interactions")
        assert frame is not None
        return frame

    @property
    def users(self) -> pl.DataFrame | None:
        return self.frame("users")

    @property
    def items(self) -> pl.DataFrame | None:
        return self.frame("items")

    @property
    def owners(self) -> pl.DataFrame | None:
        return self.frame("owners")

    def source(self, entity: Entity) -> str:
        return self.sources.get(entity, entity)


def shift_to(log: Log, now: datetime) -> Log:
    """Shift the whole clock of ``log`` so that its newest interaction happens at ``now``.

    One constant is added to every time, so distances in time stay as they are. What has passed
    stays passed: an item made or published after the newest interaction is as old as that.
    Event ids that the loader derives do not depend on the shift, so loading the
    same log tomorrow still adds nothing.
    """
    reader = TimeReader(log.time_format, log.time_zone)
    latest = datetime.now(UTC) + CLOCK_SLACK
    newest: datetime | None = None
    for cells in log.column("interactions", "occurred_at"):
        reader.decide(cells, lambda: log.column("interactions", "occurred_at"))
        of_chunk = newest_until(reader.read(cells), latest)
        newest = max((moment for moment in (of_chunk, newest) if moment is not None), default=None)
    if newest is None:
        return log
    shifted = copy(log)
    shifted.clock_shift, shifted.ends_at = now - newest, newest
    shifted.summary = Summary(without_user_is_said=log.summary.without_user_is_said)
    return shifted
