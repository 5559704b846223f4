"""What the runner tells Prometheus: deaths of workers, and what dead workers had counted."""

from __future__ import annotations

import fcntl
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import Counter
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead

DEATHS = Counter(
    "feedwright_worker_deaths_total",
    "Workers of the feed that died, by signal; `exit`: it ended by itself.",
    ["signal"],
)
NOBODY = 0
"""No worker has this process id: the files of all dead ones together bear it."""
SUMS = ("counter", "histogram")


@contextmanager
def unchanged(folder: Path, *, for_writing: bool = False) -> Iterator[None]:
    """Nobody adds the counts of a dead worker to others meanwhile: they would be read twice."""
    with open(folder / "lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if for_writing else fcntl.LOCK_SH)
        yield


def keep_counts_of(pid: int, folder: Path) -> None:
    """Add what a dead process counted to what all dead ones did, and remove its files. Every
    look reads every file, so without this each death would make all looks slower."""
    with unchanged(folder, for_writing=True):
        mark_process_dead(pid, str(folder))
        for kind in SUMS:
            own, together = (folder / f"{kind}_{of}.db" for of in (pid, NOBODY))
            if own.exists():
                _write(_sum(together, own), folder / f"{kind}.new").replace(together)
                own.unlink()


def _sum(*files: Path) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for file in files:
        if file.exists():
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
                sums[key] += value
    return sums


def _write(values: dict[str, float], file: Path) -> Path:
    file.unlink(missing_ok=True)  # of one that was killed here
    written = MmapedDict(str(file))
    for key, value in values.items():
        written.write_value(key, value, 0.0)
    written.close()
    return file
