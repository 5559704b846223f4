"""What all benchmarks share: arguments, facts of the machine, and the JSON document."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

log = logging.getLogger("benchmarks")
PACKAGES = (
    "bentoml",
    "dagster",
    "faiss-cpu",
    "lightfm-next",
    "lmdb",
    "numpy",
    "polars",
    "scipy",
    "starlette",
)


@dataclass(frozen=True)
class Row:
    """One number, and what it is compared with (None: nothing)."""

    name: str
    value: float
    unit: str
    baseline: str | None = None
    baseline_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """``value / baseline_value``."""
        return self.value / self.baseline_value if self.baseline_value else None


class BenchmarkError(RuntimeError):
    """The benchmark cannot be run, or what it measures does not work; the message says why."""


def machine() -> dict[str, Any]:
    """Facts that explain a number."""
    return {
        "cpu": _cpu(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in psutil.getloadavg()],
        "packages": {name: version(name) for name in PACKAGES},
    }


def document(name: str, rows: Sequence[Row], facts: dict[str, Any]) -> dict[str, Any]:
    """The document as a JSON-ready object, numbers to four significant digits."""
    return {
        "name": name,
        "machine": facts,
        "rows": [
            {
                key: float(f"{value:.4g}") if isinstance(value, float) else value
                for key, value in {**asdict(row), "ratio": row.ratio}.items()
            }
            for row in rows
        ],
    }


def parser(
    description: str, *, users: int, items: int, interactions: int, seconds: float
) -> argparse.ArgumentParser:
    """A parser of the options that every benchmark takes, with these defaults."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--users", type=_positive(int), default=users, help="users")
    made.add_argument("--items", type=_positive(int), default=items, help="items")
    made.add_argument(
        "--interactions", type=_positive(int), default=interactions, help="interactions"
    )
    made.add_argument(
        "--seconds", type=_positive(float), default=seconds, help="seconds of load a point"
    )
    return made


def run(name: str, measure: Callable[[], Sequence[Row]]) -> int:
    """Measure and print the document. Returns the exit status."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%X"
    )
    log.setLevel(logging.INFO)
    # As Ctrl-C does it: servers that were started are stopped.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    facts = machine()  # with the load of this machine before ours
    try:
        rows = measure()
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    print(json.dumps(document(name, rows, facts), indent=2))
    return 0


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError("must be above 0")
        return value

    return parse


def _cpu() -> str:
    names = Path("/proc/cpuinfo")
    if os.access(names, os.R_OK):
        for line in names.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
