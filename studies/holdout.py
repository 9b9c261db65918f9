"""The sealed end of a study's prices: opened once the winner is fixed, and every opening noted.

What is judged there is trained by the same workers, as tickets of a second study, ``NAME.holdout``:
no sampler learns from it, and it survives what the search survives.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from models.selection import incumbents
from studies import stamp, tickets
from studies.spec import SPEC_VERSION
from studies.study import HOLDOUT_SUFFIX, Handle, StudyError, load, make

TOP, SEEDS = 5, 5


@dataclass(frozen=True)
class Refit:
    """A configuration of the search, to be trained on all search data and judged on the holdout.

    Attributes
    ----------
    trial : number of the trial that found it
    config : as `models.config.Config.to_dict` gives it
    epochs : of that trial's best epoch
    seed : of weights, batches and dropout
    """

    trial: int
    config: dict[str, Any]
    epochs: int
    seed: int


def open_seal(handle: Handle, top: int = TOP, seeds: int = SEEDS) -> Handle:
    """Fix the winner and put what is to be judged on the queue; give the holdout study.

    Judged are the `top` configurations of lowest search loss, each trained with `seeds` seeds, and
    every trial that was the best so far when it ended, with the study's own seed. Given again, the
    holdout study gets only those refits that it does not have.

    Raises
    ------
    StudyError
        If the search has no complete trial, or is not done.
    """
    _require_done(handle)
    wanted = list(_wanted(handle, top, seeds))
    opening = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "trial": handle.best().number,
        "config": handle.best().user_attrs["config"],
    }

    def fill(study: optuna.Study) -> int:
        attrs = {
            "spec": handle.spec.to_json(),
            "spec_version": SPEC_VERSION,
            "made_with": stamp.own_versions(),
            "search": handle.name,
            "data": handle.attrs["data"],
            "targets_sha256": handle.opened.targets_sha256,
            "openings": [opening],
            "refits": [asdict(refit) for refit in wanted],
        }
        for key, value in attrs.items():
            study.set_user_attr(key, value)
        return len(wanted)

    name = handle.name + HOLDOUT_SUFFIX
    made = make(handle.storage, name, fill)
    return made if made is not None else _open_again(handle.storage, name, wanted, opening)


def _open_again(
    storage: RDBStorage, name: str, wanted: Iterable[Refit], opening: dict[str, Any]
) -> Handle:
    known = load(storage, name)
    refits = known.attrs["refits"]
    more = [asdict(r) for r in wanted if asdict(r) not in refits]
    known.study.set_user_attr("openings", [*known.attrs["openings"], opening])
    if more:
        known.study.set_user_attr("refits", [*refits, *more])
        tickets.set_total(storage, name, len(refits) + len(more))
    return load(storage, name)


def _require_done(handle: Handle) -> None:
    budget = tickets.budgets(handle.storage)[handle.name]
    done = tickets.finished(handle.trials())
    if done < budget.tickets:
        msg = (
            f"study {handle.name!r} has done {done} of {budget.tickets} trials: the winner is not "
            "fixed before all are; `tuner run` or `tuner worker` goes on with it"
        )
        raise StudyError(msg)


def _wanted(handle: Handle, top: int, seeds: int) -> Iterable[Refit]:
    """Give the refits, the winner's with the study's own seed first."""
    complete = [t for t in handle.trials() if t.state == TrialState.COMPLETE]
    handle.best()  # says what is missing where there is none
    first = handle.spec.search.seed
    ranked = sorted(complete, key=lambda t: (t.value, t.number))[:top]
    for trial in ranked:
        for seed in range(first, first + seeds):
            yield _refit(trial, seed)
    in_order = in_order_of_end(complete)
    for position in incumbents([t.value for t in in_order]):
        if in_order[position] not in ranked:
            yield _refit(in_order[position], first)


def in_order_of_end(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Sort trials by when they ended."""
    return sorted(trials, key=lambda t: (str(t.datetime_complete), t.number))


def _refit(trial: FrozenTrial, seed: int) -> Refit:
    attrs = trial.user_attrs
    return Refit(trial.number, attrs["config"], attrs["best_epoch"], seed)
