"""Estimates of the remaining time, on histories made by hand and on simulated searches."""

import heapq
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from puffin.studies.estimate import seconds_left
from puffin.studies.records import TICKET

COMPLETE, PRUNED, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING
NOW = datetime(2026, 11, 26, 12, 0, 0)  # noqa: DTZ001  # as trials have it
NUMBERS = iter(range(10**9))


def ended(epochs: int, seconds: float, resumed: int = 0, state: TrialState = COMPLETE) -> Any:
    """Return a finished trial."""
    run = {"epochs": epochs, "seconds": seconds, "resumed_after": resumed}
    value = 0.5 if state == COMPLETE else None
    attrs = {TICKET: next(NUMBERS), "run": run}
    return create_trial(state=state, value=value, user_attrs=attrs)


def several(count: int) -> list[Any]:
    return [ended(10, 10.0) for _ in range(count)]


def pruned(epochs: int, seconds: float) -> Any:
    return ended(epochs, seconds, state=PRUNED)


def running(epochs: int, seconds: float) -> FrozenTrial:
    """Return a running trial that has trained some epochs in some seconds."""
    trial = create_trial(state=TrialState.WAITING, user_attrs={TICKET: next(NUMBERS)})
    trial.state = RUNNING
    trial.intermediate_values = dict.fromkeys(range(1, epochs + 1), 1.0)
    trial.datetime_start = NOW - timedelta(seconds=seconds)
    return trial


def left(history: list[Any], budget: int, workers: int = 1, **changes: Any) -> float | None:
    known: dict[str, Any] = {"max_epochs": 50, "pruned": False, "now": NOW} | changes
    return seconds_left(history, budget, workers=workers, **known)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [ended(10, 10.0), ended(10, 10.0)],
        [ended(10, 10.0), ended(10, 10.0), running(40, 40.0), running(40, 40.0)],
        [create_trial(state=COMPLETE, value=1.0, user_attrs={TICKET: n}) for n in range(5)],
    ],
    ids=["nothing", "two ended", "two ended and two run", "nothing measured"],
)
def test_nothing_is_said_before_three_trials_have_ended(history: list[Any]) -> None:
    assert left(history, 20) is None


@pytest.mark.parametrize(
    ("history", "budget", "workers", "seconds"),
    [
        # 7 more trials of 10 epochs of 1 s.
        (several(3), 10, 1, 70),
        (several(3), 11, 2, 40),
        # More workers than trials that are left: the time of one trial.
        (several(3), 4, 8, 10),
        # No worker is counted as one.
        (several(3), 10, 0, 70),
        # One took long because the machine slept: the median knows nothing of it.
        ([*several(4), ended(10, 3600.0)], 10, 1, 50),
        # Its first 8 epochs were trained by another worker: 1 s an epoch, not 0.2.
        ([ended(10, 10.0), ended(10, 10.0), ended(10, 2.0, resumed=8)], 10, 1, 70),
        # A trial at epoch 6 of 10, 1 s each, and 2 to start.
        ([*several(3), running(6, 6.0)], 6, 1, 4 + 20),
        # The last one is slower than the others: 5 s an epoch.
        ([*several(3), running(6, 30.0)], 4, 2, 20),
        # Its clock is a day off, so its speed is bounded to ten times the median.
        ([*several(3), running(6, 86400.0)], 4, 1, 40),
        ([*several(3), running(6, -86400.0)], 4, 1, 0.4),
        # Done.
        (several(3), 3, 1, 0),
    ],
)
def test_the_rest_is_seconds_per_epoch_times_epochs_by_workers(
    history: list[Any], budget: int, workers: int, seconds: float
) -> None:
    assert left(history, budget, workers) == pytest.approx(seconds)


def test_trials_that_still_run_are_no_shorter_than_they_are() -> None:
    # The three that ended first were given up at epoch 2; five others are at epoch 40 of 50.
    history = [*(pruned(2, 2.0) for _ in range(3)), *(running(40, 40.0) for _ in range(5))]
    found = left(history, 58, 8)
    # 50 more trials, 5 of 8 of which last 50 epochs: about 50 * 32 / 8 seconds.
    assert found == pytest.approx(50 * 32 / 8, rel=0.15)


@pytest.mark.parametrize(
    ("history", "least", "most"),
    [
        # Full, then nearly all pruned at epoch 2: later trials mean 2 to 9 epochs of 1 s.
        ([(50, 50.0), *[(2, 2.0)] * 9], 60, 270),
        # The first two of an empty rung pass it; asha will let about a quarter pass.
        ([(50, 50.0), (50, 50.0), (2, 2.0)], 60, 900),
        # The shortest that has been seen, ten times.
        ([(2, 2.0)] * 10, 60, 200),
    ],
)
def test_the_prior_approximates_the_survival_under_pruning(
    history: list[tuple[int, float]], least: float, most: float
) -> None:
    found = left([pruned(*each) for each in history], len(history) + 30, pruned=True)
    assert found is not None
    assert least <= found <= most


class Search:
    """A search by successive halving at epochs 2, 8 and 32, with early stopping, by the clock."""

    def __init__(self, seed: int, workers: int, trials: int) -> None:
        self.random, self.rungs = np.random.default_rng(seed), {2: [], 8: [], 32: []}
        self.at: list[Any] = [self._begin(0.0) for _ in range(workers)]
        self.to_start, self.ended, self.now = trials - workers, [], 0.0
        heapq.heapify(self.at)

    def _begin(self, now: float) -> tuple[float, int, dict[str, Any]]:
        speed = float(np.exp(self.random.normal(0, 0.5)))
        trial = {
            "speed": speed,
            "started": now,
            "epochs": 0,
            "loss": self.random.normal(),
            "stops": int(self.random.integers(10, 51)),
        }
        return now + speed, next(NUMBERS), trial

    def step(self) -> bool:
        """Train one epoch; tell whether a trial ended."""
        self.now, number, trial = heapq.heappop(self.at)
        trial["epochs"] += 1
        if not self._ends(trial):
            heapq.heappush(self.at, (self.now + trial["speed"], number, trial))
            return False
        self.ended.append(pruned(trial["epochs"], self.now - trial["started"]))
        if self.to_start:
            self.to_start -= 1
            heapq.heappush(self.at, self._begin(self.now))
        return True

    def _ends(self, trial: dict[str, Any]) -> bool:
        rung = self.rungs.get(trial["epochs"])
        if rung is None:
            return bool(trial["epochs"] >= trial["stops"])
        rung.append(trial["loss"])
        return bool(trial["loss"] > sorted(rung)[max(len(rung) // 4, 1) - 1])

    def history(self) -> list[Any]:
        at = [running(t["epochs"], self.now - t["started"]) for _, _, t in self.at]
        return [*self.ended, *at]


@pytest.mark.parametrize("workers", [1, 4])
def test_the_estimate_of_a_pruned_search_is_within_tenfold(workers: int) -> None:
    ratios = []
    for seed in range(20):
        search, guesses = Search(seed, workers, 60), []
        while search.at:
            if search.step() and len(search.ended) in (3, 6, 12, 30, 45):
                guess = left(search.history(), 60, workers, pruned=True)
                guesses.append((guess, search.now))
        ratios += [guess / (search.now - then) for guess, then in guesses if guess]
    assert len(ratios) == 100
    assert min(ratios) > 0.1
    assert max(ratios) < 10
    assert 0.5 < float(np.median(ratios)) < 2
