"""Walk-forward folds: which targets train a network and which targets validate it.

Folds are laid over target times before windows are cut, so that every lookback is scored on the
same targets. They are those of scikit-learn's ``TimeSeriesSplit``, which takes a second to import.
"""

from dataclasses import dataclass

from puffin.models.errors import PuffinError

# Fewest training targets of the first fold: fewer do not fit a network.
MIN_TRAIN_TARGETS = 50


@dataclass(frozen=True)
class Span:
    """Target times ``start <= t < stop``, as bar numbers."""

    start: int
    stop: int

    def __len__(self) -> int:
        """Return the number of targets."""
        return self.stop - self.start


@dataclass(frozen=True)
class Fold:
    """One training part and the validation part after it, `purge` targets apart."""

    train: Span
    valid: Span


@dataclass(frozen=True)
class WalkForward:
    """Layout of the folds.

    Parameters
    ----------
    folds : int
        Validation parts, at least 2.
    valid_bars : int
        Targets in each.
    purge : int
        Targets left out between training and validation. With horizon - 1, no bar of the validation
        part is part of a training label (Lopez de Prado 2018, chapter 7).
    train_bars : int, optional
        Targets in a rolling training part; all targets before the validation part by default.
    """

    folds: int
    valid_bars: int
    purge: int = 0
    train_bars: int | None = None


def first_target(max_lookback: int, warmup: int, horizon: int) -> int:
    """Return the first bar that can be forecast with the longest lookback."""
    return max_lookback + warmup + horizon - 1


def split(bars: int, first: int, layout: WalkForward) -> list[Fold]:
    """Cut the targets ``first <= t < bars`` into folds, oldest first.

    Raises
    ------
    PuffinError
        If the series is too short; the message has the arithmetic.
    """
    least = layout.train_bars or MIN_TRAIN_TARGETS
    need = first + least + layout.purge + layout.folds * layout.valid_bars
    if bars < need:
        msg = (
            f"too few bars: {first} in front (longest lookback, feature warm-up, horizon) + "
            f"{least} to train on + {layout.purge} purged + {layout.folds} folds x "
            f"{layout.valid_bars} = {need} are needed, but {bars} are there before the holdout: "
            "take a longer series, fewer folds, a smaller valid_bars or holdout_bars, "
            "or a shorter lookback"
        )
        raise PuffinError(msg)
    starts = range(bars - layout.folds * layout.valid_bars, bars, layout.valid_bars)
    return [
        Fold(
            _training_span(start - layout.purge, first, layout),
            Span(start, start + layout.valid_bars),
        )
        for start in starts
    ]


def _training_span(stop: int, first: int, layout: WalkForward) -> Span:
    """Return the training part that ends before `stop`."""
    return Span(max(first, stop - (layout.train_bars or stop)), stop)
