"""The supervisor's record on disk: by it other shells find what runs, and end it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from feedwright.errors import FeedwrightError
from feedwright.processes.process import Identity
from storage.home import make_closed

State = Literal["starting", "ready", "stopping"]


@dataclass
class Record:
    """Who supervises an installation, and its services."""

    supervisor: Identity
    state: State = "starting"
    services: dict[str, Identity] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        return self.supervisor.process() is not None


def _file(home: Path) -> Path:
    return home / "supervisor.json"


def read(home: Path) -> Record | None:
    """The record of the installation at ``home``; None when nothing was left running."""
    try:
        content = json.loads(_file(home).read_text(encoding="utf-8"))
        return Record(
            Identity(**content["supervisor"]),
            content["state"],
            {name: Identity(**identity) for name, identity in content["services"].items()},
        )
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError):  # half a file, of a machine that lost its power
        return None


def write(home: Path, record: Record) -> None:
    partial = _file(home).with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record)), encoding="utf-8")
    partial.replace(_file(home))


def remove(home: Path) -> None:
    _file(home).unlink(missing_ok=True)


def is_held(home: Path) -> bool:
    """Whether a supervisor, perhaps one that has no record yet, holds the installation's lock.

    Raises:
        FeedwrightError: the file system cannot lock files.
    """
    with only_one(home) as alone:
        return not alone


@contextmanager
def only_one(home: Path) -> Iterator[bool]:
    """Hold the installation's lock; False when another supervisor holds it.

    Raises:
        FeedwrightError: the file system cannot lock files.
    """
    make_closed(home)
    handle = os.open(home / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            raise FeedwrightError(
                f"{home} is on a file system without locks ({error.strerror}).",
                "Put the state on a local disk: FEEDWRIGHT_HOME=/path/on/a/local/disk.",
            ) from error
        yield True
    finally:
        with suppress(OSError):
            os.close(handle)
