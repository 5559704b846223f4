"""The Makefile, the lock files and the scripts around them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from feedwright.environment import ROOT

TARGETS = ("env", "up", "down", "status", "test", "test-clock", "lint", "format", "typecheck",
           "layers", "lock", "clean", "bench")  # fmt: skip
LOCKS = sorted(ROOT.glob("requirements*.lock"))


@pytest.mark.parametrize("target", TARGETS)
def test_target_resolves(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_lists_the_targets() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"make {target}" in shown for target in TARGETS)


@pytest.mark.parametrize(
    "script",
    [
        ".ci/run",
        "tools/environment.sh",
        "tools/lock.sh",
        "tools/test_programs.sh",
        "tools/test_clock.sh",
    ],
)
def test_script_is_executable_and_parses(script: str) -> None:
    file = ROOT / script
    assert file.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(file)], check=True)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_pins_by_hash_and_names_no_address(lock: Path) -> None:
    text = lock.read_text()
    requirements = re.findall(r"^([a-z0-9][^\s;]*)[^\n]*\\\n(?=    --hash=sha256:)", text, re.M)
    named = re.findall(r"^[a-z0-9]\S*", text, re.M)
    assert requirements
    assert len(requirements) == len(named)
    assert all("==" in requirement for requirement in requirements)
    assert "://" not in text


def test_environment_without_a_suitable_python_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "environment.sh", tmp_path / "tools")
    done = subprocess.run(
        [str(tmp_path / "tools" / "environment.sh"), "runtime"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no Python from 3.11 to 3.13" in done.stderr
    assert "apt-get install python3" in done.stderr
    assert not (tmp_path / ".venv").exists()
