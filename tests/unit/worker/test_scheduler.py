"""Fair shares, of which no study waits for ever, and pauses between polls that find nothing."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puffin.studies.storage.errors import StorageError
from puffin.tuner.backoff import Backoff
from puffin.tuner.worker.scheduler import FairQueue, serve_until_done

Lasts = Callable[[str, int], float]


def serve(
    shares: FairQueue,
    priorities: dict[str, int],
    turns: int,
    lasts: Lasts = lambda _name, _turn: 1.0,
) -> tuple[list[str], Counter[str]]:
    """Return who was served in so many turns, and the seconds that each study got."""
    served: list[str] = []
    seconds: Any = Counter()
    for turn in range(turns):
        name = shares.order(priorities)[0]
        shares.charge(name, lasts(name, turn), priorities[name])
        served.append(name)
        seconds[name] += lasts(name, turn)
    return served, seconds


def test_two_equal_studies_have_one_of_every_two_turns() -> None:
    served, _ = serve(FairQueue(), {"a": 1, "b": 1}, 100)
    pairs = zip(served[::2], served[1::2], strict=True)
    assert {frozenset(pair) for pair in pairs} == {frozenset("ab")}


def test_studies_of_one_priority_get_equal_time_despite_longer_trials() -> None:
    _, seconds = serve(
        FairQueue(), {"long": 2, "short": 2}, 1100, lambda name, _: 10.0 if name == "long" else 1.0
    )
    assert seconds["long"] == pytest.approx(seconds["short"], abs=10.0)


@pytest.mark.parametrize(
    ("high", "low"), [(1.0, 1.0), (7.0, 1.0), (1.0, 7.0), (0.5, 30.0)], ids=str
)
def test_priority_3_gets_three_times_the_seconds_of_priority_1(high: float, low: float) -> None:
    priorities = {"high": 3, "low": 1}

    def lasts(name: str, turn: int) -> float:
        return (high if name == "high" else low) * (1 + turn % 5)

    shares, seconds = FairQueue(), Counter[str]()
    while seconds.total() < 4000 * max(high, low):
        _, more = serve(shares, priorities, 100, lasts)
        seconds += more
    assert seconds["high"] / seconds["low"] == pytest.approx(3.0, rel=0.02)


def test_a_new_study_gets_no_turns_for_the_time_before_it() -> None:
    shares = FairQueue()
    serve(shares, {"a": 1, "b": 1}, 100)
    served, _ = serve(shares, {"a": 1, "b": 1, "new": 1}, 99)
    assert 32 <= served.count("new") <= 34
    assert ("new", "new", "new") not in zip(served, served[1:], served[2:], strict=False)


@pytest.mark.parametrize("listed", [True, False], ids=["no ticket to give", "paused"])
def test_an_idle_study_gets_no_turns_for_the_time_it_was_idle(*, listed: bool) -> None:
    shares = FairQueue()
    serve(shares, {"idle": 1, "busy": 1}, 2)
    for _ in range(100):  # only one of them has something to do
        assert "busy" in shares.order(["busy", "idle"] if listed else ["busy"])
        shares.charge("busy", 1.0, 1)
    served, _ = serve(shares, {"idle": 1, "busy": 1}, 20)
    assert 9 <= served.count("idle") <= 11
    assert all(len(set(served[i : i + 3])) == 2 for i in range(len(served) - 2))


def test_workers_started_together_begin_with_different_studies() -> None:
    firsts = Counter(FairQueue().order(["a", "b", "c"])[0] for _ in range(300))
    assert set(firsts) == {"a", "b", "c"}
    assert min(firsts.values()) > 50


def test_the_order_contains_every_study_once() -> None:
    shares = FairQueue()
    for names in (["a"], ["a", "b", "c"], ["c", "b"], []):
        assert sorted(shares.order(names)) == sorted(names)


@given(
    priorities=st.lists(st.integers(1, 100), min_size=2, max_size=5),
    durations=st.lists(st.floats(0.001, 1000.0), min_size=1, max_size=200),
)
def test_no_study_is_ahead_of_another_by_more_than_one_turn(
    priorities: list[int], durations: list[float]
) -> None:
    """Ahead by virtual time, seconds over priority: what Goyal, Vin and Cheng prove of it."""
    shares, names = FairQueue(), [str(i) for i in range(len(priorities))]
    had, longest = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for seconds in durations:
        name = shares.order(names)[0]
        turn = seconds / priorities[int(name)]
        shares.charge(name, seconds, priorities[int(name)])
        had[name] += turn
        longest[name] = max(longest[name], turn)
        first = min(had, key=had.__getitem__)
        last = max(had, key=had.__getitem__)
        assert had[last] - had[first] <= longest[last] * (1 + 1e-9)


@given(
    priorities=st.lists(st.integers(1, 100), min_size=2, max_size=5),
    seconds=st.lists(st.floats(1.0, 20.0), min_size=1, max_size=30),
)
def test_no_study_starves(priorities: list[int], seconds: list[float]) -> None:
    """While one waits, each other one has at most its share of the longest turn there can be."""
    by_name = {str(i): priority for i, priority in enumerate(priorities)}
    served, _ = serve(FairQueue(), by_name, 600, lambda _, turn: seconds[turn % len(seconds)])
    longest, shortest = max(seconds), min(seconds)
    for name, own in by_name.items():
        most = sum(
            longest / own * priority / shortest + 2
            for other, priority in by_name.items()
            if other != name
        )
        turns = [-1, *(i for i, who in enumerate(served) if who == name), len(served)]
        assert max(b - a for a, b in pairwise(turns)) <= most + 1, (name, most)


def test_each_pause_is_twice_as_long_up_to_the_bound_and_drawn_from_its_upper_half() -> None:
    backoffs = [Backoff() for _ in range(400)]
    for longest in (1.0, 2.0, 4.0, 5.0, 5.0):
        pauses = [backoff.next(5.0) for backoff in backoffs]
        assert longest / 2 <= min(pauses) < 0.6 * longest
        assert 0.9 * longest < max(pauses) <= longest
        assert len(set(pauses)) > 300, "workers that are idle together do not poll together"


@pytest.mark.parametrize("change", ["reset", "another bound"])
def test_pauses_begin_short_again(change: str) -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.next(5.0)
    if change == "reset":
        backoff.reset()
    assert backoff.next(5.0 if change == "reset" else 2.0) <= 1.0


@dataclass
class FailingScheduler:
    """Stands for a `StudyScheduler` whose database answers at the given calls only."""

    answers: frozenset[int]
    calls: int = 0
    worker: Any = field(default_factory=MagicMock)

    def run_one(self) -> bool:
        self.calls += 1
        if self.calls in self.answers:
            return True
        msg = "connection refused"
        raise StorageError(msg)


@dataclass
class Pauses:
    """Stands for an `Interrupt`; notes the pauses instead of making them."""

    requested: bool = False
    seconds: list[float] = field(default_factory=list)

    def wait(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return True


def pauses_without_database(answers: Iterable[int] = ()) -> list[float]:
    interrupt: Any = Pauses()
    scheduler: Any = FailingScheduler(frozenset(answers))
    with pytest.raises(StorageError, match=r"failed 10 times in a row: connection refused"):
        serve_until_done(scheduler, interrupt)
    return list(interrupt.seconds)


def test_workers_that_lose_the_database_ask_it_for_minutes_and_not_at_the_same_moments() -> None:
    of_each = [pauses_without_database() for _ in range(200)]
    for number, longest in enumerate((1, 2, 4, 8, 16, 32, 64, 64, 64)):
        of_all = [pauses[number] for pauses in of_each]
        assert longest / 2 <= min(of_all) < 0.7 * longest
        assert 0.8 * longest < max(of_all) <= longest
        assert len(set(of_all)) > 150
    assert {len(pauses) for pauses in of_each} == {9}


def test_an_answer_of_the_database_makes_pauses_short_again() -> None:
    pauses = pauses_without_database(answers=[6])
    assert len(pauses) == 5 + 9
    assert pauses[5] <= 1.0 < pauses[4]
