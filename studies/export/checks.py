"""Checks of exported figures against recomputed ones, and how far they may differ."""

import math
from dataclasses import dataclass

import torch

from puffin.studies.versions import machine_type

# Tolerance for figures that need no training, relative to the figure but at least this much: other
# machines differ in the rounding of sums and logarithms.
UNTRAINED_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Tolerance:
    """Largest difference of a trained figure on a kind of machine other than the exporting one.

    On the same kind of machine figures must be identical.

    Attributes
    ----------
    rounding : if only the rounding differs: another processor, GPU or version of torch
    generator : if the random numbers differ, too: trained on a GPU, reproduced on a processor,
        which is like training with another seed
    """

    rounding: float
    generator: float


# By kind of figure, in multiples of its unit: the loss itself, 1 for an accuracy, the largest
# weight, the standard deviation of the target for a forecast. Measured between a processor with and
# without its newer instructions: 5e-8 of a loss after 9 epochs, and 4e-7 of a weight. Best epochs
# may differ because early stopping may end elsewhere; texts quote figures that differ.
TOLERANCES = {
    "loss": Tolerance(rounding=1e-3, generator=0.1),
    "accuracy": Tolerance(rounding=0.01, generator=0.1),
    "weight": Tolerance(rounding=0.02, generator=0.02),
    "forecast": Tolerance(rounding=0.02, generator=math.inf),
    "outcome": Tolerance(rounding=0.0, generator=math.inf),
    "text": Tolerance(rounding=math.inf, generator=math.inf),
    "epochs": Tolerance(rounding=math.inf, generator=math.inf),
}


@dataclass(frozen=True)
class Check:
    """An exported figure and the recomputed one.

    Attributes
    ----------
    name : key in config.toml, or file and column
    exported, recomputed : float; for weights, forecasts and scalers 0 and the largest difference,
        for texts 0 and whether they differ (0 or 1)
    bound : largest difference that passes; 0 requires identical figures
    """

    name: str
    exported: float
    recomputed: float
    bound: float

    @property
    def difference(self) -> float:
        """Absolute difference of the two; NaN equals NaN."""
        if math.isnan(self.exported) and math.isnan(self.recomputed):
            return 0.0
        return abs(self.recomputed - self.exported)

    @property
    def passes(self) -> bool:
        """Whether the difference is within the bound; NaN beside a number never is."""
        return self.difference <= self.bound


@dataclass(frozen=True)
class Comparison:
    """Comparison of exported with recomputed figures of a training on a kind of machine.

    Attributes
    ----------
    machine : kind of machine of the exported training
    """

    machine: dict[str, str]

    @property
    def device(self) -> torch.device:
        """The device of this machine that is most like the exporting one."""
        gpu = "gpu" in self.machine and torch.cuda.is_available()
        return torch.device("cuda" if gpu else "cpu")

    def check(
        self, kind: str, name: str, exported: float, recomputed: float, unit: float = 1.0
    ) -> Check:
        """Compare a figure of a kind in `TOLERANCES`."""
        return Check(name, exported, recomputed, self._bound(kind, unit))

    def check_difference(self, kind: str, name: str, difference: float, unit: float = 1.0) -> Check:
        """Check the largest difference of many figures of a kind."""
        return self.check(kind, name, 0.0, difference, unit)

    def check_equal(self, kind: str, name: str, exported: str, recomputed: str) -> Check:
        """Compare texts: 0 if they are equal, and 1 if not."""
        return self.check_difference(kind, name, float(exported != recomputed))

    def _bound(self, kind: str, unit: float) -> float:
        if self.machine == machine_type(self.device):
            return 0.0
        tolerance = TOLERANCES[kind]
        rng_differs = "gpu" in self.machine and self.device.type == "cpu"
        return (tolerance.generator if rng_differs else tolerance.rounding) * unit


def check_untrained(name: str, exported: float, recomputed: float) -> Check:
    """Compare a figure that needs no training."""
    # In this order: max(1.0, NaN) is 1.0, so that an undefined figure equals itself.
    return Check(name, exported, recomputed, UNTRAINED_TOLERANCE * max(1.0, abs(exported)))


def check_same(name: str, exported: object, recomputed: object) -> Check:
    """Compare values that are not numbers: 0 if they are equal, and 1 if not."""
    return Check(name, 0.0, float(exported != recomputed), 0.0)
