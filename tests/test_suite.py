"""The test suite itself: how it ends, and what it may leave out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import psutil
import pytest

from tests.orchestration.test_cancelling import wait_for

ROOT = Path(__file__).parents[1]
FOLDER = re.compile(r"host=(.*?feedwright-tests-\w+)")
ENDLESS = """
import time
from pathlib import Path

def test_endless(postgres_url):
    Path(__file__).with_name("address").write_text(postgres_url)
    time.sleep(600)
"""
SKIPPED = """
import pytest

@pytest.mark.needs_root
def test_root(): ...

def test_program():
    pytest.skip("no promtool: tools/test_programs.sh promtool")
"""


def pytest_of(folder: Path, code: str, **variables: str) -> subprocess.Popen[str]:
    """The tests in ``code``, run with the suite's fixtures and rules."""
    file = folder / "test_it.py"
    file.write_text(code)
    return subprocess.Popen(
        [
            sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider",
            "-c", ROOT / "pyproject.toml", "--rootdir", folder, file,
        ],
        cwd=ROOT, env=os.environ | variables, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def servers(folder: Path) -> list[int]:
    """Processes of Postgres whose data are in ``folder``."""
    return [
        process.pid
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "postgres"
        and any(str(folder) in part for part in process.info["cmdline"] or ())
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_tests_leave_no_postgres(tmp_path: Path, number: signal.Signals) -> None:
    address = tmp_path / "address"
    tests = pytest_of(tmp_path, ENDLESS)
    try:
        wait_for(lambda: address.exists() and address.read_text(), 60, "no Postgres")
        folder = Path(unquote(FOLDER.search(address.read_text())[1]))  # type: ignore[index]
        assert servers(folder)
        tests.send_signal(number)
        wait_for(lambda: not folder.exists() and not servers(folder), 60, "it goes on")
    finally:
        tests.kill()
        tests.communicate()


def test_an_ordinary_user_may_leave_out_what_needs_root_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import os\nos.geteuid = lambda: 12345\n")
    for ci, outcome in (("", "2 skipped"), ("1", "1 failed, 1 skipped")):
        tests = pytest_of(tmp_path, SKIPPED, CI=ci)
        said, _ = tests.communicate(timeout=150)
        assert outcome in said
        assert "skipped: 1 tests: not root, who alone can become another user" in said
        assert "no promtool: tools/test_programs.sh promtool" in said
