"""Cells of Parquet as text: what differs there differs here."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import polars as pl
import pytest

from storage.loading.values.cells import to_ids, to_text

ONE, OTHER = UUID(int=1 << 96 | 0xBE), UUID(int=0xFF)


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ([b"i1", None, "ä\n".encode()], ["i1", None, "ä\n"]),
        ([ONE.bytes, None, OTHER.bytes], [str(ONE), None, str(OTHER)]),
        ([b"\xbe" * 4, b"\xbf" * 4, b"i1"], ["bebebebe", "bfbfbfbf", "6931"]),
        ([b"\x01" * 16], [str(UUID(bytes=b"\x01" * 16))]),
        ([None], [None]),
    ],
)
def test_bytes_that_differ_stay_apart(cells: list[bytes | None], text: list[str | None]) -> None:
    assert to_text(pl.Series(cells, dtype=pl.Binary)).to_list() == text


def test_durations_are_text() -> None:
    assert to_text(pl.Series([timedelta(seconds=5), None])).to_list() == ["PT5S", None]


def test_whole_decimals_are_whole_numbers() -> None:
    cells = pl.Series([Decimal("10.00"), Decimal("12345678901234567890.00"), Decimal("1.50"), None])
    assert to_ids(cells).to_list() == ["10", "12345678901234567890", "1.50", None]
