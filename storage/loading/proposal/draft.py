"""What a mapping could say of the files of a folder, as far as it is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from storage.loading.mapping import Step
from storage.loading.proposal.looks import Look
from storage.loading.values.columns import Entity


@dataclass
class Proposal:
    """What to write; ``why`` has comments by the place that they stand at."""

    folder: Path
    files: dict[Entity, Look] = field(default_factory=dict)
    columns: dict[Entity, dict[str, str | None]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    scale: tuple[str, list[Step]] | None = None
    flags: dict[str, str] = field(default_factory=dict)
    default_type: str | None = None
    default_time: str | None = None
    time_format: str | None = None
    tag_separator: str | None = None
    nothing: list[str] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    whole_ids: bool = False
    why: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)
    """Files whose names say that they hold no data."""
