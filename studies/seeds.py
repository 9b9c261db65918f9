"""What the seed is worth: the best of a search, trained again on its folds with other seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from puffin.models.arrays import Floats
from puffin.models.config import Config
from puffin.models.evaluation.selection import one_standard_error, ranks_over_seeds
from puffin.studies.retraining import RETRAINED_TRIAL, SEED, require_done
from puffin.studies.storage import tickets
from puffin.studies.study import SEEDS_SUFFIX, StoredStudy, StudyError, load


@dataclass(frozen=True, eq=False)
class SeedSensitivity:
    """The best of a search over seeds that had no part in choosing them.

    Attributes
    ----------
    trials : numbers of the trials that found them, the best of the search first
    seeds : seeds that they were trained with once more
    losses : array, (trial, seed), on the search folds; infinite where the training diverged
    parameters : of each one's network
    ranks : of the winner among them, seed by seed; 1 is the lowest loss
    one_se_choice : number of the trial whose network is the smallest within one standard error of
        the best, by its mean loss over these seeds; None where no training came to its end with
        each
    one_se_bound : the highest mean loss that is within; NaN without `one_se_choice`
    """

    trials: list[int]
    seeds: list[int]
    losses: Floats
    parameters: list[int]
    ranks: NDArray[np.int64]
    one_se_choice: int | None
    one_se_bound: float


def read_seed_sensitivity(study: StoredStudy) -> SeedSensitivity:
    """Read what the seeds study of a search has found.

    Raises
    ------
    StudyError
        If there is none, or it is not done.
    """
    best, known = study.best().number, {t.number: t for t in study.trials()}
    seeds = _finished_seeds_study(study, best)
    of = {r["trial"]: set[int]() for r in seeds.attrs["reruns"]}
    for rerun in seeds.attrs["reruns"]:
        of[rerun["trial"]].add(rerun["seed"])
    tried = sorted(of[best])
    # Ordered at several times, some may have other seeds than the best.
    numbers = [n for n in of if of[best] <= of[n]]
    numbers.sort(key=lambda n: (known[n].value, n))
    losses = np.full((len(numbers), len(tried)), np.inf)
    for trial in seeds.trials():
        number, seed = trial.user_attrs.get(RETRAINED_TRIAL), trial.user_attrs.get(SEED)
        if trial.state == TrialState.COMPLETE and number in numbers and seed in tried:
            losses[numbers.index(number), tried.index(seed)] = trial.value
    return _sensitivity(numbers, tried, losses, [_parameters(study, known[n]) for n in numbers])


def one_se_choice(study: StoredStudy) -> FrozenTrial:
    """Give the trial of the smallest network that is not clearly worse than the best.

    Raises
    ------
    StudyError
        If the best were not trained with other seeds, or none of them came to an end with each.
    """
    number = read_seed_sensitivity(study).one_se_choice
    if number is None:
        msg = f"no configuration of study {study.name!r} was trained to its end with every seed"
        raise StudyError(msg)
    return study.trials()[number]


def _finished_seeds_study(study: StoredStudy, best: int) -> StoredStudy:
    """Give the seeds study of a search.

    Raises
    ------
    StudyError
        If there is none, it is not done, or does not know the best of the search.
    """
    name = study.name + SEEDS_SUFFIX
    total = tickets.total(study.storage, name)
    seeds = None if total is None else load(study.storage, name)
    if seeds is None or all(r["trial"] != best for r in seeds.attrs["reruns"]):
        msg = (
            f"the best of study {study.name!r}, trial {best}, has not been trained with other "
            f"seeds yet: `tuner report {study.name}` does it"
        )
        raise StudyError(msg)
    require_done(seeds)
    return seeds


def _parameters(study: StoredStudy, trial: FrozenTrial) -> int:
    # Here, since `tuner best` asks for it only where seeds are to choose.
    from puffin.models.networks.rnn import build_network

    network = build_network(
        Config.from_dict(trial.user_attrs["config"]), len(study.spec.data.inputs)
    )
    return sum(p.numel() for p in network.parameters())


def _sensitivity(
    trials: list[int], seeds: list[int], losses: Floats, parameters: list[int]
) -> SeedSensitivity:
    came = np.isfinite(losses).all(axis=1)
    smallest, bound = None, float("nan")
    if came.any():
        choice = one_standard_error(losses[came], np.array(parameters)[came])
        smallest, bound = np.array(trials)[came][choice.chosen].item(), choice.bound
    # One that diverged is behind all that did not.
    ranks = ranks_over_seeds(np.nan_to_num(losses, posinf=np.finfo(np.float64).max), 0)
    return SeedSensitivity(trials, seeds, losses, parameters, ranks, smallest, bound)
