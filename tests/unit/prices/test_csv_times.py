"""Ways to write a time: what each is read as, what is said of it, and what is refused."""

import pandas as pd
import pytest

from puffin.studies.prices.csv_times import TimeError, UnclearDayError, are_clocks, read_times

NO_ZONE = ("time zone dropped, clock times kept",)
IN_UTC = ("the clock is set back within the bars, so their times are in UTC",)
MONTHS = ("months are read as their first day",)
YEARS = ("numbers of four digits are read as years, each as its first day",)
HOURS = ("times of day are read as hours",)
SERIAL = ("days are read as a spreadsheet counts them, from 1899-12-30",)


def unix(unit: str) -> tuple[str, ...]:
    return (f"times are read as Unix {unit}, in UTC",)


# Cells, with a clock apart behind a bar; times; notes.
TABLE: list[tuple[list[str], list[str], tuple[str, ...]]] = [
    (["2024-01-31", "2024/2/1", "20240202"], ["2024-01-31", "2024-02-01", "2024-02-02"], ()),
    (["20240131", "20240201"], ["2024-01-31", "2024-02-01"], ()),
    (["01/31/2024", "02/01/2024"], ["2024-01-31", "2024-02-01"], ()),
    (["31.01.2024", "1.2.2024"], ["2024-01-31", "2024-02-01"], ()),
    (["31-01-2024"], ["2024-01-31"], ()),
    (["02/02/2024", "03/03/2024"], ["2024-02-02", "2024-03-03"], ()),
    (["Jan 31, 2024", "February 1, 2024"], ["2024-01-31", "2024-02-01"], ()),
    (["31-Jan-2024", "1 Feb 2024"], ["2024-01-31", "2024-02-01"], ()),
    (["Wed, Jan 31, 2024"], ["2024-01-31"], ()),
    (["Sept 3, 2024"], ["2024-09-03"], ()),
    (["01/31/24"], ["2024-01-31"], ("years of two digits are read as 2024 to 2024",)),
    (["12/31/62", "1/2/99"], ["1962-12-31", "1999-01-02"], ("years of two digits are read as 19",)),
    (["2024-01", "2024-02"], ["2024-01-01", "2024-02-01"], MONTHS),
    (["Jan 2024"], ["2024-01-01"], MONTHS),
    (["1871", "1872"], ["1871-01-01", "1872-01-01"], YEARS),
    (
        ["2024-01-31 9:30", "2024-01-31T16:00:00.5"],
        ["2024-01-31 09:30", "2024-01-31 16:00:00.5"],
        (),
    ),
    (["1/31/2024 4:00 PM", "1/31/2024 12:05 AM"], ["2024-01-31 16:00", "2024-01-31 00:05"], ()),
    (["2019-10-17 11-PM"], ["2019-10-17 23:00"], ()),
    (["2024-01-31 24:00"], ["2024-02-01"], ()),
    (["202401311600", "202402010930"], ["2024-01-31 16:00", "2024-02-01 09:30"], ()),
    (["20240131 160005"], ["2024-01-31 16:00:05"], ()),
    (["1706659200", "1706659260.5"], ["2024-01-31", "2024-01-31 00:01:00.5"], unix("seconds")),
    (["946684800"], ["2000-01-01"], unix("seconds")),
    (["1706659200000"], ["2024-01-31"], unix("milliseconds")),
    (["1706659200000000"], ["2024-01-31"], unix("microseconds")),
    (["1706659200000000000"], ["2024-01-31"], unix("nanoseconds")),
    (["45322", "45322.6666666667"], ["2024-01-31", "2024-01-31 16:00"], SERIAL),
    (["2024-01-31 UTC"], ["2024-01-31"], NO_ZONE),
    (["2024-01-31 09:30:00 America/New_York"], ["2024-01-31 09:30"], NO_ZONE),
    (
        ["2024-01-31 09:30 EST", "2024-07-31 09:30 EDT"],
        ["2024-01-31 09:30", "2024-07-31 09:30"],
        NO_ZONE,
    ),
    *(
        ([f"2024-01-31 09:30:00{offset}"], ["2024-01-31 09:30"], NO_ZONE)
        for offset in ("Z", "+05", "-5", " -0500", "+05:30", " GMT+0100", " UTC")
    ),
    # The hour that comes twice: here first by +02:00, then by +01:00.
    (
        ["2023-10-29 02:30+02:00", "2023-10-29 02:00+01:00", "2023-10-29 02:30+01:00"],
        ["2023-10-29 00:30", "2023-10-29 01:00", "2023-10-29 01:30"],
        IN_UTC,
    ),
    # Newest first, and the clock goes forward: it is kept.
    (
        ["2024-03-31 04:00+02:00", "2024-03-31 01:00+01:00"],
        ["2024-03-31 04:00", "2024-03-31 01:00"],
        NO_ZONE,
    ),
    (["2024.01.31|00:00", "2024.01.31|01:00"], ["2024-01-31 00:00", "2024-01-31 01:00"], ()),
    (["20240131|0", "20240131|93000"], ["2024-01-31 00:00", "2024-01-31 09:30"], ()),
    (["31/01/2024|930", "31/01/2024|1600"], ["2024-01-31 09:30", "2024-01-31 16:00"], ()),
    (["2024-01-31 00:00:00|4:00 PM"], ["2024-01-31 16:00"], ()),
    (["2024-01-31|9", "2024-01-31|23"], ["2024-01-31 09:00", "2024-01-31 23:00"], HOURS),
    (["2024-01-31|09:30:00-05:00"], ["2024-01-31 09:30"], NO_ZONE),
]


@pytest.mark.parametrize(("cells", "times", "notes"), TABLE, ids=[row[0][0] for row in TABLE])
def test_time_is_read_and_a_guess_is_noted(
    cells: list[str], times: list[str], notes: tuple[str, ...]
) -> None:
    days, bars, clocks = zip(*(cell.partition("|") for cell in cells), strict=True)
    found = read_times(days, clocks if any(bars) else None)
    assert list(found.index) == [pd.Timestamp(time) for time in times]
    assert len(found.notes) == len(notes)
    assert all(said.startswith(note) for said, note in zip(found.notes, notes, strict=True))


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        (["soon"], 0),
        ([""], 0),
        (["2024-01-31", "2024-02-30"], 1),
        (["01/30/2024", "01/31/2024", "2024-02-01"], 2),
        (["2024-01-31 25:00"], 0),
        (["2024-01-31 13:00 PM"], 0),
        (["0", "1", "2"], 0),
        (["1000", "1001"], 0),
        (["2024", "2023", "2024"], 0),
        (["1.7067E+09"], 0),
        (["2024-W05-3"], 0),
    ],
)
def test_cell_that_is_not_a_time_is_refused_with_its_row(cells: list[str], row: int) -> None:
    with pytest.raises(TimeError, match=r"a date must be like 2024-01-31.*got") as caught:
        read_times(cells)
    assert caught.value.row == row


@pytest.mark.parametrize("cells", [["1950", "1951"], ["45322", "45323"], ["0", "1"]])
def test_numbers_without_a_name_count_rows(cells: list[str]) -> None:
    with pytest.raises(TimeError):
        read_times(cells, is_named=False)


def test_ambiguous_day_is_refused_with_both_readings_and_its_row() -> None:
    with pytest.raises(UnclearDayError) as caught:
        read_times(["02/02/2024", "02/02/2024", "03/04/2024 16:00", "04/05/2024"])
    assert caught.value.row == 2
    assert str(caught.value) == (
        "'03/04/2024 16:00' can be read as month/day or as day/month, 2024-03-04 or 2024-04-03, "
        "and no day above 12 decides: write days like 2024-01-31"
    )


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["09:30", "16:00:00"], True),
        (["0", "930"], True),
        (["93000", "160000"], True),
        (["1075", "1100"], False),
        (["0", "1"], False),
        (["2024-01-31", "2024-02-01"], False),
        (["1706659200"], False),
    ],
)
def test_times_of_day_are_distinguished_from_days_and_counts(
    *, cells: list[str], expected: bool
) -> None:
    assert are_clocks(cells) is expected
