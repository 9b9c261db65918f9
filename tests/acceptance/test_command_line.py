"""What all commands share: streams, wrong usage, tracebacks, overrides, whole tables."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from puffin.studies.spec import load_spec
from tests.acceptance.helpers import Command, Finished, Run, words

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_a_closed_or_full_stdout_ends_without_a_traceback(finished: Finished) -> None:
    script = Path(sys.executable).with_name("tuner")
    line = f"{script} status --storage {finished.url}"
    ends = {">&-": (0, ""), "| read -r x": (0, ""), ">/dev/full": (1, "No space left on device")}
    shells = {
        redirection: subprocess.Popen(
            ["/bin/bash", "-o", "pipefail", "-c", f"{line} {redirection}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for redirection in ends
    }
    for redirection, (code, message) in ends.items():
        out, err = shells[redirection].communicate(timeout=120)
        assert (shells[redirection].returncode, out) == (code, ""), redirection
        assert message in err
        assert err.count("\n") == code
        assert "unexpected" not in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("status", "\udcff"), "\\udcff is not valid UTF-8"),
        (("worker", "--study", "\udcff"), "\\udcff is not valid UTF-8"),
        (("run", "demo", "--workers", "99999999999999999999"), "is not in the range 1<=x<=1000"),
        (("report", "demo", "--workers", "1001"), "is not in the range 1<=x<=1000"),
        (("report", "demo", "--top", "1000000000"), "is not in the range 1<=x<=1000"),
        (("export", "demo", "best", "--trial", "-1"), "is not in the range x>=0"),
    ],
)
def test_values_out_of_range_are_wrong_usage(
    args: tuple[str, ...], words: str, command: Command
) -> None:
    code, out, err = command(*args)
    assert (code, out) == (2, "")
    assert words in err


def test_only_debug_shows_a_traceback(tuner: Run, command: Command, tmp_path: Path) -> None:
    said = "there is no database tuner.db; `tuner run demo` or `tuner submit` makes one"
    assert command("best", "tiny-study") == (1, "", f"error: {said}\n")
    code, out, err = tuner("--debug", "best", "tiny-study", cwd=tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith("Traceback (most recent call last)")
    assert err.endswith(f"NoStudiesError: {said}\n")


def test_set_overrides_only_the_given_keys(finished: Finished) -> None:
    path = str(finished.folder / "x.toml")
    changed = ["walk_forward.folds=3", "space.cell=gru", "data.start=2010-01-04", "name=other"]
    before, after = load_spec(path).to_json(), load_spec(path, changed).to_json()
    before["walk_forward"]["folds"] = 3
    before["space"]["cell"] = "gru"
    before["data"]["start"] = "2010-01-04"
    before["name"] = "other"
    assert after == before


def test_check_prints_the_folds_and_writes_no_database(
    finished: Finished, command: Command, tmp_path: Path
) -> None:
    rules = ("--set", "backtest.max_weight=1.5", "--set", "backtest.commission_bps=5")
    code, out, err = command("check", str(finished.folder / "x.toml"), *rules)
    assert code == 0
    assert err == f"nothing is wrong; next: `tuner run {finished.folder / 'x.toml'}`\n"
    assert "tiny-study: sample AAPL, 440 bars" in out
    assert "2011-06-09 to 2012-12-03" in out
    assert "2011-06-09 to 2013-01-02" in out
    assert "holdout: 20 dates from 2013-02-01" in out
    assert "budget: 6 trials, sampler tpe" in out
    assert (
        "\nbacktest: volatility timing, weights of at most 1.5; each trade costs 5 basis points of "
        "commission and 1 of slippage\n"
    ) in out
    assert re.search(r"\ntime: about \d.* with \d+ workers? on this machine\n", out)
    assert list(tmp_path.iterdir()) == []


def test_check_counts_the_grid_points_that_are_not_run(command: Command) -> None:
    said = words(command("check", "grid").out)
    assert "budget: 126 trials" in said
    assert "the grid has 162 points, 36 of which repeat another network" in said


def test_tables_in_a_file_never_cut_a_long_name(
    finished: Finished, command: Command, tmp_path: Path
) -> None:
    name = "n" * 64
    finished.copy(tmp_path)
    assert command("submit", "x.toml", "--set", f"name={name}").code == 0
    for args in (("status",), ("check", "x.toml")):
        assert "…" not in command(*args).out
    assert name in command("status").out
