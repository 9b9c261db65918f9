"""The section of a report on selection bias: SPA, overfitting, Sharpe ratio, overtuning."""

import math

from puffin.models.evaluation.bootstrap import MIN_BARS
from puffin.models.evaluation.forecast_tests import LEVEL
from puffin.models.evaluation.spa import SpaResult
from puffin.studies.report.build import Report
from puffin.studies.report.document import Block, Heading, Section, Table, Text
from puffin.studies.report.figures.registry import Drawn, show
from puffin.studies.text import counted, loss, p_value, percent


def selection_bias(report: Report, drawn: Drawn) -> Section:
    """Return the section on how much of the winner's score is due to choosing among many."""
    return Section(
        "Selection bias",
        [
            Text(
                "The best of many trials looks good by chance alone. This search tried "
                f"{counted(report.n_networks, 'different network')}: {report.n_complete} complete "
                f"and {report.n_networks - report.n_complete} pruned."
            ),
            *_spa(report),
            *_overfitting(report),
            *show("overfitting.svg", drawn),
            *_deflated(report),
            *_overtuning(report, drawn),
        ],
    )


def _spa(report: Report) -> list[Block]:
    title = Heading("Is any trial better than the best simple model?")
    if report.spa is None:
        return [
            title,
            Text(
                f"Hansen's SPA test needs at least {MIN_BARS} search bars and at least as many as "
                "the horizon, and there are too few."
            ),
        ]
    return [
        title,
        Text(
            "Hansen's test of superior predictive ability (SPA) compares all trials with "
            f"{report.comparison.reference.label} on the search folds and corrects for the "
            f"number of trials: p = {p_value(report.spa.consistent)}, the probability that chance "
            f"alone makes the best trial look this good. {_conclusion(report.spa)}"
        ),
    ]


def _conclusion(result: SpaResult) -> str:
    if not result.consistent < LEVEL:
        return "This is too often to call any trial better."
    return f"This is below {LEVEL}, so at least one trial is better."


def _overfitting(report: Report) -> list[Block]:
    overfitting = report.overfitting
    title = Heading("Does the best trial stay the best on other bars?")
    if overfitting is None:
        return [
            title,
            Text(f"There is no probability of overfitting: {report.no_overfitting}."),
        ]
    return [
        title,
        Text(
            f"The probability of overfitting (PBO) is {percent(overfitting.probability, 0)}: this "
            f"share of {len(overfitting.logits):,} splits of {overfitting.blocks} blocks of bars "
            "into halves, in which the best trial on one half was no better than the median trial "
            f"on the other. It compares the {overfitting.trials} complete trials. If all trials "
            f"were equally good, it would be {percent(overfitting.chance_level, 0)}."
        ),
    ]


def _deflated(report: Report) -> list[Block]:
    deflated, title = report.deflated_sharpe, Heading("Is the Sharpe ratio better than chance?")
    if deflated is None:
        why = report.no_deflated_sharpe
        return [title, Text(f"There is no deflated Sharpe ratio: {why}.")]
    if math.isnan(deflated.probability):
        return [
            title,
            Text("The deflated Sharpe ratio is undefined: the returns vary too little."),
        ]
    return [
        title,
        Text(
            f"The deflated Sharpe ratio is {percent(deflated.probability)}: the probability that "
            "the winner's true Sharpe ratio on the search folds is above "
            f"{deflated.threshold:.3f} per bar, which the best of {deflated.trials} trials without "
            f"skill is expected to reach. The winner's ratio is {deflated.sharpe:.3f}"
            f"{'' if math.isnan(deflated.error) else f' ± {deflated.error:.3f}'} over "
            f"{deflated.n_returns} bars. The position is long if a rise is forecast and flat "
            "otherwise, without costs."
        ),
    ]


def _overtuning(report: Report, drawn: Drawn) -> list[Block]:
    overtuning, title = report.overtuning, Heading("Did the longer search pay off?")
    rows = [
        (
            f"trial {number}",
            loss(search_loss),
            loss(holdout_loss),
            loss(excess),
            "-" if math.isnan(relative) else f"{relative:z.2f}",
        )
        for number, search_loss, holdout_loss, excess, relative in zip(
            overtuning.trials,
            overtuning.search_losses,
            overtuning.holdout_losses,
            overtuning.overtuning,
            overtuning.relative_overtuning,
            strict=True,
        )
    ]
    alone = (
        [Text("The first trial stayed the best, so there is no figure.")] if len(rows) == 1 else []
    )
    return [
        title,
        Text(
            "The table has each trial that was the best so far when it ended. Overtuning is its "
            "holdout loss minus the lowest holdout loss so far. The last column divides it by the "
            "largest improvement on the holdout so far: above 1, the search ended worse than it "
            "began; a dash means that there was no improvement."
        ),
        *show("overtuning.svg", drawn),
        Table(("", "search loss", "holdout loss", "overtuning", "relative"), rows),
        *alone,
    ]
