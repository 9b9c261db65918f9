"""Puffin Tuner: find the LSTM or GRU that forecasts prices best, and judge it honestly.

>>> import puffin
>>> study = puffin.search("demo", workers=2)  # doctest: +SKIP
>>> study.best  # doctest: +SKIP

`puffin.models`, `puffin.studies` and `puffin.tuner` are folders at the top of the repository,
linked from here (docs/adr/0001). `puffin.deep` has the tutorial's classes.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from puffin.tuner.api.forecaster import Forecaster, load_forecaster
    from puffin.tuner.api.report import Report
    from puffin.tuner.api.search import open_study, search
    from puffin.tuner.api.study import Study

__all__ = ["Forecaster", "Report", "Study", "load_forecaster", "open_study", "search"]

_HOMES = {
    "Forecaster": "forecaster",
    "Report": "report",
    "Study": "study",
    "load_forecaster": "forecaster",
    "open_study": "search",
    "search": "search",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for now: `import puffin` alone loads neither torch nor Optuna."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"puffin.tuner.api.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
