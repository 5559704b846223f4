"""Files that hold no rows which are read here: what they are, and how to turn each into one."""

from __future__ import annotations

import codecs
import re
import tarfile
import zlib
from pathlib import Path

from storage.loading.reading.streams import ARROW, compression, head

_AS_CSV = "export it as CSV or Parquet"
_BY_FIRST_BYTES: dict[bytes, str] = {
    b"PK\x03\x04": "a ZIP archive or an Excel file: unpack it, or export it as CSV",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!\x1a": "a RAR archive: unpack it first",
    b"\x1f\x9d": "compressed by compress: unpack it first, with uncompress",
    b"\x04\x22\x4d\x18": "compressed with LZ4: unpack it first, with unlz4",
    b"\xff\x06\x00\x00sNaPpY": "compressed with Snappy: unpack it first",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel file of before 2007: save it as CSV",
    b"SQLite format 3": "an SQLite database: export its tables as CSV, with sqlite3 -csv -header",
    b"PGDMP\x01": "a dump of pg_dump: restore it, and export the tables with \\copy … CSV HEADER",
    b"Obj\x01": "an Avro file: write it as Parquet, with polars.read_avro(…).write_parquet(…)",
    b"ORC\n": "an ORC file: write it as Parquet, with pyarrow.orc.read_table and "
    "pyarrow.parquet.write_table",
    b"FEA1\x00": "a Feather file of version 1: write it as Parquet, with pandas.read_feather(…)"
    ".to_parquet(…)",
    b"\x89HDF": f"an HDF5 file: {_AS_CSV}, with pandas.read_hdf(…).to_parquet(…)",
    b"MATLAB 5.0": "a MATLAB file: write its matrices as CSV, for example with scipy.io.loadmat",
    b"\x93NUMPY": f"a NumPy file: {_AS_CSV}",
    b"RDX3\n": "a file of R: write its tables with write.csv",
    b"X\n\x00\x00": "a file of R: write its table with write.csv",
    b"<stata_dta>": f"a Stata file: {_AS_CSV}, with pandas.read_stata(…).to_parquet(…)",
    b"$FL2": f"an SPSS file: {_AS_CSV}, with pandas.read_spss(…).to_parquet(…)",
    b"%PDF-": "a PDF: look for the data itself",
    b"\x89PNG": "a picture: look for the data itself",
    b"\xff\xd8\xff": "a picture: look for the data itself",
    b"GIF89a": "a picture: look for the data itself",
}
_PICKLE = re.compile(rb"\x80[\x02-\x05][\x00-\xff]")
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_SQL = re.compile(
    r"(?i)(--.*\b(dump|sql)\b|/\*!\d|(create|drop|alter) (table|database|schema|type)\b"
    r"|insert (ignore )?into\b|pragma foreign_keys|begin transaction;"
    r"|set (names|statement_timeout)\b"
    r"|copy \S+ \(.+\) from stdin)"
)
_BY_FIRST_LINE = {
    r"%%matrixmarket": "a matrix of MatrixMarket: write a row for each of its values, for example "
    "with scipy.io.mmread",
    r"@relation": "an ARFF file: export it as CSV, for example with scipy.io.arff",
    r"<\?xml": "XML: write a row for each interaction, as CSV or JSON",
    r"<!doctype|<html": "a web page: look for the data itself",
    r"version https://git-lfs": "but a pointer of Git LFS, not the data: get it with git lfs pull",
    r"(\.\./)*\.?/?(git/)?annex/objects/": "but a pointer of git-annex, not the data: get it with "
    "git annex get",
    r"\{\\rtf": "a text document: export the data itself, as CSV",
}
_HEADED = 4_096  # bytes that tell whether there are signs of no text
_NO_SIGN = r"[\x00\x03-\x08\x0e-\x1a\x1c\x1d\ufffd]"  # \x01, \x02, \x1e and \x1f part cells
_MANY = 0.05  # share of such signs from which it is no text
BINARY = f"no text, and of no kind that is known here: {_AS_CSV}"


def what_else(file: Path) -> str | None:
    """What ``file`` is, by its beginning; None: it may hold rows.

    Raises:
        LoadError: it cannot be read.
    """
    start = head(file, _HEADED)
    if start.startswith((b"PAR1", *ARROW)):
        return None
    encoding = "utf-8"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(start)  # a sign may be cut
    except UnicodeDecodeError:
        encoding = "windows-1252"
        text = start.decode(encoding, "replace")
    return of_bytes(start) or of_text([line for line in text.split("\n") if line.strip()], encoding)


def of_bytes(start: bytes) -> str | None:
    """What the first bytes of a file tell, once it is decompressed; None: it may be text."""
    for mark, what in _BY_FIRST_BYTES.items():
        if start.startswith(mark):
            return what
    if kind := compression(start):
        return f"compressed twice: unpack it once, with {kind} -d"
    if _PICKLE.match(start):
        return f"a pickle of Python: if you trust it, {_AS_CSV}, with pandas.read_pickle(…)"
    if _is_tar(start):
        return "a tar archive: unpack it (tar -xf FILE -C FOLDER), and load the folder"
    if start.startswith(_ZLIB) and _is_zlib(start):
        return "compressed with zlib: unpack it first, with zlib-flate -uncompress"
    return BINARY if _has_nuls_anywhere(start[:_HEADED]) else None


def of_text(lines: list[str], encoding: str) -> str | None:
    """What the first lines tell, which are not blank."""
    for pattern, what in _BY_FIRST_LINE.items():
        if lines and re.match(pattern, lines[0].strip(), re.IGNORECASE):
            return what
    if any(_SQL.match(line.strip()) for line in lines[:5]):
        return (
            "a dump of a database: load it into one, and export the tables as CSV (\\copy … CSV "
            "HEADER in psql, SELECT … INTO OUTFILE in MySQL)"
        )
    text = "\n".join(lines)[:_HEADED]
    is_text = encoding == "utf-8" or len(re.findall(_NO_SIGN, text)) <= _MANY * len(text)
    return None if is_text else BINARY


def _is_tar(start: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(start[:512], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _is_zlib(start: bytes) -> bool:
    try:
        return bool(zlib.decompressobj().decompress(start[:_HEADED]))
    except zlib.error:
        return False


def _has_nuls_anywhere(start: bytes) -> bool:
    """UTF-16 has NULs too, but at every other place alone."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        return False
    return all(half.count(0) > _MANY * len(half) for half in (start[::2], start[1::2]))
