"""What a check found, as plain objects: no Great Expectations, no Dagster."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """The outcome of one expectation.

    Attributes:
        expectation: what was expected, in words.
        column: the column or columns it is about; empty for the table as a whole.
        observed: what was seen, for example ``3 of 120 rows``.
        unexpected_count: rows that break the expectation. They may be there on success
            too, where the suite tolerates a share of them.
        unexpected_percent: the same per cent of the rows that were looked at, 0 to 100.
        examples: at most five of these rows, each with its id and the offending values.
    """

    expectation: str
    column: str
    success: bool
    observed: str
    unexpected_count: int = 0
    unexpected_percent: float = 0.0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """The outcome of one suite on one table or frame."""

    suite: str
    success: bool
    rows_checked: int
    findings: tuple[Finding, ...]
    data_docs: Path | None = None
    checked_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def failures(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.success)

    @property
    def summary(self) -> str:
        """One line: what failed, and in how many rows."""
        if not self.failures:
            return (
                f"{self.suite}: all {len(self.findings)} expectations hold "
                f"on {self.rows_checked:,} rows"
            )
        failed = "; ".join(
            f"{finding.expectation} ({finding.observed})" for finding in self.failures
        )
        return (
            f"{self.suite}: {len(self.failures)} of {len(self.findings)} expectations fail "
            f"on {self.rows_checked:,} rows: {failed}"
        )

    def to_markdown(self) -> str:
        """The summary and a table with a row an expectation, failures first."""
        lines = [
            f"**{_escaped(self.summary)}**",
            "",
            "| | expectation | column | observed | unexpected | examples |",
            "|---|---|---|---|---|---|",
        ]
        for finding in sorted(self.findings, key=lambda finding: finding.success):
            unexpected = f"{finding.unexpected_count:,} ({finding.unexpected_percent:.3g} %)"
            cells = (
                "pass" if finding.success else "**FAIL**",
                _escaped(finding.expectation),
                _escaped(finding.column),
                _escaped(finding.observed),
                unexpected if finding.unexpected_count else "",
                "<br>".join(_escaped(example) for example in finding.examples),
            )
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text of a product's own rows cannot break the table, nor become markup."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("`", "&#96;")):
        text = text.replace(character, entity)
    for character in "\\*_[]|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
