"""Duplicate networks: a study trains no network twice.

The same configuration and seed give the same losses bit for bit, so a second training adds no
information. If a sampler proposes a network that was trained or is in training, it is asked for
another proposal. If the space has no other network, the trial repeats the known result and is
marked by `DUPLICATE_OF`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from puffin.models.config import Config
from puffin.studies.records import TrialRecord, is_duplicate, is_finished
from puffin.studies.space import Space, suggest
from puffin.studies.storage.optuna_internals import FIXED_PARAMS

# Number of proposals of a sampler before a network is drawn from the remaining ones.
_PROPOSALS = 4

Points = Callable[[], list[dict[str, Any]]]


def identity(config: dict[str, Any]) -> str:
    """Return a text that is equal for configurations of the same network.

    Multiples of a step like 0.1 differ in their last digits, so floats are rounded.
    """
    return repr({k: f"{v:.12g}" if isinstance(v, float) else v for k, v in config.items()})


def trained(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that are not duplicates."""
    return [trial for trial in trials if not is_duplicate(trial)]


def distinct(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return one finished trial per network: the best complete one, or else the first.

    Two workers may have trained one network at the same time.
    """
    by_network: dict[str, FrozenTrial] = {}
    for trial in sorted(trained(trials), key=_rank):
        by_network.setdefault(identity(TrialRecord.read(trial).config), trial)
    return sorted(by_network.values(), key=lambda t: t.number)


def find_trained(trials: Iterable[FrozenTrial], config: Config) -> FrozenTrial | None:
    """Return the best complete or pruned trial of a network, or None."""
    wanted = identity(config.to_dict())
    ended = (t for t in trained(trials) if t.state in (TrialState.COMPLETE, TrialState.PRUNED))
    same = (t for t in ended if identity(TrialRecord.read(t).config) == wanted)
    return min(same, key=_rank, default=None)


def _rank(trial: FrozenTrial) -> tuple[bool, float, int]:
    """Return a key that sorts complete trials by loss, then the others by number."""
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return False, trial.value, trial.number
    return True, 0.0, trial.number


class DistinctSampler(BaseSampler):
    """Wraps a sampler and rejects proposals of networks that the study has already.

    All parameters are proposed at once, so that nothing is stored of a rejected proposal. If the
    sampler proposes nothing new, the network is drawn from the remaining ones; if none remains, it
    is drawn from those with a known result.

    Parameters
    ----------
    sampler : BaseSampler
    space : Space
    trials : callable
        Returns all trials of the study; a sampler may be given only some of them.
    networks : callable
        Returns the parameters of every network of the space, or none if they are too many.
    seed : int
        Of the draws.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        space: Space,
        trials: Callable[[], Sequence[FrozenTrial]],
        networks: Points,
        seed: int,
    ) -> None:
        self._sampler = sampler
        self._space = space
        self._trials = trials
        self._networks = networks
        self._random = np.random.default_rng(seed)
        self._proposal: _Proposal | None = None

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Choose all parameters, and return their distributions."""
        self._proposal = self._choose(study, trial)
        return self._proposal.distributions

    def sample_relative(
        self,
        study: Study,  # noqa: ARG002  # the signature of a sampler
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        """Return the chosen parameters."""
        return {} if self._proposal is None else self._proposal.params

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample one parameter."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Call the hook of the wrapped sampler."""
        self._sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Call the hook of the wrapped sampler."""
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Reseed the wrapped sampler."""
        self._sampler.reseed_rng()

    def _choose(self, study: Study, trial: FrozenTrial) -> "_Proposal":
        known, running = _taken(self._trials())
        for _ in range(_PROPOSALS):
            proposal = _Proposal(self._sampler, study, trial)
            network = identity(suggest(proposal, self._space).to_dict())
            if network not in known | running:
                return proposal
        points = {self._identity(point): point for point in self._networks()}
        left = [name for name in points if name not in known | running]
        if not left and network not in known:
            left = [name for name in points if name in known]
        if not left:
            return proposal
        drawn = points[left[int(self._random.integers(len(left)))]]
        proposal = _Proposal(self._sampler, study, trial, drawn)
        suggest(proposal, self._space)
        return proposal

    def _identity(self, point: dict[str, Any]) -> str:
        return identity(suggest(FixedTrial(point), self._space).to_dict())


def _taken(trials: Iterable[FrozenTrial]) -> tuple[set[str], set[str]]:
    """Return the networks with a known result, and those that failed or are in training."""
    known, others = set[str](), set[str]()
    for trial in trials:
        if not (config := TrialRecord.read(trial).config):
            continue
        ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        if ended or trial.state == TrialState.RUNNING or is_finished(trial):
            (known if ended else others).add(identity(config))
    return known, others - known


class _Proposal:
    """A `Suggester` that asks a sampler as Optuna does, and stores nothing.

    Attributes
    ----------
    params, distributions : dict
        Of the parameters suggested so far.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        study: Study,
        trial: FrozenTrial,
        given: dict[str, Any] | None = None,
    ) -> None:
        self._sampler = sampler
        self._study = study
        self._trial = trial
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        if given is None:
            space = sampler.infer_relative_search_space(study, trial)
            given = sampler.sample_relative(study, trial, space)
        self._given = given | trial.system_attrs.get(FIXED_PARAMS, {})

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._sample(name, CategoricalDistribution(choices))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return int(self._sample(name, IntDistribution(low, high, log, step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._sample(name, FloatDistribution(low, high, log, step)))

    def _sample(self, name: str, distribution: BaseDistribution) -> Any:
        value = self._given.get(name)
        if value is None:
            value = self._sampler.sample_independent(self._study, self._trial, name, distribution)
        self.params[name], self.distributions[name] = value, distribution
        return value
