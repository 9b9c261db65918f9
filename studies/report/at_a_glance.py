"""What one look at a report should say: of what, how good, how sure, and what it would earn."""

import re

from puffin.studies.report.build import Report
from puffin.studies.report.by_symbol import counts_in_words
from puffin.studies.report.document import Card, Facts
from puffin.studies.report.evidence import evidence_in_words
from puffin.studies.report.money import earned, earned_by_timing
from puffin.studies.report.subject import series_name, target_in_words
from puffin.studies.report.verdict import (
    compared,
    in_words,
    looks_before,
    overfitting_risk,
)
from puffin.studies.text import counted, listed, minute, percent, printable, sentence_case


def card(report: Report) -> Card:
    """Return the answer of a report with the facts behind it."""
    data, subject, comparison = report.subject.spec.data, report.subject, report.comparison
    facts = {
        "Forecast": target_in_words(data, series_name(data)),
        "Data": (
            f"{re.sub('^csv ', 'file ', subject.origin)}, {subject.bars:,} bars from "
            f"{subject.first} to {subject.last}"
        ),
        "Judged on": (
            f"the last {report.bars}, {report.first} to {report.last}, kept out of the search"
        ),
        "Against": (
            f"{in_words(comparison.reference)}, on the search bars the best of "
            f"{counted(len(comparison.baselines), 'simple model')}"
        ),
        "How sure": _how_sure(report),
        **_best(report),
        **({"Symbols": counts_in_words(report.by_symbol)} if report.is_basket else {}),
        "Luck": _luck(report),
        "Would have earned": _earned(report),
        "Seal": f"opened {minute(report.looks[-1].time)}; {looks_before(report)}",
    }
    return Card(
        outcome=comparison.outcome,
        headline=_headline(report),
        facts=Facts({name: sentence_case(printable(fact)) for name, fact in facts.items()}),
    )


def _headline(report: Report) -> str:
    comparison = report.comparison
    if comparison.nothing_moves:
        return "Nothing can be judged, because the target never changes on these bars"
    return sentence_case(compared(comparison, "the best simple model"))


def _how_sure(report: Report) -> str:
    if report.comparison.nothing_moves:
        return "a forecast of no change is always right on these bars"
    comparison = report.comparison
    return evidence_in_words(comparison.evidence, in_words(comparison.closest))


def _best(report: Report) -> dict[str, str]:
    """Return which models may be the best, if there are enough bars to tell."""
    best, count = report.comparison.may_be_best, 1 + len(report.comparison.baselines)
    if report.comparison.nothing_moves or not best:
        return {}
    one = "it is" if len(best) == 1 else f"it is one of {len(best)}:"
    return {"The best": f"of {count} models, with 95 % confidence, {one} {listed(best)}"}


def _luck(report: Report) -> str:
    found = report.overfitting
    if found is None:
        return f"unknown: no probability of overfitting, because {report.no_overfitting}"
    return (
        f"the risk is {overfitting_risk(found)}: the probability of overfitting is "
        f"{percent(found.probability, 0)}, and by chance alone {percent(found.chance_level, 0)}"
    )


def _earned(report: Report) -> str:
    if report.timing is not None:
        return earned_by_timing(report.timing)
    return earned(report.backtest, report.no_backtest, report.subject.spec.backtest)
