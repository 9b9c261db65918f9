"""The course of a walk: which search begins when, and whose winner is trained again."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from optuna.storages import RDBStorage

from puffin.studies.algorithms import SAMPLERS
from puffin.studies.lifecycle import submit
from puffin.studies.retraining import open_for_winner
from puffin.studies.study import StoredStudy, StudyError, lowest_complete, walk_name
from puffin.studies.summary import Status, status, sum_of
from puffin.studies.text import in_words
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
        Whether each search begins with the winners before it, and so waits for the one before. A
        grid has no use for them.
    """

    storage: RDBStorage
    study: str
    origins: Sequence[Origin]
    warm: bool
    studies: list[StoredStudy] = field(default_factory=list)
    # The trainings of the winner of each search that is done; None if it has no winner.
    _opened: dict[str, StoredStudy | None] = field(default_factory=dict)
    # The states of finished searches and trainings, by name, which are not read again.
    _done: dict[str, Status] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    _done_before: int | None = None

    def __post_init__(self) -> None:
        if SAMPLERS[self.origins[0].spec.search.sampler].enumerates:
            self.warm = False

    def position(self) -> str:
        """Return which origin is searched, before a count: ``origin 3 of 12, ``."""
        return f"origin {max(len(self.studies), 1)} of {len(self.origins)}, "

    def advance(self) -> Status:
        """Begin what can begin, and return the state of the whole walk.

        A search begins once the one before it has no ticket to spare, so that no worker waits;
        the winner of a search is trained again once all its tickets are finished.

        Raises
        ------
        StudyError
            If there is another study of the name of a search, or a search was deleted meanwhile.
        """
        return self._state_of_all(begins=True)

    def state(self) -> Status:
        """Return the state of the whole walk, and begin nothing.

        Raises
        ------
        StudyError
            If a search was deleted meanwhile.
        """
        return self._state_of_all(begins=False)

    def _state_of_all(self, *, begins: bool) -> Status:
        try:
            return self._advance(begins=begins)
        except KeyError:
            gone = [study.name for study in self.studies if not study.still_exists()]
            if not gone:
                raise
            msg = f"{in_words(gone)} of the walk was deleted while this command worked on it"
            raise StudyError(msg) from None

    def require_winners(self) -> None:
        """Require a winner of each search.

        Raises
        ------
        StudyError
            If a search has no complete trial.
        """
        without = [name for name, opened in self._opened.items() if opened is None]
        if without:
            msg = (
                f"no trial of {in_words(without)} is complete, so the walk has no verdict; "
                f"`tuner extend {without[0]} --trials N` adds trials, then walk again"
            )
            raise StudyError(msg)

    def _advance(self, *, begins: bool) -> Status:
        states = [s for study in self.studies for s in self._states_of(study, begins=begins)]
        while begins and len(self.studies) < len(self.origins) and self._may_begin():
            self.studies.append(self._begin(self.origins[len(self.studies)]))
            states += self._states_of(self.studies[-1], begins=begins)
        return self._sum(states)

    def _may_begin(self) -> bool:
        """Return whether the next search may begin."""
        if not self.studies:
            return True
        last = self._state(self.studies[-1])
        if self.warm:
            return last.done
        # Each worker takes one ticket more before this is asked again, and none should wait.
        return last.tickets - last.finished - last.running <= len(last.workers)

    def _begin(self, origin: Origin) -> StoredStudy:
        """Create the search at an origin, or return the stored one.

        Raises
        ------
        StudyError
            If the stored one is of another walk.
        """
        first, count = warm_points(self.studies) if self.warm else (), len(self.origins)
        study = submit(self.storage, origin.spec, origin.basket, first, count)
        known = study.record
        differing = {
            "prices": not study.has_same_prices(origin.basket.frames),
            "walk.origins": known.origins != count,
            "walk.warm": known.first_params != tuple(first),
        }
        if any(differing.values()):
            names = in_words([name for name, differs in differing.items() if differs])
            walk = walk_name(self.study)
            msg = (
                f"{study.name!r} was begun with other {names}, so it is not part of this walk; "
                f"`tuner delete {walk}` and walk again, or use another name (--set name=...)"
            )
            raise StudyError(msg)
        return study

    def _states_of(self, study: StoredStudy, *, begins: bool) -> list[Status]:
        """Return the states of a search and of the trainings of its winner, which it may begin."""
        search = self._state(study)
        if not search.done:
            return [search]
        if begins and study.name not in self._opened:
            has_winner = lowest_complete(study.trials()) is not None
            self._opened[study.name] = open_for_winner(study) if has_winner else None
        opened = self._opened.get(study.name)
        return [search] if opened is None else [search, self._state(opened)]

    def _state(self, study: StoredStudy) -> Status:
        if study.name in self._done:
            return self._done[study.name]
        state = status(study)
        if state.done:
            self._done[study.name] = state
        return state

    def _sum(self, states: Sequence[Status]) -> Status:
        """Return the state of the walk, with the tickets of what has not begun yet."""
        spec, searches = self.origins[0].spec, len(self.origins) - len(self.studies)
        trainings = len(self.origins) - len(self._opened)
        to_come = searches * spec.tickets + trainings * spec.final.seeds
        found = sum_of(walk_name(self.study), states, to_come)
        if self._done_before is None:
            self._done_before = found.finished
        ended = found.finished - self._done_before
        each = (time.monotonic() - self._started) / ended if ended else None
        left = None if each is None or found.done else each * (found.tickets - found.finished)
        return replace(found, seconds_left=left)
