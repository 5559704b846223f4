"""A training in a process of its own, its progress shown."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape

from feedwright.dagster.home import write_dagster_home
from feedwright.environment import ROOT, child_environment
from feedwright.processes.process import MARK, open_log, terminate
from feedwright.processes.supervisor import mark
from storage.settings import Settings

TOLD = re.compile(r"(Finished \S+ in|Version \S+:|Warning:|A training is on its way) ?")
"""How the lines begin that ``orchestration.launch`` prints for people."""
END_SECONDS = 15.0
"""The process ends by itself within ten (``orchestration/runs/heartbeat.py``)."""


def train(settings: Settings, database_url: str, console: Console) -> str | None:
    """Run the daily job, or follow the training that is on its way already.

    Returns:
        Why it failed, in the words of that very training; None: it did not.
    """
    write_dagster_home(settings)
    environment = child_environment(settings, database_url)
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.launch"],
        env={**environment, MARK: training_mark(settings)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd=ROOT,
        text=True,
        errors="replace",
    )
    try:
        last_words = _show(process, settings.logs / "training.log", console)
    except BaseException:  # Ctrl-C, or SIGTERM: the child has a session of its own
        terminate(psutil.Process(process.pid), grace=END_SECONDS)
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
    status = process.wait()
    if status < 0:
        return f"its process was killed ({signal.Signals(-status).name})"
    return last_words if status else None


def training_mark(settings: Settings) -> str:
    """Mark of the processes that run a training, or follow one, for a command."""
    return mark(settings.home, "training")


def _show(process: subprocess.Popen[str], log_file: Path, console: Console) -> str:
    """Append all to the log, and show each step as it ends; what it said last, or why it failed."""
    assert process.stdout is not None
    last, failed = "it said nothing", ""
    with os.fdopen(open_log(log_file), "w", encoding="utf-8") as log:
        for line in process.stdout:
            log.write(line)
            log.flush()
            text = line.strip()
            last = text or last
            if text.startswith("Failed: "):
                failed = text.removeprefix("Failed: ")
            elif TOLD.match(text):
                console.print(f"  [dim]{escape(text)}[/]", highlight=False, soft_wrap=True)
            elif "STEP_FAILURE" in line or "RUN_FAILURE" in line:
                failure = text.rpartition(" - ")[2].strip()
                console.print(f"  [red]{escape(failure)}[/]", highlight=False)
    return (failed or last)[:800]


def allow_interrupt() -> None:
    """Let Ctrl-C and SIGTERM end this process by ``KeyboardInterrupt``, and so its child too.

    A shell without job control hands an ignored SIGINT to a process started with &: children
    inherit it, and Dagster then ignores SIGTERM too. And Polars, once imported, has its own
    handler of SIGINT, after which a read goes on: Ctrl-C would wait for the next line.
    """
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
