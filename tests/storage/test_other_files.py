"""Files that hold no rows which are read: `load` and `map` say what each is, and what to do."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zlib
from pathlib import Path

import polars as pl
import pytest

from storage.loading.log import LoadError
from storage.loading.proposal.proposal import propose
from storage.loading.proposal.written import written
from storage.loading.readers import read_log

ROWS = b"user_id,item_id,type,occurred_at\n" + b"".join(
    b"u%d,i%d,like,2026-01-01\n" % (n % 3, n % 5) for n in range(30)
)


def tar(mode: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        one = tarfile.TarInfo("set/ratings.csv")
        one.size = len(ROWS)
        archive.addfile(one, io.BytesIO(ROWS))
    return out.getvalue()


OTHERS = {
    "data.tar": (tar("w"), "a tar archive: unpack it"),
    "data.tar.gz": (tar("w:gz"), "a tar archive: unpack it"),
    "data.tgz": (tar("w:gz"), "a tar archive: unpack it"),
    "a.csv.gz": (gzip.compress(gzip.compress(ROWS)), "compressed twice"),
    "a.zz": (zlib.compress(ROWS), "compressed with zlib"),
    "a.zip": (b"PK\x03\x04" + bytes(30), "a ZIP archive"),
    "a.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "save it as CSV"),
    "a.pkl": (pickle.dumps({"user_id": [1]}), "pandas.read_pickle"),
    "a.avro": (b"Obj\x01\x04\x14avro.codec\x08null", "polars.read_avro"),
    "a.csv": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "git lfs pull",
    ),
    "a.sql": (
        b"-- MySQL dump 10.13\n\nCREATE TABLE `x` (`id` int);\nINSERT INTO `x` VALUES (1,2);\n",
        "a dump of a database",
    ),
    "dump.txt": (b"INSERT INTO ratings VALUES ('u1','i1',5);\n" * 9, "a dump of a database"),
    "a.xml": (b"<?xml version='1.0'?>\n<rows/>\n", "XML: write a row"),
    "a.bin": (bytes(range(256)) * 9, "no text, and of no kind"),
    "b.bin": (b"\x07\0\0\0\x01\0\0\0" * 99, "no text, and of no kind"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_file_of_another_kind_is(tmp_path: Path, name: str) -> None:
    content, said = OTHERS[name]
    (tmp_path / name).write_bytes(content)
    for read in (read_log, propose):
        with pytest.raises(LoadError) as caught:
            read(tmp_path)
        assert said in str(caught.value)
        assert name in str(caught.value)
    with pytest.raises(LoadError, match=said.partition(":")[0]):
        read_log(tmp_path / name)


@pytest.mark.parametrize("first", ["PK", "ORCID", "PARENT", "RDX", "BZh", "x^2", "GIF"])
def test_names_like_the_first_bytes_of_others_are_names(tmp_path: Path, first: str) -> None:
    text = ROWS.replace(b"\n", b",7\n").replace(b"7\n", first.encode() + b"\n", 1)
    rows = [",".join(line.split(",")[::-1]) for line in text.decode().splitlines()]
    (tmp_path / "interactions.csv").write_text("\n".join(rows) + "\n")
    assert len(read_log(tmp_path).interactions) == 30


def test_files_that_are_read_are_called_no_others(tmp_path: Path) -> None:
    pl.read_csv(ROWS).write_parquet(tmp_path / "events.parquet")
    (tmp_path / "events.csv").write_bytes(ROWS)
    with pytest.raises(LoadError, match=r"\(there: events\.csv, events\.parquet\)\. Name the file"):
        read_log(tmp_path)


def test_files_that_are_passed_over_are_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Read me\n")
    with pytest.raises(LoadError, match=r"Passed over by their names: README\.md"):
        propose(tmp_path)
    (tmp_path / "events.log").write_bytes(ROWS)
    mapping = written(propose(tmp_path))
    assert "interactions: events.log" in mapping
    assert "# passed over by their names: README.md" in mapping
