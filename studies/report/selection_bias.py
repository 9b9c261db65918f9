"""The section of a report on selection bias: SPA, overfitting, Sharpe ratio, overtuning."""

import math
from collections.abc import Collection

from puffin.models.evaluation.spa import MIN_BARS
from puffin.studies.report.build import Report
from puffin.studies.report.figures.registry import show
from puffin.studies.report.markdown import plain, table
from puffin.studies.text import counted, loss, p_value, percent


def selection_bias(report: Report, pictures: Collection[str]) -> list[str]:
    """Return the section on how much of the winner's score is due to choosing among many."""
    return [
        "## Selection bias",
        (
            "The best of many trials looks good by chance alone. This search tried "
            f"{counted(report.n_networks, 'different network')}: {report.n_complete} complete and "
            f"{report.n_networks - report.n_complete} pruned."
        ),
        *_spa(report),
        *_overfitting(report),
        show("overfitting.svg", pictures),
        *_deflated(report),
        *_overtuning(report),
        show("overtuning.svg", pictures),
    ]


def _spa(report: Report) -> list[str]:
    title = "### Is any trial better than the baseline?"
    if report.spa is None:
        return [
            title,
            (
                f"Hansen's SPA test needs at least {MIN_BARS} search bars and at least as many as "
                "the horizon, and there are too few."
            ),
        ]
    return [
        title,
        (
            "Hansen's test of superior predictive ability (SPA) compares all trials with "
            f"{plain(report.comparison.reference.label)} on the search folds and corrects for the "
            f"number of trials: p = {p_value(report.spa.consistent)}, the probability that chance "
            "alone makes the best trial look this good."
        ),
    ]


def _overfitting(report: Report) -> list[str]:
    overfitting = report.overfitting
    title = "### Does the best trial stay the best on other bars?"
    if overfitting is None:
        return [title, f"There is no probability of overfitting: {report.no_overfitting}."]
    return [
        title,
        (
            f"The probability of overfitting (PBO) is {percent(overfitting.probability, 0)}: this "
            f"share of {len(overfitting.logits):,} splits of {overfitting.blocks} blocks of bars "
            "into halves, in which the best trial on one half was no better than the median trial "
            f"on the other. It compares the {overfitting.trials} complete trials. If all trials "
            f"were equally good, it would be {percent(overfitting.chance_level, 0)}."
        ),
    ]


def _deflated(report: Report) -> list[str]:
    deflated, title = report.deflated_sharpe, "### Is the Sharpe ratio better than chance?"
    if deflated is None:
        why = plain(report.no_deflated_sharpe)
        return [title, f"There is no deflated Sharpe ratio: {why}."]
    if math.isnan(deflated.probability):
        return [title, "The deflated Sharpe ratio is undefined: the returns vary too little."]
    return [
        title,
        (
            f"The deflated Sharpe ratio is {percent(deflated.probability)}: the probability that "
            "the winner's true Sharpe ratio on the search folds is above "
            f"{deflated.threshold:.3f} per bar, which the best of {deflated.trials} trials without "
            f"skill is expected to reach. The winner's ratio is {deflated.sharpe:.3f} over "
            f"{deflated.n_returns} bars. The position is long if a rise is forecast and flat "
            "otherwise, without costs."
        ),
    ]


def _overtuning(report: Report) -> list[str]:
    overtuning, title = report.overtuning, "### Did the longer search pay off?"
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
    alone = "The first trial stayed the best, so there is no figure." if len(rows) == 1 else ""
    return [
        title,
        (
            "The table has each trial that was the best so far when it ended. Overtuning is its "
            "holdout loss minus the lowest holdout loss so far. The last column divides it by the "
            "largest improvement on the holdout so far: above 1, the search ended worse than it "
            "began; a dash means that there was no improvement."
        ),
        table(("", "search loss", "holdout loss", "overtuning", "relative"), rows),
        alone,
    ]
