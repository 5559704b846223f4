"""A command that runs beside a worker, so that its imports and memory stay out of it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping


class Background:
    """Started at once. Asked, never waited for."""

    def __init__(self, *command: str, environment: Mapping[str, str] | None = None) -> None:
        # A file, not a pipe: a pipe that nobody reads blocks the writer.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )

    def running(self) -> bool:
        return self._process.poll() is None

    def failure(self) -> str | None:
        """The last line that it wrote to standard error, if it failed; None if it did not."""
        if self._process.poll() in (None, 0):
            return None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"

    def stop(self) -> None:
        if self.running():
            self._process.terminate()
            self._process.wait()
        self._errors.close()
