"""The services' log files, printed and followed."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import typer

from feedwright.errors import FeedwrightError
from feedwright.processes.supervisor import tail

LOOK_SECONDS = 0.3


def show_logs(folder: Path, service: str, lines: int, *, follow: bool) -> None:
    """Print the last lines of the logs, and with ``follow`` what is added, until Ctrl-C.

    Raises:
        FeedwrightError: there is no such log.
    """
    present = {file.stem: file for file in sorted(folder.glob("*.log")) if ".old" not in file.name}
    if not present:
        raise FeedwrightError(f"No logs in {folder}.", "Nothing ran yet: feedwright up")
    if service and service not in present:
        raise FeedwrightError(f"No log of {service!r}.", f"There are: {', '.join(present)}.")
    chosen = {service: present[service]} if service else present
    for name, file in chosen.items():
        for line in tail(file, lines):
            _print(name, line, len(chosen))
    if follow:
        with suppress(KeyboardInterrupt):
            _follow(chosen)


def _follow(files: dict[str, Path]) -> None:
    seen = {name: file.stat().st_size for name, file in files.items()}
    while True:
        for name, file in files.items():
            size = file.stat().st_size if file.exists() else 0
            if size < seen[name]:  # begun anew
                seen[name] = 0
            if size > seen[name]:
                with file.open("rb") as stream:
                    stream.seek(seen[name])
                    new = stream.read()
                whole = new[: new.rfind(b"\n") + 1]  # half a line waits for its end
                seen[name] += len(whole)
                for line in whole.decode(errors="replace").splitlines():
                    _print(name, line, len(files))
        time.sleep(LOOK_SECONDS)


def _print(name: str, line: str, shown: int) -> None:
    typer.echo(line if shown == 1 else f"{name} | {line}")
