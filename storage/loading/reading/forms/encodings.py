"""How the bytes of a text file are to be read as characters."""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from pathlib import Path

from charset_normalizer import from_bytes

from storage.loading.log import Damaged
from storage.loading.names import role_of
from storage.loading.reading.streams import head, lines_of

NAMES = {"utf-8-sig": "utf-8", "utf8": "utf-8", "latin-1": "windows-1252", "latin1": "windows-1252",
         "iso-8859-1": "windows-1252", "cp1252": "windows-1252"}  # fmt: skip
ENOUGH = 1_000  # lines that are no UTF-8, after which nothing new is learnt
OTHER_ALPHABETS = ["cp1251", "shift_jis", "gb18030", "big5", "euc_kr", "euc_jp", "koi8_r", "cp1253"]
FOREIGN = 0.6  # share of the bytes beyond ASCII that stand in threes: in Western words few do

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_UTF32 = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}


def encoding_of(file: Path) -> str:
    """``utf-8``, ``utf-16``, ``windows-1252`` or another name that Python's codecs know.

    The whole file is looked at, since a name with an accent may stand anywhere. A file of
    which some lines are UTF-8 beyond ASCII is UTF-8 with bad lines; one of which none is, is
    Windows-1252, of which Latin-1 is a part, unless its words are clearly of another alphabet.
    """
    start = head(file, 4_096)
    for mark, name in (_UTF32 | _UTF16).items():
        if start.startswith(mark):
            return name
    if start.count(b"\0") > len(start) // 4:
        return "utf-16-le" if start[1:2] == b"\0" else "utf-16-be"
    good, bad = False, list[bytes]()
    with suppress(Damaged):  # reported when its rows are read
        for _, block, _ in lines_of(file, "utf-8"):
            if block.isascii():
                continue
            if is_utf8(block):
                good = True
            else:
                lines = [line for line in block.split(b"\n") if not line.isascii()]
                wrong = [line for line in lines if not is_utf8(line)]
                good = good or len(wrong) < len(lines)
                bad += wrong
            if len(bad) > ENOUGH:
                break
    return "utf-8" if good or not bad else _older(b"\n".join(bad[:ENOUGH]))


def _older(text: bytes) -> str:
    header = text.partition(b"\n")[0]
    for name in ("windows-1252", *OTHER_ALPHABETS):
        cells = re.split(r"[,;|\t]", header.decode(name, "replace"))
        if sum(role_of(cell) is not None for cell in cells) > 1:
            return name
    found = dict.fromkeys(re.split(rb"[,;\t\n]", text))
    words = b" ".join(cell for cell in found if not cell.isascii())
    in_threes = sum(map(len, re.findall(rb"[\x80-\xff]{3,}", words)))
    if in_threes < FOREIGN * len(re.findall(rb"[\x80-\xff]", words)):
        return "windows-1252"
    guess = from_bytes(words, cp_isolation=OTHER_ALPHABETS).best()
    return guess.encoding if guess else "windows-1252"


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
