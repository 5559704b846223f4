"""What checking the rows of a log found, added up for people and for scripts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from storage.loading.values.columns import COLUMNS, Entity
from storage.loading.values.judging import Tally

PREVIEW = 5
MOST = 20  # reasons and warnings that are reported
LONGEST = 300  # characters of one of them
HARDLY = 0.1  # share of the interactions' ids in the catalogue, below which it is reported
NOTHING = [form for word in ("null", "nan", "none", "na", "n/a", "<na>", "\\n", "nil", "undefined")
           for form in (word, word.upper(), word.capitalize())] + ["NaN"]  # fmt: skip
LOOKED_AT = 10_000  # rows of each chunk whose ids are looked at for blanks
_PADDED = r"^[\s\u200b\ufeff]|[\s\u200b\ufeff]$"
_KNOWN_BY: dict[Entity, str] = {"items": "item_id", "users": "user_id"}


@dataclass
class EntitySummary:
    """Rows of one entity. ``reasons`` by kind: of refused rows; ``left_out``: of cells."""

    good: int = 0
    preview: pl.DataFrame | None = None
    """The first good rows, as they would be loaded."""
    refused: int = 0
    duplicates: int = 0
    reasons: dict[str, Tally] = field(default_factory=dict)
    left_out: dict[str, Tally] = field(default_factory=dict)
    words: dict[tuple[str, str], Tally] = field(default_factory=dict)
    pointed: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Id column -> cells written like 12.0, and cells in all."""
    ids: dict[str, pl.Series] = field(default_factory=dict)
    """Id column -> hashes of its distinct ids."""
    example: dict[str, str] = field(default_factory=dict)
    padded: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Id column -> an id with a blank before or after it, and its line."""
    nobody: Tally | None = None
    """Rows that name no user."""
    doubts: list[str] = field(default_factory=list)
    """Of columns that may mean something else."""
    damage: str = ""
    """What could not be read of its file."""


class Summary:
    """Counts by entity, filled as rows are checked."""

    def __init__(self, *, without_user_is_said: bool = False) -> None:
        """
        Args:
            without_user_is_said: the mapping says what stands where there is no user.
        """
        self.without_user_is_said = without_user_is_said
        self.entities: dict[Entity, EntitySummary] = {}

    def begin(self, entity: Entity) -> None:
        self.entities[entity] = EntitySummary()

    def add(
        self, entity: Entity, good: pl.DataFrame, rejected: pl.DataFrame, duplicates: int,
        left_out: list[Tally],
    ) -> None:  # fmt: skip
        """Count some more checked rows (see ``storage.loading.values.validation.Checked``)."""
        part = self.entities[entity]
        part.good += len(good)
        if part.preview is None or part.preview.is_empty():
            part.preview = good.head(PREVIEW)
        part.refused += len(rejected)
        part.duplicates += duplicates
        by_kind = rejected.group_by("kind", maintain_order=True).agg(
            pl.len(), pl.col("reason").first(), pl.col("row_number").first()
        )
        for kind, count, example, line in by_kind.iter_rows():
            _count(part.reasons, kind, Tally(kind, count, example, line))
        for tally in left_out:
            _count(part.left_out, tally.kind, tally)
        if entity == "interactions":
            rows = good.filter(pl.col("user_id").is_null())["row_number"]
            if len(rows):
                before = part.nobody or Tally("user_id", 0, "", int(rows[0]))
                part.nobody = replace(before, count=before.count + len(rows))
        for column in COLUMNS[entity]:
            if column.kind == "id" and column.name in good.columns:
                self._look_at_ids(part, good, column.name)

    def _look_at_ids(self, part: EntitySummary, good: pl.DataFrame, name: str) -> None:
        ids = good[name]
        hashes = ids.drop_nulls().hash().unique()
        part.ids[name] = part.ids[name].append(hashes).unique() if name in part.ids else hashes
        if name not in part.example and len(first := ids.drop_nulls().head(1)):
            part.example[name] = first[0][:60]
        if name not in part.padded:
            first_rows = good.head(LOOKED_AT)
            padded = first_rows.filter(first_rows[name].str.contains(_PADDED)).head(1)
            part.padded |= {name: (padded[name][0], padded["row_number"][0])} if len(padded) else {}
        pointed, all_of = part.pointed.get(name, (0, 0))
        ends = ids.filter(ids.str.ends_with(".0"))
        here = int(ends.str.contains(r"^\d+\.0$").sum())
        part.pointed[name] = pointed + here, all_of + len(ids) - ids.null_count()
        is_word = ids.is_in(NOTHING).fill_null(False)
        if is_word.any():
            words = good.filter(is_word).group_by(name).agg(pl.len(), pl.col("row_number").min())
            for word, count, line in words.sort("row_number").iter_rows():
                _count(part.words, (name, word), Tally(name, count, word, line))

    def warnings(self, entity: Entity) -> list[str]:
        """Sentences on what was left out or looks wrong; twenty at most."""
        part = self.entities[entity]
        lines = [*([part.damage] if part.damage else []), *part.doubts]
        lines += [
            f"{tally.count:,} × {tally.kind} (line {tally.line}: {tally.example})"
            for tally in part.left_out.values()
        ]
        if (nobody := part.nobody) and not self.without_user_is_said:
            lines.append(
                f"rows without a user: {nobody.count:,}, the first in line {nobody.line}. "
                "They count for their items, and for nobody's taste"
            )
        if part.words:
            words = ", ".join(
                f"{tally.example} ({tally.count:,} × {tally.kind}, first in line {tally.line})"
                for tally in part.words.values()
            )
            names = ", ".join(dict.fromkeys(tally.example for tally in part.words.values()))
            lines.append(
                f"ids that look like words for nothing: {words}. Say  nothing: [{names}]  in the "
                "mapping if they mean that there is none"
            )
        lines += [
            f"{name}: some ids have blanks around them, as {cell[:60]!a} in line {line}: they are "
            "others than those without"
            for name, (cell, line) in part.padded.items()
        ]
        lines += [
            f"{name}: all ids are written like {part.example[name]}. Say  whole_ids: yes  in the "
            "mapping if they are whole numbers"
            for name, (pointed, all_of) in part.pointed.items()
            if pointed and pointed == all_of
        ]
        if entity == "interactions":
            lines += self._hardly_known()
        cut = [line[: LONGEST - 1] + "…" if len(line) > LONGEST else line for line in lines]
        return cut[:MOST]

    def _hardly_known(self) -> list[str]:
        """Where hardly any id of the interactions is among the items, or the users."""
        lines = []
        events = self.entities["interactions"]
        for entity, column in _KNOWN_BY.items():
            theirs = self.entities.get(entity)
            if theirs is None or "id" not in theirs.ids or column not in events.ids:
                continue
            used, there = events.ids[column], theirs.ids["id"]
            count = int(used.is_in(there.implode()).sum())
            if len(used) and len(there) and count < HARDLY * len(used):
                share = "none" if not count else f"only {count:,}"
                lines.append(
                    f"{share} of the {len(used):,} {entity} of the interactions is among the "
                    f"{entity}: {column} is like {events.example[column]!r}, {entity}.id like "
                    f"{theirs.example['id']!r}"
                )
        return lines

    def reasons(self, entity: Entity) -> list[dict[str, Any]]:
        """Why rows were refused, the most frequent first; twenty at most."""
        part = self.entities[entity]
        tallies = sorted(part.reasons.values(), key=lambda each: -each.count)
        if not part.good + part.refused + part.duplicates:
            tallies = [Tally("the file has no row", 0, "nothing but a header, or empty lines", 1)]
        return [
            {
                "reason": tally.kind[:LONGEST],
                "count": tally.count,
                "example": tally.example[:LONGEST],
                "line": tally.line,
            }
            for tally in tallies[:MOST]
        ]


def _count(tallies: dict[Any, Tally], key: Any, new: Tally) -> None:
    old = tallies.get(key)
    tallies[key] = replace(old, count=old.count + new.count) if old else new
