"""Files and mappings -> frames: what is read, what is not used, and what to say of mistakes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from storage.loading.log import LoadError
from storage.loading.mapping import SHIPPED, Mapping, load_mapping, read_mapping
from storage.loading.readers import read_log
from storage.loading.reading import streams
from storage.loading.values.columns import COLUMNS
from storage.loading.values.times import to_times
from storage.loading.values.validation import validate
from tests.storage.test_loading import csv

WRITERS = {"csv": "write_csv", "jsonl": "write_ndjson", "parquet": "write_parquet"}


def test_a_missing_column_is_named_with_the_line_that_mends_it(tmp_path: Path) -> None:
    file = csv(tmp_path, "u1,m1,2026-01-01,click", header="user_id,itemId,occurred_at,type")
    with pytest.raises(LoadError) as caught:
        read_log(file, "csv")
    for part in (
        str(file),
        "'item_id'",
        "user_id, itemId, occurred_at",
        "interactions: {item_id: itemId}",
    ):
        assert part in str(caught.value)
    log = read_log(file, "csv", Mapping(interactions={"item_id": "itemId"}))
    assert log.interactions["item_id"].to_list() == ["m1"]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("user_id,product,type,occurred_at", "interactions: {item_id: YOUR COLUMN}"),
        ("user_id,Item ID,type,occurred_at", "interactions: {item_id: Item ID}"),
        ("owner_id,item_id,type,occurred_at", "interactions: {user_id: YOUR COLUMN}"),
        ("item_id,type,occurred_at", "interactions: {user_id: YOUR COLUMN}"),
    ],
)
def test_a_hint_names_a_free_column_that_is_much_alike_or_none(
    tmp_path: Path, header: str, said: str
) -> None:
    with pytest.raises(LoadError) as caught:
        read_log(csv(tmp_path, header=header), "csv")
    assert said in str(caught.value)


def test_a_column_that_is_mapped_already_is_no_hint(tmp_path: Path) -> None:
    file = csv(tmp_path, header="itemid,type,occurred_at")
    with pytest.raises(LoadError, match="item_id: YOUR COLUMN"):
        read_log(file, "csv", Mapping(interactions={"user_id": "itemid"}))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_columns_that_are_not_used_are_named(tmp_path: Path, form: Any) -> None:
    event = {"user": "u", "item_id": "i", "type": "view", "occurred_at": "2026-01-01", "mood": "x"}
    for name, rows in (
        ("interactions", pl.DataFrame([event])),
        ("items", pl.DataFrame([{"id": "i", "lat": None, "lng": "2", "town": "Bonn"}])),
        ("users", pl.DataFrame([{"id": "u", "city": "Bonn"}])),
    ):
        getattr(rows, WRITERS[form])(tmp_path / f"{name}.{form}")
    notice = read_log(tmp_path, form, Mapping(interactions={"user_id": "user"})).notice
    assert notice.splitlines() == [
        f"items.{form}: not used: lng, town",
        f"interactions.{form}: not used: mood",
    ]


def test_the_default_mapping_tells_of_every_column() -> None:
    mapping = load_mapping("default")
    sections = (SHIPPED / "default.yaml").read_text(encoding="utf-8").split("\n\n")
    for entity, columns in COLUMNS.items():
        (lines,) = [part.splitlines() for part in sections if part.startswith(f"{entity}:")]
        told = [line.removeprefix("  # ").strip() for line in lines]
        for column in columns:
            assert any(line.startswith(f"{column.name}: {column.name} ") for line in told), column
            assert (column.name in mapping.columns(entity)) == column.required


@pytest.mark.parametrize(
    ("name", "content", "form", "said"),
    [
        ("interactions.csv", b"", "csv", "empty"),
        ("interactions.parquet", b"PAR1 cut short", "parquet", "not readable as parquet"),
        ("interactions.jsonl", b'{"user_id": }\n', "jsonl", "no line is a JSON object"),
        ("interactions.csv", b"PK\x03\x04zip", "csv", "unpack it"),
        ("interactions.txt", b"%%MatrixMarket matrix\n5 5 9\n", "csv", "scipy.io.mmread"),
        ("interactions.csv", b"<!DOCTYPE html>\n<p>Log in\n", "csv", "a web page"),
        ("events.csv", b"user_id\n", "csv-folder", "no interactions.csv"),
        ("", b"", "csv", "no such file"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes, form: Any, said: str
) -> None:
    path = tmp_path / (name or "missing.csv")
    if name:
        path.write_bytes(content)
    with pytest.raises(LoadError, match=said):
        read_log(tmp_path if form == "csv-folder" else path, form.partition("-")[0])


@pytest.mark.parametrize("codec", ["gzip", "zstd", "bz2"])
def test_what_compresses_a_file_is_told_by_its_content(tmp_path: Path, codec: str) -> None:
    rows = b"user_id,item_id,type,occurred_at\nu1,i1,click,2026-01-01\n"
    file = tmp_path / "interactions.csv"
    with pa.CompressedOutputStream(pa.OSFile(str(file), "wb"), codec) as out:
        out.write(rows)
    assert read_log(tmp_path).interactions["user_id"].to_list() == ["u1"]


def test_a_wrong_mapping_names_the_field(tmp_path: Path) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text("types: {buy: purchase}\nitems: {colour: color}\n")
    with pytest.raises(LoadError, match=r"line 1: types\.buy: purchase is not one of impression"):
        load_mapping(file)
    file.write_text("items: {colour: color}\n")
    with pytest.raises(LoadError, match=r"items\.colour: no such column"):
        load_mapping(file)
    file.write_text("files: {interactions: {encoding: rot13}}\n")
    with pytest.raises(LoadError, match=r"encoding: 'rot13' is no encoding of text"):
        load_mapping(file)
    with pytest.raises(LoadError, match="cannot be read"):
        load_mapping(tmp_path / "none.yaml")
    assert load_mapping("default").tag_separator == "|"


def test_times_in_many_ways() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ways = [
        "2026-01-02T03:04:05Z",
        "2026-01-02T04:04:05.000+01:00",
        "2026-01-02 03:04:05",
        "2026-01-02 03:04:05+00",
        "1767323045",
        "1767323045000",
        "1767323045000000",
        "1767323045.0",
    ]
    assert to_times(pl.Series(ways)).to_list() == [moment] * len(ways)
    assert to_times(pl.Series(["", "x", "2026-13-01", "1e400", "0", "977"])).null_count() == 6
    assert to_times(pl.Series([1767323045]), "epoch_s").to_list() == [moment]


@pytest.mark.parametrize("cover", ["{}", '{{"total": 9, "items": {}}}'])
def test_a_large_document_in_one_line(tmp_path: Path, cover: str) -> None:
    rows = pl.DataFrame({"user_id": [f"u{n}" for n in range(20_000)], "item_id": "i"})
    rows = rows.with_columns(type=pl.lit("click"), occurred_at=pl.lit("2026-01-01T00:00:00Z"))
    file = tmp_path / "interactions.json"
    file.write_text(cover.format(rows.write_json()))
    assert file.stat().st_size > streams.HEAD
    found = read_log(tmp_path).interactions
    assert found.select(rows.columns).equals(rows)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tag_separator: ''", "tag_separator: a sign is wanted"),
        ("files: {interactions: {rows: orders}}", "no column or key 'orders'.*There are user_id"),
        ("- user_id", "line 1: it: lines of `name: value` are wanted"),
        ("types:\n  buy: like\n  buy: apply", "'buy' stands there twice.*line 3"),
        ("interactions: {occurred_at: user_id}", "'user_id' is given to occurred_at"),
    ],
)
def test_a_wrong_mapping_is_told_in_its_own_words(tmp_path: Path, text: str, said: str) -> None:
    header = "user_id,item_id,type,occurred_at"
    (tmp_path / "interactions.csv").write_text(f"{header}\nu1,i1,like,2026-01-01\n")
    with pytest.raises(LoadError, match=said):
        read_log(tmp_path, mapping=read_mapping(text, "it"))


def test_rows_without_a_user_are_told(tmp_path: Path) -> None:
    header = "user_id,item_id,type,occurred_at"
    (tmp_path / "interactions.csv").write_text(f"{header}\n,i1,like,2026-01-01\n")
    log = read_log(tmp_path)
    assert len(validate(log, "interactions").good) == 1
    assert "rows without a user: 1, the first in line 2" in log.summary.warnings("interactions")[0]


def test_half_a_character_costs_its_field_alone(tmp_path: Path) -> None:
    row = '{{"user_id": "{}", "item_id": "i", "type": "like", "occurred_at": "2026-01-01"{}}}\n'
    (tmp_path / "interactions.jsonl").write_text(
        row.format("u\\ud800", "")
        + row.format("u1", ', "metadata": {"a": "\\udc00"}')
        + row.format("\\ud83d\\ude00\\\\ud800", "")
    )
    log = read_log(tmp_path)
    found = validate(log, "interactions")
    assert found.good["user_id"].to_list() == ["u1", "\U0001f600\\ud800"]
    assert "user_id: 'u\\ud800' has half of a character" in found.rejected["reason"][0]
    assert "metadata.a" in log.summary.warnings("interactions")[0]


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp1251", "Анна Каренина,Борис Годунов,Война и мир,Евгений Онегин,Ревизор,Чайка"),
        ("koi8_r", "Анна Каренина,Борис Годунов,Война и мир,Евгений Онегин,Ревизор,Чайка"),
        ("shift_jis", "東京物語,千と千尋の神隠し,となりのトトロ,もののけ姫,ハウルの動く城"),
        ("euc_jp", "東京物語,千と千尋の神隠し,となりのトトロ,もののけ姫,ハウルの動く城"),
        ("gb18030", "活着,三体,围城,红楼梦,西游记,水浒传,三国演义,骆驼祥子"),
        ("big5", "紅樓夢,西遊記,水滸傳,三國演義,駱駝祥子,圍城,活著"),
        ("euc_kr", "기생충,올드보이,살인의 추억,괴물,마더,설국열차,옥자"),
        ("cp1253", "Ζορμπάς,Οδύσσεια,Ιλιάδα,Αντιγόνη,Μήδεια"),
        ("cp1252", "Été à Brest,Noël,Où,Château,Größe,Übermut,Señor,Ångström"),
    ],
)
def test_names_of_other_alphabets_below_a_header_in_ascii(
    tmp_path: Path, encoding: str, names: str
) -> None:
    rows = "".join(
        f"u1,{name},like,2026-01-0{n % 9 + 1}\n" for n, name in enumerate(names.split(","))
    )
    text = "user_id,item_id,type,occurred_at\n" + rows
    (tmp_path / "interactions.csv").write_bytes(text.encode(encoding))
    assert read_log(tmp_path).interactions["item_id"].to_list() == names.split(",")


@pytest.mark.parametrize(("id", "is_told"), [("u1\u200b", True), (" u1", True), ("u 1", False)])
def test_ids_with_blanks_around_them_are_told(tmp_path: Path, id: str, is_told: bool) -> None:
    rows = f"u1,i1,like,2026-01-01\n{id},i1,like,2026-01-02\n"
    (tmp_path / "interactions.csv").write_text("user_id,item_id,type,occurred_at\n" + rows)
    log = read_log(tmp_path)
    assert validate(log, "interactions").good["user_id"].to_list() == ["u1", id]
    told = [one for one in log.summary.warnings("interactions") if "blanks around" in one]
    assert bool(told) is is_told
    assert not told or "in line 3" in told[0]


def test_other_files_of_the_same_name_are_told(tmp_path: Path) -> None:
    text = "user_id,item_id,type,occurred_at\nu1,i1,click,2026-01-01\n"
    (tmp_path / "interactions").mkdir()
    (tmp_path / "interactions" / "p.csv").write_text(text)
    (tmp_path / "interactions.csv").write_text(text)
    (tmp_path / "interactions.jsonl").write_text("{}")
    assert "too: interactions.csv, interactions.jsonl. Put" in read_log(tmp_path).notice
    said = read_mapping("files: {interactions: interactions.csv}", "it")
    assert read_log(tmp_path, mapping=said).notice == ""


def test_a_file_without_rows_has_a_reason_and_long_names_fit_a_message(tmp_path: Path) -> None:
    names = [f"{n}{'x' * 90}" for n in range(300)]
    header = ",".join(["user_id,item_id,type,occurred_at", *names])
    (tmp_path / "interactions.csv").write_text(f"{header}\n")
    log = read_log(tmp_path)
    assert not len(validate(log, "interactions").good)
    (reason,) = log.summary.reasons("interactions")
    assert reason["reason"] == "the file has no row"
    assert "and 280 more" in log.notice
    assert max(map(len, log.notice.splitlines())) < 1_000


def test_objects_without_line_ends_between_them(tmp_path: Path) -> None:
    row = '{"user_id": "u%d", "item_id": "i1", "type": "click", "occurred_at": "2026-01-01"}'
    (tmp_path / "interactions.json").write_text("".join(row % n for n in range(3)))
    assert validate(read_log(tmp_path), "interactions").good["user_id"].to_list() == [
        "u0", "u1", "u2",
    ]  # fmt: skip
