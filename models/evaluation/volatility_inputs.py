"""What models of volatility read: functions of the past that are regressed on the target.

Each row is known at its bar: it depends on this bar and those before.
"""

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.folds import Span
from puffin.models.scaling import safe_std

# Bars of a day, a week and a month of daily bars.
SPANS = (1, 5, 22)
# Decays of an average of all bars. The share of the newest, 1 - decay, is 80 % to 0.5 %.
DECAYS: tuple[float, ...] = tuple((1 - np.geomspace(0.8, 0.005, 24)).tolist())


def averages(values: Floats) -> Floats:
    """Return the means of the last 1, 5 and 22 values, (bars, 3).

    They are NaN where there are fewer values, or one of them is NaN.

    References
    ----------
    Corsi (2009), "A Simple Approximate Long-Memory Model of Realized Volatility", Journal of
    Financial Econometrics 7(2).
    """
    out = np.full((len(values), len(SPANS)), np.nan)
    for column, bars in enumerate(SPANS):
        if len(values) >= bars:
            windows = np.lib.stride_tricks.sliding_window_view(values, bars)
            out[bars - 1 :, column] = windows.mean(axis=1)
    return out


def leverage(returns: Floats) -> Floats:
    """Return the last return if it is negative, else 0, and its size, (bars, 2).

    A fall raises volatility more than a rise. Corsi and Renò (2012) average falls over 1, 5 and 22
    bars. On the search folds of the sample's three stocks the last return alone forecasts ranges
    better, by 0.4 %, and volatilities of closes worse, by 1.1 %.

    References
    ----------
    Corsi and Renò (2012), "Discrete-Time Volatility Forecasting With Persistent Leverage Effect and
    the Link With Continuous-Time Volatility Modeling", Journal of Business & Economic Statistics
    30(3).
    """
    return np.column_stack([np.minimum(returns, 0.0), np.abs(returns)])


def exponential_averages(values: Floats) -> Floats:
    """Return the exponentially weighted average of all values so far for each decay, (bars, decay).

    The first value that is not NaN is the first average.

    References
    ----------
    J.P. Morgan and Reuters (1996), "RiskMetrics - Technical Document", 4th edition.
    """
    first = int(np.argmax(np.isfinite(values)))
    known = values[first:]
    out = np.full((len(values), len(DECAYS)), np.nan)
    for column, decay in enumerate(DECAYS):
        out[first:, column] = _recursion(1 - decay, decay, known, decay * known[0])
    return out


def log_conditional_deviation(returns: Floats, train: Span) -> Floats:
    """Return the log of the next bar's standard deviation by a GARCH(1,1), (bars,).

    Its parameters are those of the largest likelihood of the returns at the bars `train`, with
    normal errors around a constant mean. The first return is NaN, and so is what is known at it.

    Raises
    ------
    ImportError
        If the package arch is not installed.

    References
    ----------
    Bollerslev (1986), "Generalized Autoregressive Conditional Heteroskedasticity", Journal of
    Econometrics 31(3).
    """
    from arch.univariate import GARCH, ConstantMean

    learned = returns[max(train.start, 1) : train.stop]
    scale = float(safe_std(learned))
    # The likelihood is flat in the unit of returns, and of a good shape in that of their deviation.
    model = ConstantMean(learned / scale, volatility=GARCH(p=1, q=1), rescale=False)
    fitted = model.fit(disp="off", show_warning=False)
    mean, omega, alpha, beta = fitted.params.to_numpy()
    squares = (returns[1:] / scale - mean) ** 2
    start = squares[max(train.start, 1) - 1 : train.stop - 1].mean()
    variance = _recursion(1.0, beta, omega + alpha * squares, beta * start)
    return np.append(np.nan, np.log(variance) / 2)


def _recursion(gain: float, decay: float, values: Floats, start: float) -> Floats:
    """Return ``y[t] = gain * values[t] + decay * y[t - 1]``; the last term at 0 is `start`."""
    # Imported here, because training does not need scipy, whose filter takes most of a second.
    from scipy.signal import lfilter

    found, _ = lfilter([gain], [1, -decay], values, zi=[start])
    return np.asarray(found)
