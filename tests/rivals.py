"""Which baselines a test can fit."""

from importlib.util import find_spec

from puffin.models.evaluation.baselines import BASELINES
from puffin.models.features import TARGETS

# Those that forecast a volatility alone.
OF_VOLATILITY = {"har", "lhar", "ewma", "garch", "har_of_all", "lhar_of_all", "ewma_of_all"}
HAS_ARCH = find_spec("arch") is not None
FITTED = sorted(BASELINES if HAS_ARCH else set(BASELINES) - {"garch"})


def forecasts(name: str, target: str) -> bool:
    """Return whether a baseline forecasts a target."""
    return TARGETS[target].is_volatility or name not in OF_VOLATILITY
