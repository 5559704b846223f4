"""Lines that are no rows yet -> rows.

``headed``: ``1:`` and below it ``1488844,3,2005-09-06``, as the Netflix Prize has them. ``lists``:
``7 12 15 31``, a user and all of their items, as those write them who train on graphs. ``drawn``:
tables with lines of dashes, as of psql and Markdown. ``aligned``, ``spaced``: cells below each
other, with blanks between them. ``enclosed``: each line is one cell in quotes.
"""

from __future__ import annotations

import re
from typing import Literal

import polars as pl

from storage.loading.names import role_of
from storage.loading.reading.forms.layout import without_rules

Shape = Literal["rows", "headed", "lists", "drawn", "aligned", "spaced", "enclosed"]

HEADING = "heading"
"""Name of the column with what stood over the rows."""
_HEADING = r"^\s*(\d+):\s*$"
_LIST = re.compile(r"\d+([ \t]+\d+)*\s*$")
_GAPS: dict[Shape, bytes] = {"aligned": rb" {2,}", "spaced": rb" +"}
"""What parts cells that stand below each other: some blanks, or where one is enough any number."""
_SIGNS = '\t;,|"'  # of cells that are parted by others
_ENCLOSED = re.compile(r'"(?:[^"]|"")*"\s*$')
_ALL = 0.99  # of the lines that must have as many cells
_FIRST_BLANK = re.compile(rb"(?m)^[ \t]*(\S+)[ \t]+")


def shape_of(lines: list[str]) -> Shape:
    """What the lines of a file are; blank ones do not count."""
    there = [line for line in lines if line.strip()]
    if there and re.match(_HEADING, there[0]):
        return "headed"
    if all(map(_LIST.match, there)) and len({len(line.split()) for line in there}) > 2:
        return "lists"
    if len(there) > 1 and all(map(_ENCLOSED.match, there)):
        roles = {role_of(cell) for cell in re.split(r"[\t;,|]", there[0].strip('"\r '))}
        return "enclosed" if len(roles - {None}) > 1 else "rows"
    return _gaps(there)


def _gaps(lines: list[str]) -> Shape:
    """``aligned`` or ``spaced``, where blanks part as good as all lines into as many cells."""
    if not any("  " in line for line in lines) or any(sign in lines[0] for sign in _SIGNS):
        return "rows"
    for shape, gap in _GAPS.items():
        widths = [len(re.split(gap.decode(), line.strip())) for line in lines]
        if widths[0] > 1 and widths.count(widths[0]) >= _ALL * len(widths):
            return shape
    return "rows"


def as_rows(block: bytes, shape: Shape) -> bytes:
    """The lines of a block as rows of cells, for those shapes of which each line tells all."""
    match shape:
        case "lists":  # a user, a tab, and the items
            return _FIRST_BLANK.sub(rb"\1\t", block)
        case "drawn":
            return without_rules(block)
        case "aligned" | "spaced":
            return re.sub(_GAPS[shape], b"\t", re.sub(rb"(?m)^ +| +\r?$", b"", block))
        case "enclosed":
            return re.sub(rb'(?m)^"|"\s*?$', b"", block).replace(b'""', b'"')
        case _:
            return block


def under_headings(block: bytes, heading: str | None, delimiter: str) -> tuple[bytes, str | None]:
    """Rows with the heading above them as their last cell, blank lines for the headings; and the
    last heading. ``heading`` is that of the block before."""
    lines = pl.Series(block.decode(errors="replace").split("\n"), dtype=pl.String)
    headings = lines.str.extract(_HEADING)
    is_row = headings.is_null() & (lines.str.strip_chars() != "")
    above = headings.forward_fill().fill_null(heading or "")
    rows = (lines.str.strip_chars_end() + delimiter + above).zip_with(
        is_row, pl.Series([""], dtype=pl.String).new_from_index(0, len(lines))
    )
    return "\n".join(rows).encode(), above[-1] or None
