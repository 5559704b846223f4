"""Data Docs: a page a suite with its latest result, and an index of all suites.

Our own pages rather than those of Great Expectations, which load fonts, styles and
scripts from other hosts: these are one file each and can be read anywhere.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from data_checks.report import CheckReport, Finding

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem;
       padding: 0 1rem; color: #1c2128; background: #fff; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #d0d7de; padding: .4rem .6rem; text-align: left;
         vertical-align: top; overflow-wrap: anywhere; }
td.count { text-align: right; white-space: nowrap; }
.pass { color: #1a7f37; } .fail { color: #cf222e; font-weight: 600; }
"""


def build_docs(reports: Iterable[CheckReport], folder: Path) -> Path:
    """Write the page of each report's suite, and the index, and return the index.

    Pages of suites that are not among ``reports`` stay: the index lists the latest result of
    every suite that was ever written to ``folder``. The page of one suite is
    ``suite_page(folder, report.suite)``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for report in reports:
        _write(suite_page(folder, report.suite), _page(report))
        summary = {
            "suite": report.suite,
            "success": report.success,
            "rows_checked": report.rows_checked,
            "checked_at": report.checked_at.isoformat(timespec="seconds"),
            "failed": [finding.expectation for finding in report.failures],
        }
        _write(folder / f"{report.suite}.json", json.dumps(summary, indent=1))
    latest = [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]
    index = folder / "index.html"
    _write(index, _index(latest))
    return index


def suite_page(folder: Path, suite: str) -> Path:
    """Where ``build_docs`` puts the page of a suite."""
    return folder / f"{suite}.html"


def _page(report: CheckReport) -> str:
    rows = "".join(map(_row, report.findings))
    return _document(
        f"Checks of {report.suite}",
        f"<p>{_verdict(report.success)} on {report.rows_checked:,} rows, "
        f"{report.checked_at:%Y-%m-%d %H:%M:%S} UTC. <a href='index.html'>All suites</a></p>"
        "<table><tr><th></th><th>expectation</th><th>column</th><th>observed</th>"
        f"<th>unexpected</th><th>examples</th></tr>{rows}</table>",
    )


def _row(finding: Finding) -> str:
    unexpected = f"{finding.unexpected_count:,} ({finding.unexpected_percent:.3g} %)"
    return (
        f"<tr><td>{_verdict(finding.success)}</td><td>{html.escape(finding.expectation)}</td>"
        f"<td>{html.escape(finding.column)}</td><td>{html.escape(finding.observed)}</td>"
        f"<td class='count'>{unexpected if finding.unexpected_count else ''}</td>"
        f"<td>{'<br>'.join(map(html.escape, finding.examples))}</td></tr>"
    )


def _index(latest: list[dict]) -> str:
    rows = "".join(
        f"<tr><td>{_verdict(run['success'])}</td>"
        f"<td><a href='{html.escape(run['suite'])}.html'>{html.escape(run['suite'])}</a></td>"
        f"<td class='count'>{run['rows_checked']:,}</td><td>{run['checked_at']}</td>"
        f"<td>{'<br>'.join(html.escape(failed) for failed in run['failed'])}</td>"
        "</tr>"
        for run in latest
    )
    return _document(
        "Data checks",
        "<table><tr><th></th><th>suite</th><th>rows</th><th>checked at</th><th>failed</th></tr>"
        f"{rows}</table>",
    )


def _document(title: str, body: str) -> str:
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}"
        "</title><meta name='viewport' content='width=device-width'>"
        f"<style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>{body}</body></html>"
    )


def _verdict(success: bool) -> str:
    return "<span class='pass'>pass</span>" if success else "<span class='fail'>FAIL</span>"


def _write(file: Path, text: str) -> None:
    """In one step, so that a reader never sees half a page."""
    part = file.with_name(f".{file.name}.{uuid4().hex}")
    part.write_text(text, "utf-8")
    os.replace(part, file)
