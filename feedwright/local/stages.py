"""The stages of `feedwright up`, timed and shown as they pass."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console


class Stages:
    """Seconds by stage; ``save`` writes them for the benchmarks."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started_at = datetime.now(UTC)
        self.began = time.monotonic()
        self.seconds: dict[str, float] = {}
        self.services: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, doing: str, done: str) -> Iterator[None]:
        """Show ``doing`` until the body ends, then ``done`` and the seconds it took."""
        began = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(f"{doing} …"):
                yield
        else:
            yield
        self.finish(name, done, began)

    def finish(self, name: str, done: str, began: float) -> None:
        self.seconds[name] = time.monotonic() - began
        self.console.print(f"[green]✓[/] {done} [dim]{self.seconds[name]:.1f} s[/]")

    @property
    def total(self) -> float:
        return time.monotonic() - self.began

    def save(self, file: Path) -> None:
        content = {
            "started_at": self.started_at.isoformat(),
            "stages": [
                {"name": name, "seconds": round(seconds, 3)}
                for name, seconds in self.seconds.items()
            ],
            "services": {name: round(seconds, 3) for name, seconds in self.services.items()},
            "total_seconds": round(self.total, 3),
        }
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
