"""The page of a report, section by section.

Every number is one of `verdict.to_json`. If a number is missing, the page gives the reason.
"""

import math

import numpy as np
from optuna.trial import TrialState

from puffin.models.evaluation.backtest import Backtest
from puffin.models.features import TARGETS
from puffin.studies.duplicates import trained
from puffin.studies.records import TrialRecord, WalkRecord
from puffin.studies.report.at_a_glance import card
from puffin.studies.report.build import Report
from puffin.studies.report.document import Block, Facts, Items, Page, Section, Table, Text
from puffin.studies.report.figures.registry import Drawn, show
from puffin.studies.report.forecasts_section import forecasts_section
from puffin.studies.report.holdout_section import direction_section, holdout_section
from puffin.studies.report.importance import TRIALS, importance
from puffin.studies.report.intervals_section import intervals_section
from puffin.studies.report.money import costs_in_words, position_rule, sharpe_in_words
from puffin.studies.report.next_steps import next_steps
from puffin.studies.report.outside import outside_sections
from puffin.studies.report.quantiles import quantile_sections
from puffin.studies.report.selection_bias import selection_bias
from puffin.studies.report.subject import Subject, series_name, target_in_words
from puffin.studies.report.timing_section import timing_section
from puffin.studies.storage.queue import count_by_state
from puffin.studies.study import StoredStudy
from puffin.studies.summary import remarks
from puffin.studies.text import counted, loss, percent, printable, sentence_case, signed

# With fewer complete trials the importance of hyperparameters is mostly noise.
_FEW = 50


def report_page(study: StoredStudy, report: Report, drawn: Drawn) -> Page:
    """Return the page of a report, with the figures that were drawn."""
    return Page(
        study=report.study,
        title=f"Is the best of {report.study} any good?",
        card=card(report),
        sections=[
            forecasts_section(study, report, drawn),
            next_steps(study, report),
            holdout_section(study, report, drawn),
            *outside_sections(report.outside, "the winner"),
            intervals_section(report, drawn),
            *quantile_sections(report.quantiles, report.comparison.reference.label),
            _backtest(report, drawn),
            direction_section(study, report),
            _winner(study, report, drawn),
            _seeds(study, report, drawn),
            *_walk(study),
            selection_bias(report, drawn),
            _subject(report.subject, report.bars),
            _how_to_read(study, report),
        ],
    )


def _subject(subject: Subject, holdout: str) -> Section:
    data = subject.spec.data
    made_with = (f"{name} {version}" for name, version in subject.made_with.items())
    facts = {
        "Target": f"{target_in_words(data, series_name(data))} ({TARGETS[data.target].unit})",
        "Data": f"{subject.origin}, {subject.bars:,} bars from {subject.first} to {subject.last}",
        "Features": f"{', '.join(data.inputs)} of each bar",
        "Holdout": f"{holdout} from {subject.holdout_first} to {subject.holdout_last}",
        "Made with": ", ".join(made_with),
    }
    dates = [
        (str(number), f"{f.train_first} to {f.train_last}", f"{f.valid_first} to {f.valid_last}")
        for number, f in enumerate(subject.folds, start=1)
    ]
    return Section(
        "What was forecast",
        [
            Facts({name: printable(fact) for name, fact in facts.items()}),
            Table(("fold", "trained on", "validated on"), dates),
        ],
    )


def _winner(study: StoredStudy, report: Report, drawn: Drawn) -> Section:
    trials = trained(study.trials())
    count, repeated = count_by_state(trials), len(study.trials()) - len(trials)
    repeats = f" Duplicates, not trained again: {repeated}." if repeated else ""
    rows = [
        (key, ", ".join(map(str, value)) if isinstance(value, list) else _setting(value))
        for key, value in report.config.items()
    ]
    return Section(
        "The search",
        [
            Text(
                f"The winner, trial {report.winner}, has the lowest loss of "
                f"{counted(count['complete'], 'complete trial')}. Pruned: {count['pruned']}. "
                f"Failed: {count['failed']}.{repeats} Its loss on the search folds is "
                f"{loss(report.search_loss)} after {counted(report.epochs, 'epoch')}. This loss is "
                "optimistic, because the winner was chosen by it."
            ),
            *_pruned_below(study, report),
            *(Text(f"{sentence_case(remark)}.") for remark in remarks(study)),
            *show("curves.svg", drawn),
            *show("losses.svg", drawn),
            *show("folds.svg", drawn),
            Table(("hyperparameter", "value"), [*rows, ("epochs", report.epochs)]),
            Text(_importance(study)),
            *show("importance.svg", drawn),
        ],
    )


def _setting(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _pruned_below(study: StoredStudy, report: Report) -> list[Block]:
    """Return how many pruned trials had reached a lower loss than the winner's."""
    below = [
        scores.best_loss
        for t in trained(study.trials())
        if t.state == TrialState.PRUNED
        and (scores := TrialRecord.read(t).scores) is not None
        and scores.best_loss < report.search_loss
    ]
    if not below:
        return []
    return [
        Text(
            f"Pruned trials that had reached a lower loss: {len(below)}, the lowest "
            f"{loss(min(below))}. Only a complete trial can win."
        )
    ]


def _importance(study: StoredStudy) -> str:
    result = importance(study)
    if result.why_none is not None:
        said = f"The importance of the hyperparameters is not shown: {result.why_none}."
        if study.spec.search.pruner != "none" and result.trials < TRIALS:
            said += ' Most trials are pruned; search more of them, or with search.pruner = "none".'
        return said
    return (
        f"The importance of the hyperparameters is computed by Optuna's PED-ANOVA from "
        f"{result.trials} complete trials: the best {result.best} are compared with all of them. "
        f"Pruned trials are left out."
        f"{' With so few trials it is only a hint.' if result.trials < _FEW else ''}"
    )


def _seeds(study: StoredStudy, report: Report, drawn: Drawn) -> Section:
    sensitivity = report.seed_sensitivity
    search_losses = {t.number: t.value for t in study.trials() if t.value is not None}
    rows: list[tuple[object, ...]] = [
        (
            f"trial {number}",
            f"{weights:,}",
            loss(search_losses[number]),
            *(loss(value) for value in losses),
            loss(losses.mean()),
        )
        for number, weights, losses in zip(
            sensitivity.trials, sensitivity.parameters, sensitivity.losses, strict=True
        )
    ]
    rows.append(("rank of the best", "", "", *sensitivity.ranks, ""))
    seeds = [f"seed {seed}" for seed in sensitivity.seeds]
    choice = (
        "Every configuration diverged with at least one seed, so the one-standard-error rule "
        "chooses none."
        if sensitivity.one_se_choice is None
        else "The smallest network whose mean loss is within one standard error of the lowest "
        f"mean (at most {loss(sensitivity.one_se_bound)}) is "
        f"{_choice(report, sensitivity.one_se_choice)}."
    )
    return Section(
        "Seeds",
        [
            Text(
                "The best configurations were trained again on the search folds, with seeds that "
                "were not used to choose them."
            ),
            *show("seeds.svg", drawn),
            Table(("", "weights", "in the search", *seeds, "mean"), rows),
            Text(choice),
            Text(_refits(report)),
        ],
    )


def _walk(study: StoredStudy) -> list[Section]:
    """Return the verdict of the last walk; nothing before the first one."""
    verdict = WalkRecord.read(study.optuna_study)
    if verdict is None:
        return []
    return [
        Section(
            "The walk",
            [
                Text(
                    "The whole search was repeated at points of the past, and each winner judged "
                    "on the block of bars that followed. The holdout had no part in it."
                ),
                Items(verdict.sentences),
            ],
        )
    ]


def _choice(report: Report, smallest: int) -> str:
    return "the winner" if smallest == report.winner else f"trial {smallest}"


def _refits(report: Report) -> str:
    losses = report.refits[report.refits.trial == report.winner].loss.to_numpy(np.float64)
    return (
        f"On the holdout the winner's loss ranges from {loss(losses.min())} to "
        f"{loss(losses.max())} over {len(losses)} seeds, the seed of the study included."
    )


def _backtest(report: Report, drawn: Drawn) -> Section:
    strategy, rules = report.backtest, report.subject.spec.backtest
    if report.timing is not None:
        picture, symbols = show("equity.svg", drawn), len(report.by_symbol)
        return timing_section(report.timing, report.subject.spec, symbols, picture)
    if strategy is None:
        return Section("Backtest", [Text(f"There is no backtest: {report.no_backtest}.")])
    return Section(
        "Backtest",
        [
            Text(
                "On the holdout the strategy follows the forecasts of the winner: it is "
                f"{position_rule(rules)}. Each trade costs {costs_in_words(rules)}; buy-and-hold "
                "pays for one trade. Cash earns no interest."
            ),
            *_portfolio(report),
            *show("equity.svg", drawn),
            performance_table(strategy, len(report.by_symbol)),
            Text(SHARPE_ERROR),
            *_parts(report),
        ],
    )


SHARPE_ERROR = (
    "The standard error after ± allows for returns that depend on each other over time (Lo 2002): "
    "a ratio within twice of it of 0 is not told apart from 0. At the break-even cost of each "
    "trade the strategy would earn nothing."
)


def performance_table(strategy: Backtest, symbols: int) -> Table:
    """Return how a strategy performed beside buying each of its symbols once."""
    hold = strategy["buy_and_hold"]
    rows = [
        ("total return", signed(strategy["total_return"]), signed(hold["total_return"])),
        ("annual Sharpe ratio", sharpe_in_words(strategy), sharpe_in_words(hold)),
        ("maximum drawdown", percent(strategy["max_drawdown"]), percent(hold["max_drawdown"])),
        ("trades", len(strategy["trades"]), symbols),
        ("break-even cost of a trade", _break_even(strategy), ""),
        *([("bars short", percent(strategy["short"]), "")] if strategy["short"] else []),
        ("bars in the market", percent(strategy["exposure"]), percent(1.0)),
    ]
    return Table(("", "strategy", "buy-and-hold"), rows)


def _portfolio(report: Report) -> list[Block]:
    """Return how the capital is divided among the symbols of a basket."""
    if not report.is_basket:
        return []
    return [
        Text(
            f"The capital is divided equally among the {len(report.by_symbol)} symbols at the "
            "start. Each part follows the forecasts of its symbol, and no capital moves between "
            "the parts, so that every cost is counted. Buy-and-hold buys the same parts once."
        )
    ]


def _parts(report: Report) -> list[Block]:
    """Return what each part of the portfolio of a basket returned."""
    if not report.is_basket:
        return []
    rows = [
        (
            printable(symbol),
            signed(part["total_return"]),
            signed(part["buy_and_hold"]["total_return"]),
            len(part["trades"]),
        )
        for symbol, part in report.symbol_backtests.items()
    ]
    return [Table(("symbol", "strategy", "buy-and-hold", "trades"), rows)]


def _break_even(strategy: Backtest) -> str:
    cost = strategy["break_even_bps"]
    if math.isnan(cost):
        return "-"
    return f"{cost:,.1f} basis points" if cost > 0 else "none: a loss even without costs"


def _how_to_read(study: StoredStudy, report: Report) -> Section:
    hints = [
        "A loss says nothing alone: compare it with those of the baselines on the same bars.",
        "The winner was chosen by the search loss, so rely on the holdout loss.",
        (
            "Each trial's best epoch was chosen on the same bars that SPA, PBO and the deflated "
            "Sharpe ratio use. This favours the trials over the baselines and is not corrected."
        ),
        (
            "SPA includes pruned trials as they were when they stopped, although more epochs might "
            "have improved them. PBO leaves them out."
        ),
        (
            "The trials of a search are not independent, because a sampler that learns draws later "
            "trials from the results of earlier ones. PBO and SPA do not correct for this."
        ),
        (
            "Better is said if the winner is significantly better than every baseline, which needs "
            "no correction for their number; no better and worse are said of the first one alone. "
            "Other p-values are not corrected for the number of tests."
        ),
        "A holdout is one period of one market, and proves less if it was looked at before.",
        "No forecast and no figure on this page is advice to trade.",
    ]
    if study.spec.data.target == "range":
        hints.insert(
            -1,
            "A range reverts to its mean, so most of its directions are easy to forecast: compare "
            "the direction accuracy with that of the baselines, not with 50 %.",
        )
    if report.deflated_sharpe is not None:
        hints.insert(
            -1,
            "The deflated Sharpe ratio compares the winner with trials without skill and not with "
            "buy-and-hold: a winner that is always long earns the return of the market.",
        )
    if report.backtest is not None:
        hints.insert(
            -1, "The backtest fills each trade at the same close from which the forecast is made."
        )
    return Section("How to read this", [Items(hints)])
