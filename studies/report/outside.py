"""Outside forecasts beside the winner: losses, tests, and whether they may have seen the answer."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.evaluation.forecast_tests import LEVEL
from puffin.models.evaluation.long_run import LongRunTest, long_run_test
from puffin.models.evaluation.metrics import skill
from puffin.studies.dataset import Dataset
from puffin.studies.outside import OutsideFile, join
from puffin.studies.report.document import Section, Table, Text
from puffin.studies.text import loss, p_value, percent, printable, sentence_case, signed, when


@dataclass(frozen=True)
class OutsideResult:
    """An outside forecast on the bars that judge the winner.

    Attributes
    ----------
    name : what the report calls it
    trained_until : last day of which its model had seen data; None if it is not said
    may_have_seen : whether that is not said, or not before the first bar of a judged target
    first : that bar
    loss : mean over dates
    skill : skill of the winner against it
    test : whether the winner forecasts better
    """

    name: str
    trained_until: str | None
    may_have_seen: bool
    first: str
    loss: float
    skill: float
    test: LongRunTest

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON can hold it."""
        return asdict(self) | {"p_worse": self.test.p_worse}


def judge_outside(
    files: Sequence[OutsideFile], judged: Sequence[Dataset], winner: Floats
) -> list[OutsideResult]:
    """Compare outside forecasts with the winner.

    Parameters
    ----------
    files : sequence of OutsideFile
    judged : sequence of Dataset
        With one fold each, in order of time.
    winner : array, (dates,), losses of the winner

    Raises
    ------
    OutsideError
        As `studies.outside.join`.
    """
    first, found = first_bar(judged), []
    for file in files:
        rows = zip(judged, join(file.body, file.name, judged), strict=True)
        losses = np.concatenate([dataset.losses_by_date([values]) for dataset, values in rows])
        found.append(
            OutsideResult(
                name=file.name,
                trained_until=file.trained_until,
                may_have_seen=may_have_seen(file.trained_until, first),
                first=when(first),
                loss=float(losses.mean()),
                skill=skill(float(winner.mean()), float(losses.mean())),
                test=long_run_test(losses - winner),
            )
        )
    return found


def first_bar(judged: Sequence[Dataset]) -> pd.Timestamp:
    """Return the first bar of the targets of datasets; one of several bars begins before its date.

    Parameters
    ----------
    judged : sequence of Dataset
        With one fold each.
    """
    return min(
        pd.Timestamp(part.member.dates[part.fold.valid.start - dataset.horizon + 1])
        for dataset in judged
        for part in dataset.parts[0]
    )


def may_have_seen(trained_until: str | None, first: pd.Timestamp) -> bool:
    """Return whether a model may have seen the judged bars, the first of which is `first`."""
    # A day counts to its end: of bars within a day, those of the last day have been seen.
    return trained_until is None or pd.Timestamp(trained_until) >= first.normalize()


def outside_sentence(results: Sequence[OutsideResult], winner: str) -> str:
    """Return how the best of the outside forecasts compares with the winner, under a name."""
    best = min(results, key=lambda result: result.loss)
    name = f"the outside forecast {printable(best.name)}"
    if len(results) > 1:
        name += f", the best of {len(results)},"
    own = best.loss - best.test.mean
    side = "less" if best.loss < own else "more"
    share = abs(best.loss / own - 1) if own > 0 else np.inf
    if best.test.p_better < LEVEL or best.test.p_worse < LEVEL:
        said = f"{name} had significantly {side} error than {winner} ({percent(share)} {side})"
    else:
        said = f"{name} had {percent(share)} {side} error than {winner}, which may be chance"
    seen = "; its model may have seen these bars" if best.may_have_seen else ""
    return f"{sentence_case(said)}{seen}."


OUTSIDE_COLUMNS = ("outside forecast", "data until", "loss", "skill", "p of better", "p of worse")


def outside_rows(results: Sequence[OutsideResult]) -> list[tuple[str, ...]]:
    """Return a row of `OUTSIDE_COLUMNS` for each outside forecast, the lowest loss first."""
    return [
        (
            printable(result.name),
            _until(result),
            loss(result.loss),
            signed(result.skill),
            p_value(result.test.p_better),
            p_value(result.test.p_worse),
        )
        for result in sorted(results, key=lambda result: result.loss)
    ]


def _until(result: OutsideResult) -> str:
    if result.trained_until is None:
        return "not said"
    return result.trained_until + (" (too late)" if result.may_have_seen else "")


def outside_sections(results: Sequence[OutsideResult], winner: str) -> Iterator[Section]:
    """Yield the section on outside forecasts, if there are any."""
    if not results:
        return
    text = (
        f"These forecasts were made elsewhere and given as files. Skill is that of {winner} "
        "against each of them. Both p-values are one-sided, of the same test as in the table of "
        "simple models. These forecasts take no part in the outcome, because nobody can check what "
        f"their models had seen. The first bar of a judged target is that of {results[0].first}: a "
        "model that had data of that day or later, or does not say, may have seen the answer."
    )
    yield Section("Outside forecasts", [Table(OUTSIDE_COLUMNS, outside_rows(results)), Text(text)])
