"""Sensitivity to the seed: the best trials of a search, trained on its folds with other seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from puffin.models.arrays import Floats
from puffin.models.config import Config
from puffin.models.evaluation.selection import one_standard_error, ranks_over_seeds
from puffin.studies.records import TrialRecord
from puffin.studies.retraining import require_done
from puffin.studies.storage import registry
from puffin.studies.study import SEEDS_SUFFIX, StoredStudy, StudyError, load


@dataclass(frozen=True, eq=False)
class SeedSensitivity:
    """Losses of the best trials of a search with seeds that were not used to select them.

    Attributes
    ----------
    trials : numbers of the trials, the best of the search first
    seeds : seeds of the retrainings
    losses : array, (trial, seed), on the search folds; infinite if the training diverged
    parameters : number of parameters of each network
    ranks : rank of the best of the search for each seed; 1 is the lowest loss
    one_se_choice : number of the trial with the smallest network whose mean loss over these seeds
        is within one standard error of the best; None if no configuration finished with every seed
    one_se_bound : highest mean loss within one standard error; NaN without `one_se_choice`
    """

    trials: list[int]
    seeds: list[int]
    losses: Floats
    parameters: list[int]
    ranks: NDArray[np.int64]
    one_se_choice: int | None
    one_se_bound: float


def read_seed_sensitivity(study: StoredStudy) -> SeedSensitivity:
    """Read the result of the seeds study of a search.

    Raises
    ------
    StudyError
        If there is none, or it is not done.
    """
    best, known = study.best().number, {t.number: t for t in study.trials()}
    seeds = _finished_seeds_study(study, best)
    jobs = seeds.record.jobs
    seeds_of = {job.trial: set[int]() for job in jobs}
    for job in jobs:
        seeds_of[job.trial].add(job.seed)
    tried = sorted(seeds_of[best])
    # Jobs added by several reports may have other seeds than those of the best.
    numbers = [n for n in seeds_of if seeds_of[best] <= seeds_of[n]]
    numbers.sort(key=lambda n: (known[n].value, n))
    losses = np.full((len(numbers), len(tried)), np.inf)
    for trial in seeds.trials():
        record = TrialRecord.read(trial)
        number, seed = record.retrained_trial, record.seed
        if trial.state == TrialState.COMPLETE and number in numbers and seed in tried:
            losses[numbers.index(number), tried.index(seed)] = trial.value
    return _sensitivity(numbers, tried, losses, [_parameters(study, known[n]) for n in numbers])


def one_se_choice(study: StoredStudy) -> FrozenTrial:
    """Return the trial with the smallest network within one standard error of the best.

    Raises
    ------
    StudyError
        If the best was not trained with other seeds, or no configuration finished with each seed.
    """
    number = read_seed_sensitivity(study).one_se_choice
    if number is None:
        msg = f"no configuration of study {study.name!r} was trained to its end with every seed"
        raise StudyError(msg)
    return study.trials()[number]


def _finished_seeds_study(study: StoredStudy, best: int) -> StoredStudy:
    """Return the seeds study of a search.

    Raises
    ------
    StudyError
        If there is none, it is not done, or it has no jobs of the best trial of the search.
    """
    name = study.name + SEEDS_SUFFIX
    total = registry.total(study.storage, name)
    seeds = None if total is None else load(study.storage, name)
    if seeds is None or all(job.trial != best for job in seeds.record.jobs):
        msg = (
            f"the best of study {study.name!r}, trial {best}, has not been trained with other "
            f"seeds yet: `tuner report {study.name}` does it"
        )
        raise StudyError(msg)
    require_done(seeds)
    return seeds


def _parameters(study: StoredStudy, trial: FrozenTrial) -> int:
    # Imported late: `tuner best` needs torch only for the rule 1se.
    from puffin.models.networks.rnn import build_network

    config = Config.from_dict(TrialRecord.read(trial).config)
    network = build_network(config, len(study.spec.data.inputs), study.spec.training.quantiles)
    return sum(p.numel() for p in network.parameters())


def _sensitivity(
    trials: list[int], seeds: list[int], losses: Floats, parameters: list[int]
) -> SeedSensitivity:
    finished = np.isfinite(losses).all(axis=1)
    smallest, bound = None, float("nan")
    if finished.any():
        choice = one_standard_error(losses[finished], np.array(parameters)[finished])
        smallest, bound = np.array(trials)[finished][choice.chosen].item(), choice.bound
    # A diverged training ranks behind all others.
    ranks = ranks_over_seeds(np.nan_to_num(losses, posinf=np.finfo(np.float64).max), 0)
    return SeedSensitivity(trials, seeds, losses, parameters, ranks, smallest, bound)
