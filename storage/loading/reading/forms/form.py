"""The form of a file: what it is, and how its rows and cells are parted."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import orjson
import polars as pl

from storage.loading.log import LoadError
from storage.loading.mapping import FileForm
from storage.loading.reading.forms import others, shapes
from storage.loading.reading.forms.documents import COVER, one_by_one, rows_of, without_name
from storage.loading.reading.forms.encodings import NAMES, encoding_of
from storage.loading.reading.forms.grammar import Grammar
from storage.loading.reading.forms.header import has_header, names_of
from storage.loading.reading.forms.layout import is_rule, padded, titles
from storage.loading.reading.streams import ARROW, first_text, head

Kind = Literal["csv", "jsonl", "json", "parquet", "arrow", "blocks"]
BY_COLUMNS = ("parquet", "arrow")

KEY_AND_VALUE = r"^([A-Za-z][\w/.\- ]{0,40}):(?:[ \t]+(.*))?$"  # a line of a block
DELIMITERS = ("\t", "::", ";", ",", "|", "\x01", "^", "~")
SAMPLE = 500  # lines that tell delimiter, quotes and header
MOST = 0.5  # share of rows that are longer than the header, from which it is short and they are not
STEADY = 0.7  # share of lines that must have the same number of cells


@dataclass(frozen=True)
class Form:
    """``csv`` is text of rows of cells, ``blocks`` of ``key: value`` lines. ``first`` is the line
    of the first row, from 1."""

    kind: Kind
    encoding: str | None = None
    line_end: str = "\n"
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    header: bool | None = None
    names: tuple[str, ...] = ()
    first: int = 1
    shape: shapes.Shape = "rows"
    ragged: bool = False
    """Whether most rows have more cells than the header: those beyond it are left out."""
    padded: tuple[str, ...] = ()
    """Columns with blanks around their cells, which are not theirs."""
    inner: str | None = None
    """A column or key whose cells hold several rows each."""
    raw: frozenset[str] | None = None
    """Columns of Parquet that hold bytes and no text; None: it is not settled."""

    def document(self) -> dict[str, str | bool | None]:
        """What a report says of it."""
        delimiter = " " if self.shape in ("aligned", "spaced") else self.delimiter
        return {"encoding": self.encoding, "delimiter": delimiter, "header": self.header}


def form_of(file: Path, declared: FileForm | None = None) -> Form:
    """Find the form of ``file``; what the mapping says goes before what is found.

    Raises:
        LoadError: the file is empty, an archive, or of a form that cannot be read.
    """
    declared = declared or FileForm()
    start = head(file)
    if not start.strip():
        raise LoadError(f"{file}: the file is empty. Export it again.")
    if start.startswith((b"PAR1", *ARROW)):
        return Form("parquet" if start.startswith(b"PAR1") else "arrow", inner=declared.rows)
    _check(file, others.of_bytes(start))
    encoding = encoding_of(file)
    if declared.encoding:
        encoding = NAMES.get(declared.encoding.lower(), declared.encoding.lower())
    line_end = "\r" if b"\r" in start and b"\n" not in start else "\n"
    text, is_whole = first_text(file, encoding, line_end)
    lines = text.split("\n")
    if not is_whole and len(lines) > 1:
        lines.pop()  # may be cut
    form = Form("csv", encoding, line_end, inner=declared.rows)
    if without_name(text) is not text:  # a script, of one value
        return replace(form, kind="json")
    first = next((line.strip() for line in lines if line.strip()), "")
    if not is_whole and len(lines) == 1 and first.startswith(("{", "[")):
        return replace(form, kind="json")  # a document, all in one line
    _check(file, others.of_text([line for line in lines[:SAMPLE] if line.strip()], encoding))
    if kind := _json_kind(first, text, declared.rows):
        return replace(form, kind=kind)
    if not declared.delimiter and not declared.columns and _are_blocks(lines[:SAMPLE]):
        return replace(form, kind="blocks")
    return _shaped(form, lines, declared)


def _shaped(form: Form, lines: list[str], declared: FileForm) -> Form:
    """Text of rows and cells, or of lines that become such."""
    shape = shapes.shape_of(lines[:SAMPLE])
    if shape == "headed":
        block, _ = shapes.under_headings("\n".join(lines[:SAMPLE]).encode(), None, ",")
        delimited = _delimited(
            form, block.decode().split("\n"), FileForm(delimiter=",", header=False)
        )
        names = (*delimited.names[:-1], shapes.HEADING)
        return replace(delimited, shape=shape, quote=None, names=names, first=1)
    if shape == "lists":
        names = names_of([""] * 2)
        return replace(form, shape=shape, delimiter="\t", header=False, names=names)
    if shape == "rows" or declared.delimiter:
        return _delimited(form, lines, declared)
    lines = shapes.as_rows("\n".join(lines).encode(), shape).decode().split("\n")
    if shape != "enclosed":
        declared = declared.model_copy(update={"delimiter": "\t"})
    return replace(_delimited(form, lines, declared), shape=shape)


def _check(file: Path, what: str | None) -> None:
    if what is not None:
        raise LoadError(f"{file} is {what}.")


def _json_kind(first: str, text: str, inner: str | None) -> Kind | None:
    if first.startswith("{") and first.endswith("}"):
        is_document = text.strip() == first and (_wraps(first, inner) or _has_several(first))
        return "json" if is_document else "jsonl"
    if text.lstrip().startswith("["):
        return "json" if text.lstrip()[1:].lstrip()[:1] in ("{", "[", "]") else None
    if not first.startswith("{"):
        return None
    # a line that is cut short, or an object over several lines
    return "jsonl" if re.match(r"\{\s*u?[\"'].+?[\"']\s*:.+,", first) else "json"


def _are_blocks(lines: list[str]) -> bool:
    """Whether nearly all lines are a key and a value, and the first key comes again."""
    there = [line.rstrip() for line in lines if line.strip()]
    keys = Counter(match[1] for line in there if (match := re.match(KEY_AND_VALUE, line)))
    first = re.match(KEY_AND_VALUE, there[0]) if there else None
    if first is None or keys.total() < STEADY * len(there):
        return False
    return 1 < len(keys) <= len(there) / keys[first[1]] + 1 and keys[first[1]] > 1


def _wraps(line: str, inner: str | None) -> bool:
    """Whether an object is but a cover for a list of rows: ``{"total": 1, "items": [{…}]}``.

    One that has the key ``inner`` is a row, whose list is taken apart.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    is_row = not isinstance(value, dict) or (inner is not None and inner in value)
    return not is_row and rows_of(value, COVER) is not None


def _has_several(line: str) -> bool:
    """Whether objects follow each other without line ends, as Kinesis Firehose writes them."""
    values, _ = one_by_one(line)
    return len(values) > 1 and all(isinstance(value, dict) for value in values)


def _delimited(form: Form, lines: list[str], declared: FileForm) -> Form:
    blank = "\r ,;\t|"
    indices = [at for at, line in enumerate(lines) if line.strip(blank)]
    is_drawn = any(is_rule(lines[at]) for at in indices[:2])
    indices = [at for at in indices if not (is_drawn and is_rule(lines[at]))]
    remarks = _remarks([lines[at] for at in indices])
    header_at = indices[remarks - 1] if remarks else None
    indices = indices[remarks:][:SAMPLE] or indices[:SAMPLE]
    if declared.header is not False and not declared.columns:
        choices = [declared.delimiter] if declared.delimiter else DELIMITERS
        indices = indices[titles([lines[at] for at in indices], choices) :]
    sample = [lines[at].rstrip("\r") for at in indices]
    delimiter = declared.delimiter or delimiter_of(sample)
    quote: str | None = declared.quote or ("'" if _are_in_single_quotes(sample, delimiter) else '"')
    if declared.quote == "none" or (
        declared.quote is None and quote == '"' and not _has_quotes(sample, delimiter)
    ):
        quote = None
    escape = declared.escape or ("\\" if quote and _is_escaped(sample, delimiter, quote) else None)
    grammar = Grammar(delimiter, quote, escape)
    rows = [grammar.cells(line) for line in sample]
    header = has_header(rows) if declared.header is None else declared.header
    names = declared.columns or _names(rows, header)
    first = (indices[0] if not header else indices[1] if len(indices) > 1 else indices[0] + 1) + 1
    if header_at is not None and not header and not declared.columns:
        # some write the names of the columns into a remark
        named = grammar.cells(lines[header_at].lstrip("# ").rstrip("\r"))
        if len(named) == len(names) and has_header([named, *rows]):
            header, names = True, names_of(named)
    return replace(
        form,
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        header=header,
        names=tuple(names),
        first=first,
        shape="drawn" if is_drawn else "rows",
        ragged=declared.columns is None and header and _is_ragged(rows, len(names)),
        padded=padded(rows, names, header=header),
    )


def _remarks(lines: list[str]) -> int:
    """How many lines stand before the rows: remarks, or what Excel writes of the delimiter."""
    return next((at for at, line in enumerate(lines) if not re.match(r"#|sep=.$", line.strip())), 0)


def _is_ragged(rows: list[list[str]], width: int) -> bool:
    below = rows[1:]
    return sum(any(row[width:]) for row in below) > MOST * len(below)


def _names(rows: list[list[str]], header: bool) -> tuple[str, ...]:
    widths = Counter(map(len, rows[1:] or rows))
    ((width, _),) = widths.most_common(1)
    if not header:
        return names_of([""] * width)
    wider = [row for row in rows[1:] if len(row) == len(rows[0]) + 1]
    # R writes row names without a name of their own; a delimiter at the end is none
    is_of_r = (
        width == len(rows[0]) + 1 > 2
        and any(row[-1].strip() for row in wider)
        and 1 < len(wider) == len({row[0] for row in wider})
    )
    return names_of([""] * is_of_r + rows[0])


def delimiter_of(lines: list[str]) -> str:
    """The delimiter that parts the most lines into the same number of cells, two or more.

    ``csv.Sniffer`` goes by the frequency of signs, and takes letters for delimiters in
    columns of ids, and signs within texts. Counting cells, as DuckDB's sniffer does, is what
    parting the lines then does.
    """
    best, chosen = STEADY, ","
    escapes = [None, "\\"] if any('\\"' in line for line in lines) else [None]
    for delimiter in (*DELIMITERS, " "):
        share = max(_steadiness(lines, Grammar(delimiter, '"', escape)) for escape in escapes)
        if share > best and (delimiter != " " or share > 0.99):
            best, chosen = share, delimiter
    return chosen


def _steadiness(lines: list[str], grammar: Grammar) -> float:
    """Share of lines with as many cells as most have; 0 for one cell, or another header."""
    widths = [len(grammar.cells(line)) for line in lines]
    below = widths[1:] or widths
    width, count = max(Counter(below).items(), key=lambda item: (item[1], item[0]))
    is_like = min(width, widths[0]) > 1 and widths[0] in (width, width - 1)
    return count / len(below) if is_like else 0.0


def _has_quotes(lines: list[str], delimiter: str) -> bool:
    """Whether a quote at a cell's start quotes it. With commas it does, whatever else is found."""
    if delimiter in (",", ";"):
        return True
    end = re.escape(delimiter)
    return any(re.search(rf'(?:^|{end})"(?:[^"]|"")*"(?:{end}|$)', line) for line in lines)


def _are_in_single_quotes(lines: list[str], delimiter: str) -> bool:
    """Whether nearly all lines have a cell like 'this', and the first one none like "this"."""
    end = re.escape(delimiter)
    there = [re.search(rf"(?:^|{end})'(?:[^']|'')*'(?:{end}|$)", line) for line in lines]
    return '"' not in lines[0] and sum(map(bool, there)) > STEADY * len(lines)


def _is_escaped(lines: list[str], delimiter: str, quote: str) -> bool:
    r"""Whether quotes in cells are written ``\"``, as MySQL does, and not ``""``."""
    sample = pl.Series(lines)
    if not sample.str.contains("\\" + quote, literal=True).any():
        return False
    bad = []
    for escape in (None, "\\"):
        grammar = Grammar(delimiter, quote, escape)
        records, _ = grammar.joined(grammar.plain(sample), at_end=True)
        bad.append((~records["good"]).sum())
    return bad[1] < bad[0]
