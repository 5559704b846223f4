"""Lines that are no rows yet -> rows: an item's heading over its rows, and lists of items.

``1:`` and below it ``1488844,3,2005-09-06``, as the Netflix Prize has them; and ``7 12 15 31``, a
user and all of their items, as those write them who train on graphs.
"""

from __future__ import annotations

import re
from typing import Literal

import polars as pl

Shape = Literal["rows", "headed", "lists", "drawn", "aligned", "spaced"]

HEADING = "heading"
"""Name of the column with what stood over the rows."""
_HEADING = r"^\s*(\d+):\s*$"
_LIST = re.compile(r"\d+([ \t]+\d+)*\s*$")
_GAPS: dict[Shape, bytes] = {"aligned": rb" {2,}", "spaced": rb" +"}
"""What parts cells that stand below each other: some blanks, or where one is enough any number."""
_DELIMITERS = "\t;,|"
_ALL = 0.99  # of the lines that must have as many cells
_FIRST_BLANK = re.compile(rb"(?m)^[ \t]*(\S+)[ \t]+")


def shape_of(lines: list[str]) -> Shape:
    """What the lines of a file are; blank ones do not count."""
    there = [line for line in lines if line.strip()]
    if there and re.match(_HEADING, there[0]):
        return "headed"
    if all(map(_LIST.match, there)) and len({len(line.split()) for line in there}) > 2:
        return "lists"
    if (
        there
        and not any(sign in there[0] for sign in _DELIMITERS)
        and any("  " in one for one in there)
    ):
        for shape, gap in _GAPS.items():
            widths = [len(re.split(gap.decode(), line.strip())) for line in there]
            if widths[0] > 1 and widths.count(widths[0]) >= _ALL * len(widths):
                return shape
    return "rows"


def under_headings(block: bytes, heading: str | None, delimiter: str) -> tuple[bytes, str | None]:
    """Rows with the heading above them as their last cell, blank lines for the headings; and the
    last heading. ``heading`` is that of the block before."""
    lines = pl.Series(block.decode(errors="replace").split("\n"), dtype=pl.String)
    found = lines.str.extract(_HEADING)
    is_row = found.is_null() & (lines.str.strip_chars() != "")
    above = found.forward_fill().fill_null(heading or "")
    rows = (lines.str.strip_chars_end() + delimiter + above).zip_with(
        is_row, pl.Series([""], dtype=pl.String).new_from_index(0, len(lines))
    )
    return "\n".join(rows).encode(), above[-1] or None


def listed(block: bytes) -> bytes:
    """Lines of a user, a tab, and the items."""
    return _FIRST_BLANK.sub(rb"\1\t", block)


def tabbed(block: bytes, shape: Shape) -> bytes:
    """Tabs for the blanks between cells."""
    return re.sub(_GAPS[shape], b"\t", re.sub(rb"(?m)^ +| +\r?$", b"", block))
