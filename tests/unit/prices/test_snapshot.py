"""Snapshots: bars as exact bytes."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from puffin.studies.prices.load import load_prices
from puffin.studies.prices.names import COLUMNS, DataError
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.snapshot import frames_from_csv, frames_to_csv, from_csv, sha256, to_csv
from tests.prices import bars


def test_snapshot_is_csv_with_the_shortest_exact_floats() -> None:
    frame = pd.DataFrame({"close": [0.1, 1e300], "volume": [3.0, -0.0]}, index=bars(2).index)
    assert to_csv(frame) == b"date,close,volume\n2020-01-01,0.1,3.0\n2020-01-02,1e+300,-0.0\n"


@pytest.mark.parametrize(
    ("clock", "written"),
    [
        ("2024-01-02", b"\n2024-01-02,"),
        ("2024-01-02 09:30", b"\n2024-01-02T09:30:00,"),
        ("2024-01-02 09:30:00.5", b"\n2024-01-02T09:30:00.500000,"),
    ],
)
def test_snapshot_writes_times_in_the_coarsest_exact_unit(clock: str, written: bytes) -> None:
    frame = bars(2).set_axis(pd.DatetimeIndex([clock, "2025-01-02"], name="date"))
    assert written in to_csv(frame)
    assert list(from_csv(to_csv(frame)).index) == list(frame.index)


FLOATS = st.floats(allow_nan=False)
TIMES = st.one_of(st.dates(), st.datetimes())


@given(data=st.data(), names=st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True))
def test_the_snapshot_keeps_every_bit(data: st.DataObject, names: list[str]) -> None:
    row = st.tuples(*[FLOATS] * len(names))
    table = data.draw(st.dictionaries(TIMES.map(np.datetime64), row, max_size=8))
    index = pd.DatetimeIndex(np.array(sorted(table), dtype="M8[us]"), name="date")
    values = np.array([table[time] for time in sorted(table)]).reshape(-1, len(names))
    frame = pd.DataFrame(values, index=index, columns=names)
    written = to_csv(frame)
    back = from_csv(written)
    pd.testing.assert_index_equal(back.index, index, exact=True)
    assert list(back.columns) == names
    assert back.to_numpy().tobytes() == values.tobytes()
    assert to_csv(back) == written


def test_the_sample_survives_the_snapshot_with_the_same_sha256() -> None:
    frame = load_prices("sample", PriceRequest("MSFT")).frame
    data = to_csv(frame)
    pd.testing.assert_frame_equal(from_csv(data), frame, check_exact=True, check_freq=False)
    assert sha256(to_csv(from_csv(data))) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"time,close\n2024-01-02,1.0\n",
        b"date,close\n2024-01-02\n",
        b"date,close\n2024-01-02,1.0\n2024-01-03,1.0,2.0\n",
        b"date,close\nsoon,1.0\n",
        b"date,close\n2024-01-02,x\n",
    ],
)
def test_bytes_that_are_no_snapshot_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="the snapshot of the prices must be CSV as written"):
        from_csv(data)


def test_the_bars_of_several_symbols_are_one_table() -> None:
    frames = {"B": bars(2)[["close"]], "NA": bars(1)[["close"]].assign(volume=7.0)}
    data = frames_to_csv(frames, is_basket=True)
    close = frames["B"]["close"]
    first, second = close.tolist()
    assert data.decode().splitlines() == [
        "symbol,date,close,volume",
        f"B,2020-01-01,{first!r},nan",
        f"B,2020-01-02,{second!r},nan",
        f"NA,2020-01-01,{first!r},7.0",
    ]
    back = frames_from_csv(data, "unused")
    assert list(back) == ["B", "NA"]
    assert back["B"]["close"].equals(close.rename_axis("date"))
    assert back["B"]["volume"].isna().all()


def test_the_bars_of_one_symbol_have_no_column_of_symbols() -> None:
    frame = bars(3)
    assert frames_to_csv({"A": frame}, is_basket=False) == to_csv(frame)
    # A name may begin with a quote.
    assert list(frames_from_csv(frames_to_csv({'"B': frame, "C": frame}, is_basket=True), "")) == [
        '"B',
        "C",
    ]
    # A part of a basket may have the bars of one symbol alone.
    assert list(frames_from_csv(frames_to_csv({"B": frame}, is_basket=True), "A")) == ["B"]
    (back,) = frames_from_csv(to_csv(frame), "A").items()
    assert back[0] == "A"
    assert back[1].equals(from_csv(to_csv(frame)))
