"""The section of a report on luck: tests over all trials, overfitting, overtuning."""

import math
from collections.abc import Collection

from puffin.models.evaluation.spa import MIN_BARS
from puffin.studies.report.build import Report
from puffin.studies.report.figures.registry import show
from puffin.studies.report.markdown import plain, table
from puffin.studies.text import counted, loss, p_value, percent


def selection_bias(report: Report, pictures: Collection[str]) -> list[str]:
    """Write the section on what the search owes to luck."""
    return [
        "## Luck of the search",
        (
            "A search through many trials finds a good one by luck. This one tried "
            f"{counted(report.n_networks, 'different network')}: {report.n_complete} trained to "
            f"their end and {report.n_networks - report.n_complete} pruned."
        ),
        *_spa(report),
        *_overfitting(report),
        show("overfitting.svg", pictures),
        *_deflated(report),
        *_overtuning(report),
        show("overtuning.svg", pictures),
    ]


def _spa(report: Report) -> list[str]:
    found = report.spa
    title = "### Is any trial better than the baseline?"
    if found is None:
        return [
            title,
            (
                f"Hansen's test needs {MIN_BARS} search bars or more, and as many as the horizon: "
                "there are too few."
            ),
        ]
    return [
        title,
        (
            f"All trials against {plain(report.comparison.reference.label)} on the search folds, "
            "the search through them counted in: how often luck alone gives as much."
        ),
        table(
            ("test", "p"),
            [
                ("Hansen's SPA, consistent", p_value(found.consistent)),
                ("Hansen's SPA, lower", p_value(found.lower)),
                ("Hansen's SPA, upper", p_value(found.upper)),
                ("White's reality check", p_value(found.reality_check)),
            ],
        ),
    ]


def _overfitting(report: Report) -> list[str]:
    found = report.overfitting
    title = "### Does the best stay the best?"
    if found is None:
        return [title, f"There is no probability of overfitting: {report.no_overfitting}."]
    return [
        title,
        (
            f"The probability of overfitting (PBO) is {percent(found.probability, 0)}: in so "
            f"many of {len(found.logits):,} splits of {found.blocks} blocks of bars into halves, "
            "the best trial on one half was no better than the median on the other. It compares "
            f"the {found.trials} trials that were trained to their end. Trials of equal worth get "
            f"{percent(found.chance_level, 0)}."
        ),
    ]


def _deflated(report: Report) -> list[str]:
    found, title = report.deflated_sharpe, "### Is the Sharpe ratio more than the luckiest trial's?"
    if found is None:
        return [title, f"There is none: {plain(report.no_deflated_sharpe)}."]
    if math.isnan(found.probability):
        return [title, "Undefined: what the positions earned varied too little."]
    return [
        title,
        (
            f"The deflated Sharpe ratio is {percent(found.probability)}: the probability that "
            f"the winner's true ratio on the search folds is above {found.threshold:.3f} a bar, "
            f"what the best of {found.trials} trials without skill gets. The winner's is "
            f"{found.sharpe:.3f} over {found.n_returns} bars. The position rule: long where a rise "
            "is forecast, flat otherwise, no costs."
        ),
    ]


def _overtuning(report: Report) -> list[str]:
    found, title = report.overtuning, "### Did it pay to search on?"
    rows = [
        (
            f"trial {number}",
            loss(searched),
            loss(judged),
            loss(excess),
            "-" if math.isnan(relative) else f"{relative:z.2f}",
        )
        for number, searched, judged, excess, relative in zip(
            found.trials,
            found.search_losses,
            found.holdout_losses,
            found.overtuning,
            found.relative_overtuning,
            strict=True,
        )
    ]
    alone = "The first of them stayed the best, so there is no picture." if len(rows) == 1 else ""
    return [
        title,
        (
            "Each trial that was the best so far when it ended. The excess is its holdout loss "
            "above the lowest before; the last column is that as a share of what the search had "
            "won on the holdout. Above 1 the search ended worse than it began; a dash, it had "
            "won nothing."
        ),
        table(("", "search loss", "holdout loss", "excess", "share of the gain"), rows),
        alone,
    ]
