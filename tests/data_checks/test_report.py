"""Reports and their pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from data_checks.docs import build_docs, suite_page
from data_checks.report import CheckReport, Finding

PASS = Finding("there are rows", "", True, "as expected")
FAIL = Finding(
    "lat is in -90 to 90",
    "lat",
    False,
    "2 of 2,000 rows",
    2,
    0.1,
    ("id <script>alert(1)</script>|`x`*_, lat 91.0", "id b\n# c, lat nan"),
)
GOOD = CheckReport("users", True, 2_000, (PASS,))
BAD = CheckReport("items", False, 2_000, (PASS, FAIL))


def test_summary_says_what_failed_and_how_often() -> None:
    assert GOOD.summary == "users: all 1 expectations hold on 2,000 rows"
    assert BAD.failures == (FAIL,)
    assert BAD.summary == (
        "items: 1 of 2 expectations fail on 2,000 rows: lat is in -90 to 90 (2 of 2,000 rows)"
    )


def test_markdown_is_a_table_that_data_cannot_break() -> None:
    lines = BAD.to_markdown().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4  # head, rule, and one for each expectation
    assert rows[2].startswith(
        "| **FAIL** | lat is in -90 to 90 | lat | 2 of 2,000 rows | 2 (0.1 %)"
    )
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}
    assert "<script>" not in BAD.to_markdown()


def test_docs_hold_the_latest_result_of_every_suite(tmp_path: Path) -> None:
    folder = tmp_path / "data_docs"
    index = build_docs([BAD], folder)
    build_docs([GOOD], folder)
    text = index.read_text("utf-8")
    for part in ("items.html", "users.html", "FAIL", "lat is in -90 to 90"):
        assert part in text
    page = suite_page(folder, "items").read_text("utf-8")
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    for file in folder.glob("*.html"):  # nothing is loaded from elsewhere
        assert "http" not in file.read_text("utf-8")

    build_docs([CheckReport("items", True, 5, (PASS,))], folder)
    assert "FAIL" not in index.read_text("utf-8")
    assert sorted(file.suffix for file in folder.iterdir()) == [".html"] * 3 + [".json"] * 2


def test_reports_load_without_great_expectations() -> None:
    code = (
        "import sys, data_checks.docs, data_checks.report;"
        "print('great_expectations' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
