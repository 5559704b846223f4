"""A benchmark that is told to end."""

from __future__ import annotations

import subprocess
import sys

BENCHMARK = """
import benchmarks, time
try:
    print("on its way", flush=True)
    time.sleep(600)
finally:
    print("what it started is stopped")
"""


def test_sigterm_ends_it_as_ctrl_c_does() -> None:
    process = subprocess.Popen([sys.executable, "-c", BENCHMARK], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    said, _ = process.communicate(timeout=150)
    assert said == "what it started is stopped\n"
