"""Times and numbers that a single cell leaves open are read as their whole column is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from storage.loading.log import LoadError, Log, shift_to
from storage.loading.mapping import read_mapping
from storage.loading.proposal.proposal import propose
from storage.loading.proposal.written import written
from storage.loading.readers import read_log
from storage.loading.reading.chunk import Chunk, of_frame
from storage.loading.values import times
from storage.loading.values.numbers import to_numbers
from storage.loading.values.times import to_times
from storage.loading.values.validation import Checked, validate

AFTERNOON = (
    "9/30/2026, 2:13:20 PM",
    "9/30/2026, 2:13:20\u202fPM",
    "30.9.2026, 14:13:20",
    "30-SEP-26 02.13.20.000000 PM",
    "30SEP2026:14:13:20",
    "September 30th, 2026, 2:13:20 PM",
)
AFTERNOON_IN_BERLIN = (
    "2026-09-30T14:13:20+02",
    "2026-09-30 14:13:20 CEST",
    "2026-09-30 14:13:20 +0200 CEST",
    "2026-09-30T14:13:20+02:00[Europe/Berlin]",
    "Wed Sep 30 14:13:20 CEST 2026",
    "Wed Sep 30 2026 14:13:20 GMT+0200 (Central European Summer Time)",
    "[30/Sep/2026:14:13:20 +0200]",
    "30.09.2026 14:13:20+02:00",
)
DAY = ("30-SEP-26", "Sept. 30, 2026", "30. September 2026", "2026年9月30日", "2026-W40-3")

HEADER = "user_id,item_id,type,occurred_at\n"


@dataclass(frozen=True)
class InParts:
    """Rows as a file of several blocks hands them on."""

    parts: list[pl.DataFrame]
    damage = ""

    def chunks(self) -> Iterator[Chunk]:
        yield from map(of_frame, self.parts)

    def document(self) -> dict[str, str | bool | None]:
        return {"encoding": None, "delimiter": None, "header": None}


def log_of(*parts: list[str]) -> Log:
    """A log whose times stand in several blocks."""
    return Log(InParts([
        pl.DataFrame({"occurred_at": times}).with_columns(
            user_id=pl.lit("u1"), item_id=pl.lit("i1"), type=pl.lit("like"))
        for times in parts
    ]))  # fmt: skip


def loaded(folder: Path, text: str, name: str = "interactions.csv") -> Checked:
    (folder / name).write_text(text)
    return validate(read_log(folder), "interactions")


def days(checked: Checked) -> list[str]:
    return [moment.strftime("%d.%m.") for moment in checked.good["occurred_at"]]


def test_one_wrong_date_turns_no_other(tmp_path: Path) -> None:
    rows = [f"u1,i{n},like,{1 + n % 28}/2/2026 10:00\n" for n in range(300)]
    found = loaded(tmp_path, HEADER + "u2,i1,like,1/13/2026 10:00\n" + "".join(rows))
    assert days(found)[:28] == [f"{day:02}.02." for day in range(1, 29)]
    assert len(found.good) == 300
    assert "with the day first" in found.rejected["reason"][0]


def test_the_order_of_day_and_month_is_told_by_later_blocks_too() -> None:
    open_ones = ["1/2/2026 0:00", "2/2/2026 0:00", "1/13/2026 0:00"]  # the last one is wrong
    log = log_of(open_ones, ["13/2/2026 0:00", "14/2/2026 0:00"])
    assert days(validate(log, "interactions")) == ["01.02.", "02.02.", "13.02.", "14.02."]
    now = datetime(2026, 11, 30, tzinfo=UTC)
    newest = datetime(2026, 2, 14, tzinfo=UTC)
    assert shift_to(log, now).clock_shift == now - newest


def test_map_reads_the_whole_column_for_the_order_of_day_and_month(tmp_path: Path) -> None:
    rows = (
        f"{n % 9},{n % 7},{day:02}/02/2026 10:00\n" for day in range(1, 15) for n in range(4_000)
    )
    (tmp_path / "log.csv").write_text("user,item,date\n" + "".join(rows))
    mapping = read_mapping(written(propose(tmp_path)), "the proposal")
    good = validate(read_log(tmp_path, mapping=mapping), "interactions").good
    assert good["occurred_at"].dt.month().unique().to_list() == [2]
    assert len(good) == 14 * 4_000


@pytest.mark.parametrize(
    ("cell", "right"),
    [
        ("2014-12-06 02", datetime(2014, 12, 6, 2)),
        ("2026-02-01 02:13:20 PM", datetime(2026, 2, 1, 14, 13, 20)),
        ("45930.5", datetime(2025, 9, 30, 12)),  # a spreadsheet's
        ("1.2.2026", datetime(2026, 2, 1)),
        ("13-02-26 10:15", datetime(2026, 2, 13, 10, 15)),
        ("2026-02-01T02:13:20 PM", datetime(2026, 2, 1, 14, 13, 20)),
        ("Sunday, February 1, 2026 2:13 PM", datetime(2026, 2, 1, 14, 13)),
        *((cell, datetime(2026, 9, 30, 14, 13, 20)) for cell in AFTERNOON),
        *((cell, datetime(2026, 9, 30, 12, 13, 20)) for cell in AFTERNOON_IN_BERLIN),
        *((cell, datetime(2026, 9, 30)) for cell in DAY),
        ("30.09.2026 14.13", datetime(2026, 9, 30, 14, 13)),
        ("30/09/2026 14h13", datetime(2026, 9, 30, 14, 13)),
        ("9/30/2026 2:13 p.m.", datetime(2026, 9, 30, 14, 13)),
        ("Sep 30, 2026 at 2:13 PM", datetime(2026, 9, 30, 14, 13)),
        ("2026-09-30 14:13:20 EST", datetime(2026, 9, 30, 19, 13, 20)),
        ("2026-09-30 14:13:20,512", datetime(2026, 9, 30, 14, 13, 20, 512_000)),
        ("/Date(1767323045000)/", datetime(2026, 1, 2, 3, 4, 5)),
        ("45930,5", datetime(2025, 9, 30, 12)),
        ("2024011510", datetime(2024, 1, 15, 10)),
        ("2026-W40", datetime(2026, 9, 28)),
        ("134036000000000000", datetime(2025, 9, 29, 6, 13, 20)),  # FILETIME
        ("13403600000000000", datetime(2025, 9, 29, 6, 13, 20)),  # Chrome's
        ("639000000000000000", datetime(2025, 11, 29, 8)),  # .NET's
        # nothing says what zone or language it is
        ("2026-09-30 14:13:20 CST", None),
        ("2026-09-30T14:13:20[Europe/Berlin]", None),
        ("30. marraskuuta 2026", None),
        # a last line that is cut, beside longer ones
        ("2026-01-1", None),
        ("2026-01", None),
        ("2026-01-10 1", None),
        ("2026-01-10 10:0", None),
    ],
)
def test_forms_of_times(cell: str, right: datetime | None) -> None:
    moment = right and right.replace(tzinfo=UTC)
    assert to_times(pl.Series([cell, "2026-01-10T10:00:00Z"]))[0] == moment


@pytest.mark.parametrize(
    ("cells", "is_doubtful"),
    [
        ([4_000, 9_000, 26_000], True),  # seconds since a start, or days of 1980 to 2041
        ([31_905_835 * 4, 1_200_000_000], True),
        ([5_000, *[1_767_323_045] * 5], True),  # one that is cut
        ([20_000, 20_300], False),
        ([1_767_323_045, 1_700_000_000], False),
        ([10_000 + 200 * n for n in range(30)], True),  # seconds of a session
        ([20_000 + n for n in range(30)], False),
    ],
)
def test_numbers_that_count_from_a_start_of_their_own_are_told(
    tmp_path: Path, cells: list[int], is_doubtful: bool
) -> None:
    rows = "".join(f"u1,i{n},like,{cell}\n" for n, cell in enumerate(cells))
    (tmp_path / "interactions.csv").write_text(HEADER + rows)
    log = read_log(tmp_path)
    validate(log, "interactions")
    told = [said for said in log.summary.warnings("interactions") if "start of their own" in said]
    assert bool(told) is is_doubtful
    mapping = written(propose(tmp_path))
    assert ("default_time: order" in mapping) is is_doubtful


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        (["1.234,50", "999,00", "2.500"], [1234.5, 999, 2500]),
        (["1,234.50", "1,234", "7"], [1234.5, 1234, 7]),
        (["2.000", "1.500"], [2, 1.5]),
        (["1,234", "5"], [None, 5]),  # no cell tells
        (["12.5", "12.25", "3,50"], [12.5, 12.25, None]),
        (["1'234.50", "1 000", "-2.5"], [1234.5, 1000, -2.5]),
        (["13/20", "true", "x"], [0.65, 1, None]),
    ],
)
def test_numbers_are_read_as_their_column_writes_them(
    cells: list[str], right: list[float | None]
) -> None:
    assert to_numbers(pl.Series(cells)).to_list() == right


def test_a_file_that_writes_a_comma_before_decimals_does_so_in_all_columns(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text(HEADER + "u1,i1,like,2026-01-01\n")
    (tmp_path / "items.csv").write_text(
        "id;price_min;price_max\ni1;1.234,50;2.000\ni2;999,00;1.500\ni3;2.500;3.250\n"
    )
    items = validate(read_log(tmp_path), "items").good
    assert items["price_min"].to_list() == [1234.5, 999, 2500]
    assert items["price_max"].to_list() == [2000, 1500, 3250]


@pytest.mark.parametrize(("by", "other"), [(";", "1.250"), (",", "980")])
@pytest.mark.parametrize(("decimal", "first"), [(None, None), (",", 2400), (".", 2.4)])
def test_numbers_that_nothing_tells_are_left_out_until_the_mapping_does(
    tmp_path: Path, decimal: str | None, first: float | None, by: str, other: str
) -> None:
    (tmp_path / "interactions.csv").write_text(HEADER + "u1,i1,like,2026-01-01\n")
    (tmp_path / "items.csv").write_text(
        "id;price_min;lat;lon\ni1;2.400;48.137;11.575\ni2;1.250;;\n"
    )
    mapping = read_mapping(f'decimal: "{decimal}"' if decimal else "", "it")
    log = read_log(tmp_path, mapping=mapping)
    items = validate(log, "items").good
    assert items["price_min"][0] == first
    if decimal != ",":
        assert items["lat"].to_list() == [48.137, None]
    told = any("may be thousands" in said for said in log.summary.warnings("items"))
    assert told is (decimal is None)


def test_a_spreadsheets_fractions_are_whole_seconds() -> None:
    moment = datetime(2025, 9, 30, 14, 30, 7, tzinfo=UTC)
    serial = (moment - datetime(1899, 12, 30, tzinfo=UTC)) / timedelta(days=1)
    assert to_times(pl.Series([serial, serial])).to_list() == [moment] * 2


def test_hours_and_minutes_are_no_years(tmp_path: Path) -> None:
    rows = "".join(f"u{n % 3},i{n % 4},{1900 + 4 * n}\n" for n in range(12))
    (tmp_path / "log.csv").write_text(f"user,item,time\n{rows}")
    assert "default_time: order" in written(propose(tmp_path))


@pytest.mark.parametrize("cells", [["1", "2"], ["14102100", "14102101"], ["200101", "200115"]])
def test_numbers_that_are_no_times_refuse_their_rows_alone(
    tmp_path: Path, cells: list[str]
) -> None:
    found = loaded(tmp_path, HEADER + "".join(f"u1,i1,like,{cell}\n" for cell in cells))
    assert (len(found.good), len(found.rejected)) == (0, 2)


@pytest.mark.parametrize("sign", ["-", "/", "."])
@pytest.mark.parametrize("pattern", ["%y{0}%m{0}%d", "%d{0}%m{0}%y"])
def test_years_of_two_digits_lie_closer_together_than_days(sign: str, pattern: str) -> None:
    right = [datetime(24 + 2000 + n % 2, 1 + n % 12, 1 + n % 24, tzinfo=UTC) for n in range(60)]
    cells = [moment.strftime(pattern.format(sign)) for moment in right]
    assert to_times(pl.Series(cells)).to_list() == right
    assert to_times(pl.Series(["99-12-31", "00-01-01"])).dt.year().to_list() == [1999, 2000]


@pytest.mark.parametrize("nothing", ["0000-00-00 00:00:00", "NULL", "soon"])
def test_times_of_which_some_are_missing_are_times(tmp_path: Path, nothing: str) -> None:
    times = [nothing if n % 5 == 0 else f"2026-01-{n % 28 + 1:02} 10:00:00" for n in range(120)]
    rows = "".join(f"u{n % 6},i{n % 5},{time}\n" for n, time in enumerate(times))
    (tmp_path / "log.csv").write_text("user_id,item_id,created_at\n" + rows)
    mapping = read_mapping(written(propose(tmp_path)), "the proposal")
    assert mapping.columns("interactions")["occurred_at"] == "created_at"
    found = validate(read_log(tmp_path, mapping=mapping), "interactions")
    assert (len(found.good), len(found.rejected)) == (96, 24)


@pytest.mark.parametrize(
    ("cells", "is_told"),
    [
        ([200_101, 200_105, 201_212], True),  # months, or days of 2020
        ([202_401, 202_405, 202_412], False),
        ([1_612_010_100, 1_612_011_230, 1_612_022_359], True),  # seconds, or minutes of 2016
        ([1_612_010_100, 1_612_011_230, 1_612_029_999], False),
    ],
)
def test_numbers_that_are_two_kinds_of_dates_are_told(
    tmp_path: Path, cells: list[int], is_told: bool
) -> None:
    rows = "".join(f"u1,i{n},like,{cell}\n" for n, cell in enumerate(cells))
    (tmp_path / "interactions.csv").write_text(HEADER + rows)
    log = read_log(tmp_path)
    validate(log, "interactions")
    assert any("a year of two" in said for said in log.summary.warnings("interactions")) is is_told


@pytest.mark.parametrize(
    ("cell", "form", "right"),
    [
        ("2026-09", "%Y-%m", datetime(2026, 9, 1)),
        ("1/9/26 14:13:20,5", "%d/%m/%y %H:%M:%S,%f", datetime(2026, 9, 1, 14, 13, 20, 500_000)),
        ("1/9/26 14:13:20.5", "%d/%m/%y %H:%M:%S.%f", datetime(2026, 9, 1, 14, 13, 20, 500_000)),
        ("1612010100", "%y%m%d%H%M", datetime(2016, 12, 1, 1)),
        ("200105", "%y%m%d", datetime(2020, 1, 5)),
        ("14102100", "%y%m%d%H", datetime(2014, 10, 21)),
        ("9/30/26 2 PM", "%m/%d/%y %I %p", datetime(2026, 9, 30, 14)),
        ("2026-09-30 14:13:20 CST", "%Y-%m-%d %H:%M:%S %Z", datetime(2026, 9, 30, 14, 13, 20)),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_patterns(cell: str, form: str, right: datetime) -> None:
    assert read_mapping(f'time_format: "{form}"', "it").time_format == form
    assert to_times(pl.Series([cell]), form).to_list() == [right.replace(tzinfo=UTC)]


@pytest.mark.parametrize("form", ["%q", "%H:%M", "soon"])
def test_a_pattern_tells_a_date(form: str) -> None:
    with pytest.raises(LoadError, match=f"time_format: '{form}' is neither one of auto"):
        read_mapping(f'time_format: "{form}"', "it")


@pytest.mark.parametrize(
    ("form", "cells", "said"),
    [
        ("%d-%b-%y", ["2026-01-01"], "'2026-01-01' does not fit  time_format: %d-%b-%y"),
        ("auto", ["14/2/2026", "2/14/2026", "15/2/2026"], "with the day first, as most"),
        ("auto", ["260930"], 'say  time_format: "%y%m%d"  in the mapping'),
        ("auto", ["14/2/2026 soon"], "is no time that is understood"),
        ("auto", ["2026-09-30 14:13:20 CST"], "names no time zone that is sure: CST"),
    ],
)
def test_why_a_time_is_refused(tmp_path: Path, form: str, cells: list[str], said: str) -> None:
    (tmp_path / "interactions.csv").write_text(
        HEADER + "".join(f"u1,i1,like,{cell}\n" for cell in cells)
    )
    log = read_log(tmp_path, mapping=read_mapping(f'time_format: "{form}"', "it"))
    (reason,) = validate(log, "interactions").rejected["reason"]
    assert said in reason


def test_a_text_has_the_signs_that_its_pattern_needs() -> None:
    moment = pl.Series([datetime(2026, 9, 30, 14, 13, 20, 123_000, tzinfo=UTC)])
    for pattern in (*times._ISO, *times._WORDS):
        (text,) = moment.dt.strftime(pattern.replace("%#z", "%z"))
        assert times._needs(pattern) <= set(text), pattern
