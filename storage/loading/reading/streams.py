"""A file, compressed or not, in any encoding -> blocks of whole lines in UTF-8."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from storage.loading.log import Damaged, LoadError

BLOCK = 32 << 20  # bytes of text that are taken apart at once
PIECE = 1 << 16  # bytes that are decompressed at once
HEAD = 1 << 20  # bytes that tell the form of a file
ARROW = (b"ARROW1", b"\xff\xff\xff\xff")  # first bytes of a file, and of a stream

_COMPRESSED = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
}
"""The first bytes."""
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, pa.ArrowException, OSError)
"""What the streams raise where they cannot go on."""


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """The decompressed bytes; their first bytes say what compresses them.

    Raises:
        LoadError: the file cannot be read.
        Damaged: it is cut short, or its compressed bytes are not as they were written.
    """
    try:
        with file.open("rb") as start:
            magic = start.read(16)
        with _decompressed(file, magic) as stream:
            yield stream
    except _BROKEN as error:
        if isinstance(error, OSError) and error.strerror:
            raise LoadError(f"{file} cannot be read: {error.strerror}.") from error
        message = str(error).strip().partition("\n")[0][:200].rstrip(".")
        spoilt = not (isinstance(error, EOFError) or message.startswith("Truncated"))
        what = f"damaged ({message})" if spoilt else "cut short"
        raise Damaged(f"{file} is {what}.", spoilt=spoilt) from error


def compression(start: bytes) -> str | None:
    """What bytes that begin so are compressed with: gzip, bzip2, xz or zstd."""
    return next((kind for kind, mark in _COMPRESSED.items() if mark.match(start)), None)


def _decompressed(file: Path, magic: bytes) -> IO[bytes]:
    match compression(magic):
        case "gzip":
            return cast(IO[bytes], gzip.open(file))
        case "bzip2":
            return bz2.open(file)
        case "xz":
            return lzma.open(file)
        case "zstd":
            return cast(IO[bytes], pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"))
        case _:
            return file.open("rb")


def head(file: Path, size: int = HEAD) -> bytes:
    """The first bytes, decompressed; fewer where the file ends, or is damaged, before."""
    with opened(file) as stream:
        data, damage = filled(stream, size)
        if damage is not None and not data:
            raise damage
        return data


def filled(stream: IO[bytes], size: int) -> tuple[bytes, Exception | None]:
    """``size`` bytes, fewer at the end alone; and what kept it from reading on."""
    # little at a time: what a call has read is lost with the damage
    read = getattr(stream, "read1", stream.read)
    parts, missing = [], size
    try:
        while missing and (part := read(min(missing, PIECE))):
            parts.append(part)
            missing -= len(part)
    except _BROKEN as error:
        return b"".join(parts), error
    return b"".join(parts), None


def lines_of(
    file: Path, encoding: str, line_end: str = "\n", size: int = BLOCK
) -> Iterator[tuple[int, bytes, bool]]:
    """Blocks of whole lines, as UTF-8 with LF at their ends: first line's number, bytes, last?

    Characters that the encoding does not know become U+FFFD; UTF-8 is left as it is.

    Raises:
        Damaged: after the last whole line before the damage, which it reports last.
    """
    first, rest = 1, b""
    with opened(file) as stream:
        for data, at_end, damage in _texts(stream, encoding, line_end, size):
            data = rest + data
            is_whole = at_end and damage is None
            cut = len(data) if is_whole else data.rfind(b"\n") + 1
            block, rest = data[:cut], data[cut:]
            yield first, block, at_end
            first += block.count(b"\n")
            if damage is not None:
                raise damage


def first_text(file: Path, encoding: str, line_end: str = "\n") -> tuple[str, bool]:
    """The first characters, with LF at the ends of lines, and whether these are all."""
    with opened(file) as stream:
        data, at_end, _ = next(_texts(stream, encoding, line_end, HEAD))
        return data.decode("utf-8", "replace"), at_end


def _texts(
    stream: IO[bytes], encoding: str, line_end: str, size: int
) -> Iterator[tuple[bytes, bool, Exception | None]]:
    """Blocks as UTF-8 with LF at the ends of lines: bytes, the last?, what keeps from going on."""
    decoder = None
    if encoding != "utf-8":
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    is_first, at_end = True, False
    while not at_end:
        data, damage = filled(stream, size)
        at_end = len(data) < size
        if decoder is not None:
            data = decoder.decode(data, final=at_end).encode()
        if is_first:
            data, is_first = data.removeprefix(codecs.BOM_UTF8), False
        if line_end == "\r":
            data = data.replace(b"\r", b"\n")
        yield data, at_end, damage
