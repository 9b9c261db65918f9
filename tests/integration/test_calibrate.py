"""The report cries victory seldom where there is nothing to find, and mostly where there is."""

import numpy as np
import pytest

from benchmarks import calibrate


def test_random_walks_are_beaten_no_more_often_than_luck_has_it() -> None:
    runs = calibrate.run_all(planted=0.0, count=20, trials=2)
    assert calibrate.victories(runs) <= calibrate.most_by_luck(len(runs), 0.999)


def test_a_planted_signal_that_no_straight_line_finds_is_found() -> None:
    runs = calibrate.run_all(calibrate.PLANTED, count=10, trials=3)
    assert calibrate.victories(runs) >= 7
    assert np.mean([run.truth for run in runs]) == pytest.approx(calibrate.PLANTED, abs=0.05)
    for name in ("ar", "ridge"):
        assert np.mean([run.skill_of(name) for run in runs]) == pytest.approx(0.0, abs=0.02)
