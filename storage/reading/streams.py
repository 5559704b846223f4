"""A file, compressed or not, in any encoding -> blocks of whole lines in UTF-8."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from storage.log import LoadError

BLOCK = 32 << 20  # bytes of text that are taken apart at once
HEAD = 1 << 20  # bytes that tell the form of a file

_GZIP, _ZSTD, _BZIP2, _XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00"
_OTHERS = {
    b"PK\x03\x04": "a ZIP archive or an Excel file: unpack it, or export it as CSV",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"SQLite format 3": "an SQLite database: export its tables as CSV",
    b"\x89HDF": "an HDF5 file: export its tables as CSV or Parquet",
    b"\x93NUMPY": "a NumPy file: export it as CSV or Parquet",
    b"%PDF": "a PDF: look for the data itself",
}


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """The decompressed bytes; what compresses them is told by their first bytes.

    Raises:
        LoadError: the file cannot be read, is cut short, or is an archive.
    """
    try:
        with file.open("rb") as start:
            magic = start.read(16)
        for mark, what in _OTHERS.items():
            if magic.startswith(mark):
                raise LoadError(f"{file} is {what}.")
        with _decompressed(file, magic) as stream:
            yield stream
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, pa.ArrowException) as error:
        raise LoadError(f"{file} is cut short or damaged ({error}). Get it again.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise LoadError(f"{file} cannot be read: {reason}.") from error


def _decompressed(file: Path, magic: bytes) -> IO[bytes]:
    if magic.startswith(_GZIP):
        return cast(IO[bytes], gzip.open(file))
    if magic.startswith(_BZIP2):
        return bz2.open(file)
    if magic.startswith(_XZ):
        return lzma.open(file)
    if magic.startswith(_ZSTD):
        return cast(IO[bytes], pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"))
    return file.open("rb")


def head(file: Path, size: int = HEAD) -> bytes:
    """The first bytes, decompressed."""
    with opened(file) as stream:
        return _filled(stream, size)


def _filled(stream: IO[bytes], size: int) -> bytes:
    """``size`` bytes, fewer at the end alone: some streams give what they have."""
    parts, missing = [], size
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def lines_of(
    file: Path, encoding: str, line_end: str = "\n", size: int = BLOCK
) -> Iterator[tuple[int, bytes, bool]]:
    """Blocks of whole lines, as UTF-8 with LF at their ends: first line's number, bytes, last?

    Characters that the encoding does not know become U+FFFD; UTF-8 is left as it is.
    """
    decoder = None
    if encoding != "utf-8":
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    first, rest = 1, b""
    with opened(file) as stream:
        at_end = False
        while not at_end:
            data = _filled(stream, size)
            at_end = len(data) < size
            if decoder is not None:
                data = decoder.decode(data, final=at_end).encode()
            if first == 1 and not rest:
                data = data.removeprefix(codecs.BOM_UTF8)
            if line_end == "\r":
                data = data.replace(b"\r", b"\n")
            data = rest + data
            cut = len(data) if at_end else data.rfind(b"\n") + 1
            block, rest = data[:cut], data[cut:]
            yield first, block, at_end
            first += block.count(b"\n")
