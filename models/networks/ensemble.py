"""The mean of several networks of one configuration, as one network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from puffin.models.config import Config
from puffin.models.networks.rnn import build_network

# Names of the weights: those of the first network begin with ``members.0.``.
_PREFIX = "members."


class Ensemble(nn.Module):
    """Networks that were trained with different seeds, which forecast with their mean.

    Quantiles are averaged at each level, so that the mean is as narrow as its members are on
    average (Lichtendahl, Grushka-Cockayne and Winkler 2013, "Is It Better to Average Probabilities
    or Quantiles?", Management Science 59(7)).

    Parameters
    ----------
    members : sequence of Module
        Networks that map windows (batch, bar, feature) to forecasts (batch, output).

    Raises
    ------
    ValueError
        If there is none.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ValueError("members must hold at least one network, but is empty")
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (batch, bar, feature) to the mean forecasts (batch, output)."""
        return torch.stack([member(x) for member in self.members]).mean(dim=0)


def build_ensemble(
    config: Config, input_dim: int, count: int, levels: Sequence[float] = ()
) -> Ensemble:
    """Build `count` untrained networks of a configuration, as `build_network` does."""
    return Ensemble([build_network(config, input_dim, levels) for _ in range(count)])


def named_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of an ensemble by name; those of a network alone get the names of one."""
    if any(name.startswith(_PREFIX) for name in weights):
        return weights
    return {f"{_PREFIX}0.{name}": value for name, value in weights.items()}
