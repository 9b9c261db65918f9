"""Metrics of a forecast: errors, skill against persistence, direction accuracy."""

import math
from dataclasses import dataclass
from typing import Any

from puffin.models.arrays import of_one_length
from puffin.models.evaluation.direction import Direction, direction


def skill(loss: float, persistence_loss: float) -> float:
    """Return the skill ``1 - loss / persistence_loss``: 0 equals persistence, 1 is perfect.

    The skill score of Murphy (1988), "Skill scores based on the mean square error", Monthly
    Weather Review 116(12), with persistence as the reference forecast. A skill below 0 is worse
    than persistence. NaN if persistence is never wrong.
    """
    return 1.0 - loss / persistence_loss if persistence_loss > 0 else float("nan")


@dataclass(frozen=True)
class Scores:
    """Metrics of a series of forecasts.

    Attributes
    ----------
    count : int, bars that were forecast
    mse, mae, r2 : float, as scikit-learn's; r2 means little for prices, which persistence fits
    persistence_mse : float, of the persistence forecast on the same bars
    skill : float, ``1 - mse / persistence_mse``
    direction : Direction
    """

    count: int
    mse: float
    mae: float
    r2: float
    persistence_mse: float
    skill: float
    direction: Direction

    def __str__(self) -> str:
        """Return the scores as text, one per line."""
        d = self.direction
        skill = f"{self.skill:+.1%}"
        if math.isnan(self.skill):
            skill = "undefined: persistence is never wrong on these bars"
        share = f"{d.accuracy:.1%} ({d.low:.1%} to {d.high:.1%})"
        return "\n".join(
            [
                f"bars                {self.count}",
                f"MSE                 {self.mse:.6g}",
                f"MSE of persistence  {self.persistence_mse:.6g}",
                f"skill               {skill}",
                f"MAE                 {self.mae:.6g}",
                f"R2                  {'undefined' if math.isnan(self.r2) else f'{self.r2:.4f}'}",
                f"direction accuracy  {share if d.moves else 'undefined: no bar moves'}",
            ]
        )


def score(forecast: Any, actual: Any, persistence: Any, horizon: int = 1) -> Scores:
    """Compute the metrics of forecasts.

    Parameters
    ----------
    forecast, actual, persistence : array, list or pandas Series, (n,), in one unit
        `persistence` is the forecast of no change: the last price for a price, 0 for a return.
    horizon : int
        Bars ahead.

    Raises
    ------
    ValueError
        If the lengths or indexes differ or are 0, an index is not in order of time, a value is not
        finite, or `horizon` is below 1.
    """
    # Imported here, because training does not need scikit-learn, which takes a second to import.
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, but is {horizon}")
    forecasts, actuals, last = of_one_length(
        forecast=forecast, actual=actual, persistence=persistence
    )
    if not len(actuals):
        lengths = dict.fromkeys(("forecast", "actual", "persistence"), 0)
        raise ValueError(f"forecasts need values of one length, above 0, but have {lengths}")
    mse = float(mean_squared_error(actuals, forecasts))
    persistence_mse = float(mean_squared_error(actuals, last))
    return Scores(
        count=len(actuals),
        mse=mse,
        mae=float(mean_absolute_error(actuals, forecasts)),
        r2=float(r2_score(actuals, forecasts)) if len(actuals) > 1 else float("nan"),
        persistence_mse=persistence_mse,
        skill=skill(mse, persistence_mse),
        direction=direction(forecasts, actuals, last, horizon),
    )
