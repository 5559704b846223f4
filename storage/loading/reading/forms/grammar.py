"""How a line is parted into cells, and lines into records where a cell has line ends.

RFC 4180, and what people write instead: quotes within a cell that has none around it
(``12" vinyl``), and quotes that are opened and never closed.
"""

from __future__ import annotations

import csv
import io
import re
from bisect import bisect_right

import polars as pl

UNIT = "\x1f"  # stands for a delimiter of several signs, which polars does not take
LONGEST = 10_000  # lines of one cell
_HELD = "\x1a"  # stands for an escaped backslash while quotes are unescaped

UNCLOSED = "row: a quote is opened and not closed"


class Grammar:
    """The ``delimiter``, ``quote`` (None: quotes are text) and ``escape`` of one file."""

    def __init__(self, delimiter: str, quote: str | None, escape: str | None) -> None:
        self.delimiter, self.quote, self.escape = delimiter, quote, escape
        self.sign = delimiter if len(delimiter) == 1 else UNIT
        mark, end = _hex(quote or '"'), _hex(self.sign)
        inside = f"[^{mark}]*(?:{mark}{mark}[^{mark}]*)*"
        cell = f"(?:{mark}{inside}{mark}|[^{mark}{end}]*)"
        cells = f"{cell}(?:{end}{cell})*"
        self.well_formed = f"^{cells}$"
        self._opens = re.compile(rf"(?:{_steady(cell)}{end})*+{mark}{_steady(inside)}\Z")
        self._stays = re.compile(rf"{_steady(inside)}\Z")
        self._closes = re.compile(rf"{_steady(inside)}{mark}(?:{end}{_steady(cell)})*+\Z")
        self._reopens = re.compile(
            rf"{_steady(inside)}{mark}(?:{end}{_steady(cell)})*?{end}{mark}{_steady(inside)}\Z"
        )
        self._starts_quoted = re.compile(f"(?:^|{end}){mark}")

    def cells(self, line: str) -> list[str]:
        """The cells of one line, as leniently as can be."""
        (line,) = self.plain(pl.Series([line]))
        if not self.quote or self.quote not in line:
            return line.split(self.sign)
        try:
            return next(csv.reader([line], delimiter=self.sign, quotechar=self.quote), [""])
        except csv.Error:  # a carriage return that this grammar does not quote, or a huge cell
            return line.split(self.sign)

    def plain(self, lines: pl.Series) -> pl.Series:
        r"""Lines with one sign between cells, and with ``""`` for ``\"``."""
        if self.sign != self.delimiter:
            lines = lines.str.replace_all(self.delimiter, self.sign, literal=True)
        if self.escape and self.quote:
            for old, new in (
                (self.escape * 2, _HELD),
                (self.escape + self.quote, self.quote * 2),
                (_HELD, self.escape),
            ):
                lines = lines.str.replace_all(old, new, literal=True)
        return lines

    def records(self, lines: pl.Series, *, at_end: bool) -> tuple[pl.DataFrame, int]:
        """Plain lines -> records, and how many lines are used: the rest waits for what follows.

        Returns:
            A frame of ``at`` (first line, from 0), ``text`` (well-formed; empty where there is
            a problem) and ``problem`` (null, or why the line is no record); and a number.
        """
        records, used = self.joined(lines, at_end=at_end)
        bad = records.filter(~pl.col("good"))
        mended = [self._mended(line) for line in bad["text"]]
        fixes = pl.DataFrame(
            {"at": bad["at"], "new": [text for text, _ in mended], "why": [w for _, w in mended]},
            schema={"at": pl.Int64, "new": pl.String, "why": pl.String},
        )
        whole = records.join(fixes, on="at", how="left", maintain_order="left")
        return whole.select("at", text=pl.coalesce("new", "text"), problem="why"), used

    def joined(self, lines: pl.Series, *, at_end: bool) -> tuple[pl.DataFrame, int]:
        """Lines -> ``at``, ``text`` with the lines of one record joined, ``good``; lines used."""
        quoted = lines.str.contains(self.quote or '"', literal=True)
        good = ~quoted | lines.str.contains(self.well_formed)
        frame = pl.DataFrame(
            {"at": pl.int_range(len(lines), eager=True), "text": lines, "good": good}
        )
        if good.all():
            return frame, len(lines)
        texts = lines.to_list()
        places, used, done = quoted.arg_true().to_list(), len(lines), -1
        joined: dict[int, str] = {}
        swallowed: list[int] = []
        for at in (~good).arg_true().to_list():
            if at <= done:
                continue
            last, waits = self._last_line(texts, at, places)
            if waits and not at_end and len(lines) - at < LONGEST:
                used = at
                break
            if last is not None:
                joined[at] = "\n".join(texts[at : last + 1])
                swallowed.extend(range(at + 1, last + 1))
                done = last
        if used == len(lines) and not joined:
            return frame, used
        wholes = pl.DataFrame(
            {"at": list(joined), "whole": list(joined.values())},
            schema={"at": pl.Int64, "whole": pl.String},
        )
        frame = (
            frame.head(used)
            .filter(~pl.col("at").is_in(pl.Series(swallowed, dtype=pl.Int64).implode()))
            .join(wholes, on="at", how="left", maintain_order="left")
            .select(
                "at",
                text=pl.coalesce("whole", "text"),
                good=pl.col("good") | pl.col("whole").is_not_null(),
            )
        )
        return frame, used

    def _last_line(self, lines: list[str], at: int, places: list[int]) -> tuple[int | None, bool]:
        """Where the cell closes that line ``at`` opens; and whether that is not yet known."""
        if not self._opens.match(lines[at]):
            return None, False
        for number in range(bisect_right(places, at), len(places)):
            place = places[number]
            line = lines[place]
            if place - at > LONGEST:
                return None, False
            if self._closes.match(line):
                return place, False
            if not self._stays.match(line) and not self._reopens.match(line):
                return None, False
        return None, True

    def _mended(self, line: str) -> tuple[str, str | None]:
        """The line as RFC 4180 has it, where its quotes are clearly text; else what is wrong."""
        quote = self.quote or '"'
        if line.count(quote) % 2 and self._starts_quoted.search(line):
            return "", UNCLOSED
        out = io.StringIO()
        writer = csv.writer(
            out, delimiter=self.sign, quotechar=quote, quoting=csv.QUOTE_ALL, lineterminator=""
        )
        writer.writerow(line.split(self.sign))
        return out.getvalue(), None


def _hex(sign: str) -> str:
    """The sign in a pattern, in or out of brackets."""
    return f"\\x{ord(sign):02x}"


def _steady(pattern: str) -> str:
    """The pattern without backtracking, for long lines."""
    return f"(?>{pattern})"
