"""What stands around a table of text: rules of dashes, and blanks that pad its cells."""

from __future__ import annotations

import re
from collections.abc import Sequence

from storage.loading.names import role_of

BLANKS = " \u00a0\u2007\u2009\u200b\u202f\u3000\ufeff"
"""Blanks that pad cells: also those of web pages and of other scripts, and those of no width."""
NEARLY_ALL = 0.95  # of the cells of a column, from which their blanks are not theirs
ENOUGH = 10  # such cells, from which the column alone tells

FIRST = 20  # lines among which a header is looked for
_AROUND = BLANKS + "\"'\ufeff\r"
_RULE = re.compile(rb"(?m)^[ \t|+:=-]*-{3,}[ \t|+:=-]*\r?$|^\(\d+ rows?\)\r?$")


def is_rule(line: str) -> bool:
    """Whether a line is but drawn, as psql and Markdown do below a header: ``|---|---|``; or tells
    how many rows there were."""
    return _RULE.match(line.encode()) is not None


def without_rules(block: bytes) -> bytes:
    """Blank lines for those that are drawn."""
    return _RULE.sub(b"", block)


def titles(lines: Sequence[str], delimiters: Sequence[str]) -> int:
    """How many lines stand over the header, as reports have them: ``Orders of January,,,``.

    The header is the first line in which two names are known, and that has other cells than those.
    """
    for at, line in enumerate(lines[:FIRST]):
        for delimiter in delimiters:
            cells = line.split(delimiter)
            roles = {role_of(cell.strip(_AROUND)) for cell in cells} - {None}
            if at == 0 and roles and len(cells) > 1:
                return 0
            if len(roles) > 1:
                before = [len([*filter(str.strip, line.split(delimiter))]) for line in lines[:at]]
                return at if all(2 * count <= len(cells) for count in before) else 0
    return 0


def padded(rows: Sequence[Sequence[str]], names: Sequence[str], *, header: bool) -> tuple[str, ...]:
    """The columns in which as good as every cell has blanks around it, that are not its own.

    Of few rows the blanks of an id may well be its own. So the header, or the other columns, must
    have them too.
    """
    below = rows[1:] if header else rows
    counts: dict[str, int] = {}
    filled = []
    for at, name in enumerate(names):
        cells = [row[at] for row in below if at < len(row) and row[at].strip(BLANKS)]
        count = sum(cell != cell.strip(BLANKS) for cell in cells)
        filled += [name] if cells else []
        if cells and count >= NEARLY_ALL * len(cells):
            counts[name] = count
    everywhere = len(counts) > 1 and len(counts) >= len(filled) - 1  # a blank after each delimiter
    titles = dict(zip(names, rows[0], strict=False)) if header else {}
    return tuple(
        name
        for name, count in counts.items()
        if everywhere
        or count >= ENOUGH
        or titles.get(name, "") != titles.get(name, "").strip(BLANKS)
    )
