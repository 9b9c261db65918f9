"""What to do after a report, with the commands for it."""

import json
import shlex
from collections.abc import Iterator

from puffin.studies.advice import advice
from puffin.studies.report.build import Report
from puffin.studies.report.document import Block, Command, Section, Text
from puffin.studies.report.verdict import in_words
from puffin.studies.study import StoredStudy

# A feature that every file of prices allows.
_FEATURE = "rsi"


def next_steps(study: StoredStudy, report: Report) -> Section:
    """Return the section on what to do next, which depends on the outcome."""
    steps = [*_by_outcome(study, report), *_smaller_network(report), *_always(report)]
    return Section(
        "What to do next",
        [
            *(Text(sentence) for sentence in advice(study)),
            *steps,
            Text(
                "The commands need the database of the study: set TUNER_STORAGE, or add --storage."
            ),
        ],
    )


def _by_outcome(study: StoredStudy, report: Report) -> Iterator[Block]:
    name, is_best = report.study, report.winner == study.best().number
    chosen = () if is_best else ("--trial", str(report.winner))
    if report.comparison.outcome == "better":
        yield Command(
            "Train the winner on all bars, the holdout included, and write it to a folder:",
            _command("export", name, f"exports/{name}-all", "--refit", "all", *chosen),
        )
        yield Command(
            "Forecast the bars after the last one, or after the last of a newer file (--csv):",
            _command("predict", f"exports/{name}-all"),
        )
        return
    best = in_words(report.comparison.reference)
    if report.comparison.outcome == "worse":
        yield Text(f"Do not use this forecaster: {best} forecasts better.")
    elif report.comparison.outcome == "no better":
        yield Text(f"Use a simpler one: {best} forecasts as well.")
    else:
        yield Text("Do not rely on this forecaster yet.")
    setting, purpose = _change(report)
    yield Command(
        purpose, _command("run", "STUDY.toml", "--set", f"name={name}-2", "--set", setting)
    )


def _change(report: Report) -> tuple[str, str]:
    """Return a change of the study file that may lead further, and its purpose."""
    data = report.subject.spec.data
    if data.target == "price":
        return "data.target=return", "Forecast the return, which is easier to learn than a price:"
    if report.comparison.outcome == "undecided":
        bars = 2 * report.subject.holdout_bars
        purpose = (
            "Search again with twice as many bars held back, of which the newer half has now been "
            "looked at. They can tell a smaller lead from chance:"
        )
        return f"walk_forward.holdout_bars={bars}", purpose
    if _FEATURE not in data.features:
        features = json.dumps([*data.features, _FEATURE], separators=(",", ":"))
        return f"data.features={features}", "Try another feature, target or horizon:"
    return f"data.horizon={data.horizon + 4}", "Try another horizon, feature or target:"


def _smaller_network(report: Report) -> Iterator[Block]:
    choice = report.seed_sensitivity.one_se_choice
    if choice in (None, report.winner) or report.comparison.outcome in ("no better", "worse"):
        return
    yield Command(
        f"Trial {choice} is a smaller network, and over seeds about "
        "as good as the winner. Print its configuration:",
        _command("best", report.study, "--rule", "1se"),
    )


def _always(report: Report) -> Iterator[Block]:
    yield Command("Look at every trial in a browser:", "tuner dashboard")
    yield Command(
        "Derive every figure of the export again from its own files:",
        _command("reproduce", f"exports/{report.study}"),
    )


def _command(*words: str) -> str:
    return shlex.join(["tuner", *words])
