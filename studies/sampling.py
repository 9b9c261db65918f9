"""How the tickets of a search get their parameters."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from puffin.studies.algorithms import SAMPLERS
from puffin.studies.duplicates import DistinctSampler
from puffin.studies.networks import list_networks
from puffin.studies.space import initial_points
from puffin.studies.spec import Spec


class TicketSampling:
    """The sampler of each ticket, and the parameters that the first tickets fix.

    Parameters
    ----------
    spec : Spec
        Of the search.
    trials : callable
        Returns all trials of the study as they are now.
    first_params : sequence of dict
        Parameters that the first tickets fix before those of `initial_params`.
    """

    def __init__(
        self,
        spec: Spec,
        trials: Callable[[], Sequence[FrozenTrial]],
        first_params: Sequence[dict[str, Any]] = (),
    ) -> None:
        self._spec = spec
        self._trials = trials
        self._first_params = first_params

    @cached_property
    def initial_params(self) -> list[dict[str, Any]]:
        """Parameters that the first tickets fix.

        All points of a grid. Otherwise those with which the study was created, then all networks of
        a small space that is searched at random, in an order that the seed decides, or the default
        networks if the sampler learns from trials, because its own first points would be random.
        """
        if SAMPLERS[self._spec.search.sampler].enumerates:
            return self._spec.grid.points
        first = list(self._first_params)
        return [*first, *(params for params in self._own_params() if params not in first)]

    def _own_params(self) -> list[dict[str, Any]]:
        if SAMPLERS[self._spec.search.sampler].learns:
            return initial_points(self._spec.parsed_space)
        order = np.random.default_rng(self._spec.search.seed).permutation(len(self._networks))
        return [self._networks[i] for i in order]

    def sampler_of(self, ticket: int) -> BaseSampler:
        """Return a sampler seeded by the ticket, so that no two workers and no two runs draw alike.

        Parameters
        ----------
        ticket : int
        """
        entropy = np.random.SeedSequence((self._spec.search.seed, ticket))
        seed = int(entropy.generate_state(1)[0])
        kind = SAMPLERS[self._spec.search.sampler]
        sampler = kind.make(seed)
        if not kind.learns:
            return sampler
        return DistinctSampler(
            sampler, self._spec.parsed_space, self._trials, lambda: self._networks, seed
        )

    @cached_property
    def _networks(self) -> list[dict[str, Any]]:
        """Parameters of every network of the space; empty if they are many."""
        return list_networks(self._spec.parsed_space)
