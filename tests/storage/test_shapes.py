"""Files whose lines are no rows yet, whose rows lie in folders, or whose types stand in flags."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from storage.loading.log import LoadError
from storage.loading.mapping import Mapping, read_mapping
from storage.loading.proposal.proposal import propose
from storage.loading.proposal.written import written
from storage.loading.readers import read_log
from storage.loading.reading.formats import blocks, delimited
from storage.loading.reading.forms.form import form_of
from storage.loading.reading.rows import columns_of
from storage.loading.values.validation import validate


def good(folder: Path, mapping: Mapping | None = None) -> pl.DataFrame:
    return validate(read_log(folder, mapping=mapping), "interactions").good


def by_proposal(folder: Path) -> pl.DataFrame:
    return good(folder, read_mapping(written(propose(folder)), "the proposal"))


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("size", [7, 40, 1_000])
def test_a_heading_holds_for_the_rows_below_it_whatever_the_blocks(
    tmp_path: Path, size: int
) -> None:
    file = write(
        tmp_path / "ratings.txt", "7:\n1,3,2005-09-06\n2,5,2005-05-13\n\n12:\n1,4,2005-10-19\n"
    )
    chunks = list(delimited.read(file, form_of(file), size))
    rows = pl.concat([chunk.frame for chunk in chunks]).rows()
    assert rows == [
        ("1", "3", "2005-09-06", "7"),
        ("2", "5", "2005-05-13", "7"),
        ("1", "4", "2005-10-19", "12"),
    ]
    assert pl.concat([chunk.line for chunk in chunks]).to_list() == [2, 3, 6]


@pytest.mark.parametrize("size", [9, 50, 1_000])
def test_blocks_of_keys_are_rows_whatever_the_blocks_that_are_read(
    tmp_path: Path, size: int
) -> None:
    text = "a/id: 1\na/text: Good: yes\n\na/id: 2\n\n\na/id: 3\nno key in this line\na/text: fine\n"
    file = write(tmp_path / "rows.txt", text)
    form = form_of(file)
    assert (form.kind, columns_of(file, form)) == ("blocks", ["a/id", "a/text"])
    chunks = list(blocks.read(file, form, ["a/text", "a/id"], size))
    rows = pl.concat([chunk.frame for chunk in chunks]).rows()
    assert rows == [("Good: yes", "1"), (None, "2"), ("fine", "3")]
    assert pl.concat([chunk.line for chunk in chunks]).to_list() == [1, 4, 7]


def test_folders_by_the_values_of_a_column_are_one_file(tmp_path: Path) -> None:
    for day, shop in (("2026-01-01", "a%20b"), ("2026-01-02", "c"), ("2026-01-02", "d")):
        folder = tmp_path / "interactions" / f"dt={day}" / f"shop={shop}"
        write(folder / "part-0.csv", "user_id,item_id,type\nu1,i1,like\n")
        write(folder / "_SUCCESS", "")
    found = good(tmp_path, Mapping(interactions={"occurred_at": "dt", "user_id": "shop"}))
    assert found["occurred_at"].dt.day().to_list() == [1, 2, 2]
    assert found["user_id"].to_list() == ["a b", "c", "d"]
    assert len(by_proposal(tmp_path)) == 3


def test_a_folder_of_such_folders_alone_is_one_file_too(tmp_path: Path) -> None:
    for day in (1, 2):
        write(tmp_path / f"dt=2026-01-0{day}" / "0.csv", f"user_id,item_id,type\nu{day},i1,like\n")
    found = by_proposal(tmp_path)
    assert found["user_id"].to_list() == ["u1", "u2"]
    assert found["occurred_at"].dt.day().to_list() == [1, 2]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ("1,1,0", "apply"), ("1,0,0", "click"), ("0,0,0", "impression"), ("0,2,0", "apply"),
        ("true,no,", "click"), ("1,0,1", "dismiss"), (",,", "impression"),
    ],
)  # fmt: skip
def test_the_first_flag_that_is_set_gives_the_type(tmp_path: Path, cells: str, kind: str) -> None:
    write(
        tmp_path / "interactions.csv",
        f"user_id,item_id,occurred_at,click,buy,hate\nu,i,2026-01-01,{cells}\n",
    )
    flags = "flags: {hate: dismiss, buy: apply, click: click}\n"
    mapping = read_mapping(f"{flags}default_type: impression", "it")
    assert good(tmp_path, mapping)["type"].to_list() == [kind]


def test_a_flag_that_is_none_and_a_row_without_any_are_refused(tmp_path: Path) -> None:
    text = "user_id,item_id,occurred_at,click\nu,i,2026-01-01,perhaps\nu,i,2026-01-01,0\n"
    write(tmp_path / "interactions.csv", text)
    log = read_log(tmp_path, mapping=read_mapping("flags: {click: click}", "it"))
    kinds = validate(log, "interactions").rejected["reason"].to_list()
    assert "'perhaps'" in kinds[0]
    assert kinds[1] == "type: empty"


def test_one_type_for_all_rows_beside_flags_is_told(tmp_path: Path) -> None:
    write(tmp_path / "interactions.csv", "user_id,item_id,occurred_at,click\nu,i,2026-01-01,0\n")
    notice = read_log(tmp_path, mapping=read_mapping("default_type: click", "it")).notice
    assert "flags: {click: click}" in notice


def test_a_text_is_no_flag(tmp_path: Path) -> None:
    text = "user_id,item_id,occurred_at,comments\nu,i,2026-01-01,A fine flat\n"
    write(tmp_path / "interactions.csv", text)
    assert "flags" not in read_log(tmp_path, mapping=Mapping(default_type="click")).notice


def test_ids_that_are_lists_or_objects_are_refused_in_json_too(tmp_path: Path) -> None:
    rows = [
        {"user_id": user, "item_id": item, "type": "like", "occurred_at": "2026-01-01"}
        for user, item in (([1], "i1"), ("u1", {"id": 1}), ("[deleted]", "{6F9619FF}"))
    ]
    write(tmp_path / "interactions.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    found = validate(read_log(tmp_path), "interactions")
    assert found.rejected["reason"].to_list() == ["user_id: is a list", "item_id: is an object"]
    assert found.good.select("user_id", "item_id").rows() == [("[deleted]", "{6F9619FF}")]


@pytest.mark.parametrize("header", ["", f"user,{','.join(f'joke {n}' for n in range(12))}\n"])
def test_a_matrix_is_refused_with_what_to_do(tmp_path: Path, header: str) -> None:
    rows = [",".join([str(n), *(f"{(n * at) % 19 - 9}.5" for at in range(12))]) for n in range(20)]
    write(tmp_path / "matrix.csv", header + "\n".join(rows) + "\n")
    with pytest.raises(LoadError, match="a row for each user and a column for each item"):
        propose(tmp_path)


def test_ids_with_control_signs_do_not_spoil_the_proposal(tmp_path: Path) -> None:
    rows = "".join(f"u{n % 3}\x01,i{n}\x7f\x85,2026-01-01\n" for n in range(6))
    write(tmp_path / "log.csv", f"user,item,date\n{rows}")
    assert len(by_proposal(tmp_path)) == 6


def test_a_column_of_several_is_empty_where_one_of_them_is(tmp_path: Path) -> None:
    text = "user_id,item_id,type,y,m,d\nu,i,like,2026,1,9\nu,i,like,2026,,9\n"
    write(tmp_path / "interactions.csv", text)
    log = read_log(tmp_path, mapping=Mapping(interactions={"occurred_at": "{y}-{m}-{d}"}))
    found = validate(log, "interactions")
    assert found.good["occurred_at"].dt.strftime("%F").to_list() == ["2026-01-09"]
    assert found.rejected["reason"].to_list() == ["occurred_at: empty"]
    assert "not used" not in log.notice
