"""The section of a report on the prediction intervals: whether they held, at which width."""

import math

from puffin.models.evaluation.coverage import Share
from puffin.models.losses import LOSSES
from puffin.studies.report.build import Report
from puffin.studies.report.document import Section, Table, Text
from puffin.studies.report.figures.registry import Drawn, show
from puffin.studies.report.intervals import HeldIntervals, in_words
from puffin.studies.text import percent


def intervals_section(report: Report, drawn: Drawn) -> Section:
    """Return the section on the intervals of the holdout."""
    found = report.intervals
    if not found:
        return Section("Intervals", [Text(in_words(found))])
    shares = ("level", "inside", "low volatility", "middle", "high")
    widths = ("level", "width", "score", "one width: inside", "width", "score")
    return Section(
        "Intervals",
        [
            Text(in_words(found)),
            *show("coverage.svg", drawn),
            Table(shares, [_shares(one) for one in found]),
            Text(
                "Shares of the bars of the holdout whose actual value was inside the interval, and "
                f"in brackets their 95 % confidence intervals (Wilson){_counted(report)}. The last "
                "three columns have the thirds of the bars by the volatility of the price before "
                "them."
            ),
            Table(widths, [_widths(one) for one in found]),
            Text(
                "Each interval is built from the errors on all bars before it that were forecast "
                "out of sample, in units of how far the target had moved of late; after each miss "
                "the next ones are a little wider, and after each hit a little narrower. For "
                "comparison, intervals of one width are built from the errors on the search folds. "
                "The interval score is the width, and a penalty for each value outside; less is "
                f"better. Widths and scores are in units of {_unit(report)}."
            ),
        ],
    )


def _unit(report: Report) -> str:
    standardised = LOSSES[report.subject.spec.training.loss].standardised
    return "the standardised target" if standardised else "the target"


def _counted(report: Report) -> str:
    """Return which bars count once, because their errors depend on each other."""
    horizon = report.subject.spec.data.horizon
    parts = [
        *(["symbols on one date"] if report.is_basket else []),
        *([f"{horizon} bars that follow each other"] if horizon > 1 else []),
    ]
    return f"; {' and '.join(parts)} count as one" if parts else ""


def _shares(one: HeldIntervals) -> tuple[str, ...]:
    return (percent(one.level, 0), *map(_share, (one.inside, *one.by_volatility)))


def _share(share: Share) -> str:
    if math.isnan(share.share):
        return "-"
    return f"{percent(share.share)} ({100 * share.low:.0f} to {100 * share.high:.0f})"


def _widths(one: HeldIntervals) -> tuple[str, ...]:
    return (
        percent(one.level, 0),
        *map(_number, (one.width, one.score)),
        percent(one.unconditional.share),
        *map(_number, (one.unconditional_width, one.unconditional_score)),
    )


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "infinite"
