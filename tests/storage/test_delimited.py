"""Text of rows and cells, in any blocks: what csv writes comes back, and a bad row is one row."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.loading.reading.formats.delimited import NOT_UTF8, read
from storage.loading.reading.forms.form import Form, delimiter_of, form_of
from storage.loading.reading.forms.grammar import UNCLOSED, Grammar
from storage.loading.reading.forms.header import has_header

NAMES = ("a", "b", "c")
cell = st.text(st.sampled_from('ab,;"\n\\é\t '), max_size=6)


def rows_of(
    content: bytes, form: Form, size: int
) -> tuple[list[tuple[str | None, ...]], list[int]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.csv"
        file.write_bytes(content)
        rows, lines = [], []
        for chunk in read(file, form, size):
            assert chunk.problem is None or chunk.problem.null_count() == len(chunk.line)
            rows += chunk.frame.rows()
            lines += chunk.line.to_list()
        return rows, lines


@settings(max_examples=50)
@given(
    rows=st.lists(st.tuples(st.just("id"), cell, cell), min_size=1, max_size=8),
    size=st.sampled_from([1, 2, 7, 64, 1 << 20]),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
def test_what_csv_writes_comes_back_whatever_the_blocks(
    rows: list[tuple[str, str, str]], size: int, delimiter: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(NAMES)
    places = []
    for row in rows:
        places.append(out.getvalue().count("\n") + 1)
        writer.writerow(row)
    form = Form("csv", "utf-8", "\n", delimiter, '"', None, True, NAMES, 2)
    assert rows_of(out.getvalue().encode(), form, size) == (rows, places)


@pytest.mark.parametrize("size", [3, 1 << 20])
@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b'2,"open,x', UNCLOSED),
        (b'2,"open\n', UNCLOSED),
        (b"2,\xff,x", NOT_UTF8),
        (b"2,x,x,x", "row: more cells than the header's 3"),
    ],
)
def test_a_row_that_cannot_be_taken_apart_is_one_row(
    tmp_path: Path, bad: bytes, problem: str, size: int
) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(b'a,b,c\n1,"\xc3\xa9 ""1""",x\n' + bad + b'\n3,"three\nlines",x\n4,4" pot,x\n')
    form = form_of(file)
    chunks = list(read(file, form, size))
    problems = [p for c in chunks for p in (c.problem if c.problem is not None else c.line * 0)]
    assert [one for one in problems if isinstance(one, str)] == [problem]
    rows = [row for chunk in chunks for row in chunk.frame.rows()]
    texts = [row[1] for row in rows]
    assert 'é "1"' in texts
    assert "three\nlines" in texts
    assert '4" pot' in texts


@pytest.mark.parametrize(
    ("lines", "delimiter"),
    [
        (["id,title,genres", "1,Kite,A|B", "2,Rain,C", "3,Door,A|B|C"], ","),
        (["1|Kite (1994)|01-Jan-94", "2|Salt, and Rain|x"], "|"),
        (["1::Kite::A|B", "2::Rain: a, b::C"], "::"),
        (["a;b;c", "1;2,5;3,7", "2;3,5;4,7"], ";"),
        (["1\ta, b, c\tx", "2\td, e, f\ty"], "\t"),
        (["1 2 5", "3 4 5"], " "),
        (["title", "some words here", "others"], ","),
        (['"a";"b"', r'"1";"x \"y\"; z"'], ";"),
    ],
)
def test_the_delimiter_is_that_which_parts_all_lines_alike(
    lines: list[str], delimiter: str
) -> None:
    assert delimiter_of(lines) == delimiter


@pytest.mark.parametrize(
    ("first", "below", "header"),
    [
        (["user_id", "item_id"], ["u1", "i1"], True),
        (["", "user", "item"], ["0", "u1", "i1"], True),
        (["user", "item"], ["ann", "saw"], True),
        # known names settle it, whatever stands below the others
        (["user_id", "item_id", "2020", "f1"], ["u1", "i1", "7", "a0b"], True),
        (["user", "item", "like"], ["u1", "i10", "like"], True),
        (["id", "md5", "title"], ["17", "ab1", "Kites"], True),
        (["u1", "i1"], ["u2", "i3"], False),
        (["movie", "like", "action"], ["movie", "view", "action"], False),
        (["1", "x"], ["2", "y"], False),
        (["ann", "2026-01-01"], ["bob", "2026-01-02"], False),
        (["A sentence that is much too long for the name of a column", "x"], ["b", "y"], False),
    ],
)
def test_a_header_has_names_and_not_values(
    first: list[str], below: list[str], header: bool
) -> None:
    assert has_header([first, below, below]) == header


def test_mysql_escapes_are_undone_in_order() -> None:
    assert Grammar(",", '"', "\\").cells(r'"a \"b\" \\","c\\"') == ['a "b" \\', "c\\"]


PSQL = """ user_id | item_id | type
---------+---------+------
 u0      |       7 | like
 u1      |      12 |
(2 rows)
"""
MARKDOWN = "| user_id | item_id | type |\n|:---|---:|---|\n| u0 | 7 | like |\n| u1 | 12 | |\n"
BOX = "+---+\n" + MARKDOWN.replace("|:---|---:|---|", "+---+---+---+") + "+---+\n"


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        (PSQL, "|"),
        (MARKDOWN, "|"),
        (BOX, "|"),
        ("user_id ; item_id ; type\nu0 ; 7 ; like\nu1 ; 12 ; \n", ";"),
        ("user_id,item_id,type\nu0,\u00a07,\u200blike\nu1,\u00a012,\u200b\n", ","),
        ("user_id, item_id, type\nu0, 7, like\nu1, 12,\n", ","),
    ],
)
def test_blanks_that_pad_the_cells_of_a_table_are_no_part_of_them(
    tmp_path: Path, text: str, delimiter: str
) -> None:
    file = tmp_path / "x.csv"
    file.write_text(text)
    form = form_of(file)
    assert (form.delimiter, form.header) == (delimiter, True)
    (chunk,) = read(file, form)
    rows = chunk.frame.select("user_id", "item_id", "type").rows()
    assert rows == [("u0", "7", "like"), ("u1", "12", None)]


@pytest.mark.parametrize("rows", [5, 60])
@pytest.mark.parametrize(("share", "stays"), [(1.0, False), (0.5, True)])
def test_blanks_around_ids_are_theirs_unless_all_have_them(
    tmp_path: Path, rows: int, share: float, stays: bool
) -> None:
    ids = [f"u{n}{' ' * (n < share * rows)}" for n in range(rows)]
    file = tmp_path / "x.csv"
    file.write_text("".join(["user_id,item_id,type\n", *(f"{one},7,like\n" for one in ids)]))
    (chunk,) = read(file, form_of(file))
    found = chunk.frame["user_id"].to_list()
    assert found == (ids if stays or rows == 5 else [one.strip() for one in ids])


@pytest.mark.parametrize("by", [",", ";", "\t", "|", "^", "~", "\x01"])
@pytest.mark.parametrize("above", [(), ("Orders",), ("Report: Orders", "From 1 to 31 January", "")])
@pytest.mark.parametrize("filled_up", [True, False])
def test_titles_over_the_header(
    tmp_path: Path, by: str, above: tuple[str, ...], filled_up: bool
) -> None:
    lines = [f"{one}{by * 2 * filled_up}" for one in above]
    lines += [by.join(row) for row in (("user_id", "item_id", "type"), *[("u1", "i1", "like")] * 4)]
    file = tmp_path / "x.csv"
    file.write_text("\n".join(lines) + "\n")
    form = form_of(file)
    assert (form.delimiter, form.header) == (by, True)
    (chunk,) = read(file, form)
    assert chunk.frame.select("user_id", "item_id", "type").rows() == [("u1", "i1", "like")] * 4


def test_lines_that_are_one_cell_in_quotes_each(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text('"user_id,item_id,title"\n' + '"u1,i1,""Salt, and Rain"""\n' * 3)
    (chunk,) = read(file, form_of(file))
    assert chunk.frame.rows() == [("u1", "i1", "Salt, and Rain")] * 3


def test_words_in_a_text_are_no_header(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("item_id,note\n" + 'i1,"of time, film, book, user, title"\n' * 9)
    (chunk,) = read(file, form_of(file))
    assert len(chunk.frame) == 9
