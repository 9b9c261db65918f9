"""What the tests of a forecast say, in words; a report and a walk say it alike."""

import math

from puffin.models.evaluation.forecast_tests import LEVEL
from puffin.models.evaluation.long_run import FEWEST
from puffin.models.evaluation.outcome import MARGIN, Evidence
from puffin.studies.text import percent

# A smaller p-value would be written as 0.
_SMALLEST_P = 0.001


def evidence_in_words(evidence: Evidence, closest: str) -> str:
    """Return why the outcome is what it is.

    Parameters
    ----------
    evidence : Evidence
    closest : str
        In words, the simple model against which a lead is least certain.
    """
    test, outcome = evidence.reference, evidence.outcome
    if not test.is_defined:
        return _untested(test.count)
    if outcome == "better":
        p = evidence.p_of_all
        return (
            "chance alone gives a lead over every simple model in "
            f"{'at most ' if p >= _SMALLEST_P else ''}{_share(p)} of cases"
        )
    chance = "chance alone gives such a difference in"
    chance = f"{chance} {_share(test.p_better if test.mean > 0 else test.p_worse)} of cases"
    if outcome == "worse":
        return chance
    if outcome == "no better":
        return (
            f"with a confidence of {percent(1 - LEVEL, 0)} the true lead is at most "
            f"{percent(evidence.most_skill)}, and one below {percent(MARGIN, 0)} counts as none"
        )
    if test.p_better < LEVEL:
        return f"{chance}, but {_against(evidence, closest)}"
    return f"{chance}, too often to decide{_missed(evidence.detectable_skill)}"


def _untested(bars: int) -> str:
    if bars < FEWEST:
        return f"a test needs at least {FEWEST} bars"
    return "the difference is the same on every bar, so no test can tell whether it is chance"


def _against(evidence: Evidence, closest: str) -> str:
    """Return how the winner stands against the model that keeps it from being better."""
    test = evidence.rivals[evidence.closest]
    if test.mean < 0:
        return f"{closest}, another simple model, had even less error there"
    if not test.is_defined:
        return f"it forecast as {closest}, another simple model"
    return f"a lead like that over {closest}, another simple model, in {_share(test.p_better)}"


def _missed(skill: float) -> str:
    """Return which true skill so few bars may miss, as the end of a sentence."""
    if math.isnan(skill):
        return ""
    if skill >= 1:
        return ", and on so few bars even a perfect forecast would often be missed"
    return (
        f", and on so few bars a true lead below {percent(skill)} would be missed more often than "
        "one time in five"
    )


def _share(p: float) -> str:
    return "fewer than 0.1 %" if p < _SMALLEST_P else percent(p)
