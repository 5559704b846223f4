"""Small inputs of kinds that once went wrong, each in a folder of its own with what is right.

To add a case: make a folder with its files and a ``case.yaml`` of ``run`` (a function of
``tests/cases/runners.py``, which gets the folder and pytest's request, and returns a document),
``with`` (its arguments, if any) and ``right``: the part of that document that must be so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cases import runners

HERE = Path(__file__).parent
CASES = sorted(file.parent.relative_to(HERE).as_posix() for file in HERE.rglob("case.yaml"))


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, request: pytest.FixtureRequest) -> None:
    folder = HERE / name
    case = yaml.safe_load((folder / "case.yaml").read_text(encoding="utf-8"))
    found = getattr(runners, case["run"])(folder, request, **case.get("with", {}))
    differences = list(differing(found, case["right"]))
    assert not differences, f"{differences}\nin {found}"


def differing(found: Any, right: Any, at: str = "") -> list[str]:
    """Where ``found`` is not as ``right`` says.

    Of a mapping the keys that ``right`` names count. ``{has: [...]}`` wants each of these texts
    somewhere in what is found, ``{lacks: [...]}`` none of them.
    """
    if isinstance(right, dict) and set(right) <= {"has", "lacks"}:
        text = str(found)
        wrong = [f"{at} has not {part!r}" for part in right.get("has", []) if part not in text]
        return wrong + [f"{at} has {part!r}" for part in right.get("lacks", []) if part in text]
    if isinstance(right, dict) and isinstance(found, dict):
        return [
            line
            for key, value in right.items()
            for line in differing(found.get(key), value, f"{at}.{key}")
        ]
    return [] if found == right else [f"{at} is {found!r}, not {right!r}"]
