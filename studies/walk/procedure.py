"""The course of a walk: which search begins when, and whose winner is trained again."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from optuna.storages import RDBStorage

from puffin.studies.lifecycle import submit
from puffin.studies.retraining import SEEDS, find_holdout, is_opened, open_for_winner
from puffin.studies.study import HOLDOUT_SUFFIX, StoredStudy, walk_name
from puffin.studies.summary import Status, status, sum_of
from puffin.studies.walk.origins import Origin, warm_points


@dataclass
class Procedure:
    """The searches of a walk, one after another, while the workers of a pool train them.

    Parameters
    ----------
    storage : RDBStorage
    study : str
        Name of the study that walks.
    origins : sequence of Origin
        The earliest first.
    warm : bool
        Whether each search begins with the winners before it, and so waits for the one before.
    seeds : int
        Trainings of each winner.
    """

    storage: RDBStorage
    study: str
    origins: Sequence[Origin]
    warm: bool
    seeds: int = SEEDS
    studies: list[StoredStudy] = field(default_factory=list)
    # The states of finished searches and trainings, by name, which are not read again.
    _done: dict[str, Status] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    _done_before: int | None = None

    def position(self) -> str:
        """Which origin is searched, before a count: ``origin 3 of 12, ``."""
        return f"origin {max(len(self.studies), 1)} of {len(self.origins)}, "

    def advance(self) -> Status:
        """Begin what can begin, and return the state of the whole walk.

        A search begins once the one before it has no ticket left to give, so that no worker waits;
        the winner of a search is trained again once all its tickets are finished.

        Raises
        ------
        StudyError
            If a search has no complete trial, or there is another study of its name.
        KeyError
            If a study was deleted meanwhile.
        """
        states = [state for study in self.studies for state in self._states_of(study)]
        while len(self.studies) < len(self.origins) and self._may_begin():
            origin = self.origins[len(self.studies)]
            first = warm_points(self.studies) if self.warm else ()
            self.studies.append(submit(self.storage, origin.spec, origin.basket, first))
            states += self._states_of(self.studies[-1])
        return self._sum(states)

    def _may_begin(self) -> bool:
        """Return whether the next search may begin."""
        if not self.studies:
            return True
        last = self._state(self.studies[-1])
        return last.done if self.warm else last.finished + last.running >= last.tickets

    def _states_of(self, study: StoredStudy) -> list[Status]:
        """Return the states of a search and of the trainings of its winner, which it begins."""
        search = self._state(study)
        if not search.done:
            return [search]
        holdout = self._done.get(study.name + HOLDOUT_SUFFIX)
        if holdout is not None:
            return [search, holdout]
        opened = find_holdout(study) if is_opened(study) else None
        return [search, self._state(opened or open_for_winner(study, self.seeds))]

    def _state(self, study: StoredStudy) -> Status:
        if study.name in self._done:
            return self._done[study.name]
        state = status(study)
        if state.done:
            self._done[study.name] = state
        return state

    def _sum(self, states: Sequence[Status]) -> Status:
        """Return the state of the walk, with the tickets of what has not begun yet."""
        trained = [state for state in states if state.search is not None]
        waiting = len(self.origins) - len(self.studies), len(self.origins) - len(trained)
        to_come = waiting[0] * self.origins[0].spec.tickets + waiting[1] * self.seeds
        found = sum_of(walk_name(self.study), states, to_come)
        if self._done_before is None:
            self._done_before = found.finished
        ended = found.finished - self._done_before
        each = (time.monotonic() - self._started) / ended if ended else None
        left = None if each is None or found.done else each * (found.tickets - found.finished)
        return replace(found, seconds_left=left)
