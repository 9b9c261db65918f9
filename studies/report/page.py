"""The page of a report in words, section by section, as Markdown.

Every figure is one of `verdict.to_json`. A figure that is missing is explained.
"""

import math
from collections.abc import Collection

import numpy as np
from optuna.trial import TrialState

from puffin.models.evaluation.forecast_tests import LEVEL, DirectionTest
from puffin.models.features import TARGETS
from puffin.studies.duplicates import trained
from puffin.studies.report.build import COST_BPS, MOVES, SLIPPAGE_BPS, Report
from puffin.studies.report.figures.registry import show
from puffin.studies.report.importance import importance
from puffin.studies.report.markdown import join, plain, table
from puffin.studies.report.selection_bias import selection_bias
from puffin.studies.report.subject import Subject, series_name, target_in_words
from puffin.studies.report.verdict import looks_before, sentences
from puffin.studies.storage import tickets
from puffin.studies.study import StoredStudy
from puffin.studies.summary import remarks
from puffin.studies.text import counted, loss, minute, p_value, percent, printable, signed

# Complete trials below which the importance of hyperparameters is mostly noise.
_FEW = 50


def write(study: StoredStudy, report: Report, pictures: Collection[str]) -> str:
    """Write the page; `pictures` are the names of those that were drawn."""
    parts = [
        f"# Is the best of {plain(report.study)} any good?",
        *(plain(sentence) for sentence in sentences(report)),
        *_subject(report.subject),
        *_winner(study, report, pictures),
        *_holdout(study, report, pictures),
        *_direction(study, report),
        *_seeds(study, report, pictures),
        *selection_bias(report, pictures),
        *_backtest(report, pictures),
        *_how_to_read(study, report),
    ]
    return join(parts) + "\n"


def _subject(found: Subject) -> list[str]:
    data, holdout = found.spec.data, counted(found.holdout_bars, "bar")
    facts = {
        "Target": f"{target_in_words(data, series_name(data))} ({TARGETS[data.target].unit})",
        "Data": f"{found.origin}, {counted(found.bars, 'bar')} from {found.first} to {found.last}",
        "Features": f"{', '.join(data.inputs)} of each bar",
        "Holdout": f"{holdout} from {found.holdout_first} to {found.holdout_last}",
        "Made with": ", ".join(f"{name} {version}" for name, version in found.made_with.items()),
    }
    dates = [
        (str(number), f"{f.train_first} to {f.train_last}", f"{f.valid_first} to {f.valid_last}")
        for number, f in enumerate(found.folds, start=1)
    ]
    return [
        "## What was forecast",
        "\n".join(f"* {name}: {plain(printable(fact))}" for name, fact in facts.items()),
        table(("fold", "trained on", "validated on"), dates),
    ]


def _winner(study: StoredStudy, report: Report, pictures: Collection[str]) -> list[str]:
    trials = trained(study.trials())
    count, repeated = tickets.count(trials), len(study.trials()) - len(trials)
    repeats = f" Repeated without training: {repeated}." if repeated else ""
    rows = [
        (key, ", ".join(map(str, value)) if isinstance(value, list) else _setting(value))
        for key, value in report.config.items()
    ]
    return [
        "## The winner",
        (
            f"Trial {report.winner}, the lowest of {counted(count['complete'], 'complete trial')}. "
            f"Pruned: {count['pruned']}. Failed: {count['failed']}.{repeats} Its loss "
            f"on the search folds is {loss(report.search_loss)} after "
            f"{counted(report.epochs, 'epoch')}. It was chosen by that loss, which flatters it."
        ),
        _pruned_below(study, report),
        *(_sentence(remark) for remark in remarks(study)),
        table(("hyperparameter", "value"), [*rows, ("epochs", report.epochs)]),
        show("curves.svg", pictures),
        show("losses.svg", pictures),
        _importance(study),
        show("importance.svg", pictures),
    ]


def _setting(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _pruned_below(study: StoredStudy, report: Report) -> str:
    """Say where the pruner gave up what had come lower than the winner ever did."""
    below = [
        t.user_attrs["best_loss"]
        for t in trained(study.trials())
        if t.state == TrialState.PRUNED
        and t.user_attrs.get("best_loss", math.inf) < report.search_loss
    ]
    if not below:
        return ""
    return (
        f"Pruned trials that had come lower than that: {len(below)}, the lowest to "
        f"{loss(min(below))}. Only a complete trial can win."
    )


def _importance(study: StoredStudy) -> str:
    found = importance(study)
    if found.why_none is not None:
        return f"The importance of the hyperparameters is not shown: {found.why_none}."
    return (
        f"The importance of the hyperparameters is Optuna's PED-ANOVA of {found.trials} complete "
        f"trials, the best {found.best} of them against all. Pruned trials are not in it."
        f"{' From so few it is a hint at most.' if found.trials < _FEW else ''}"
    )


def _holdout(study: StoredStudy, report: Report, pictures: Collection[str]) -> list[str]:
    found = report.comparison
    rows = [("winner", loss(report.search_loss), loss(report.loss), "", "", "")]
    rows += [
        (
            rival.label,
            loss(rival.search_loss),
            loss(rival.holdout_loss),
            signed(rival.skill),
            p_value(rival.diebold_mariano.p_better),
            p_value(rival.clark_west.p_better) if rival.clark_west else "-",
        )
        for rival in found.baselines
    ]
    header = ("", "search loss", "holdout loss", "skill of the winner", "p of DM", "p of CW")
    versus = signed(report.skill)
    if math.isnan(report.skill):
        versus = "undefined: persistence is never wrong there"
    return [
        "## The holdout",
        (
            f"{len(report.dates)} bars, {report.first} to {report.last}. The winner was trained "
            f"anew on all search data, for {counted(report.epochs, 'epoch')} with the study's "
            f"own seed. Its skill against persistence is {versus}."
        ),
        table(header, rows),
        (
            f"Losses are the error of the first sentence: {study.spec.training.loss} in units of "
            "the standardised target. Skill is the share by which the winner's loss is lower. The "
            "first baseline did best on the search data and is the one to beat. DM is the test of "
            "Diebold and Mariano with the correction of Harvey, Leybourne and Newbold; CW is that "
            "of Clark and West, valid only for a baseline that is a special case of the network; "
            "the others have a dash. Both are one-sided: p is how often chance alone gives as "
            f"much, and a difference counts where it is below {LEVEL}."
        ),
        _detectable(found.detectable_skill),
        *_looks(report),
        show("forecasts.svg", pictures),
    ]


def _detectable(skill: float) -> str:
    if math.isnan(skill):
        return "How large a skill these bars would show cannot be said: all differences are alike."
    if skill >= 1:
        return "On so many bars even the best of forecasts would often not be shown to be better."
    return (
        f"A true skill of {percent(skill)} would be shown on so many bars four times out of five, "
        "and a smaller one less often."
    )


def _looks(report: Report) -> list[str]:
    rows = [(minute(look.time), look.study, f"trial {look.trial}") for look in report.looks]
    return [
        (
            f"{_sentence(looks_before(report))} All looks at exactly these bars, by any study of "
            "the database, are listed; looks at bars that only overlap them are not counted."
        ),
        table(("time", "study", "winner"), rows),
    ]


def _sentence(text: str) -> str:
    return plain(text[:1].upper() + text[1:] + ".")


def _direction(study: StoredStudy, report: Report) -> list[str]:
    found, test = report.direction, report.direction_test
    target = study.spec.data.target
    if not found.moves:
        return ["## Direction", "No bar of the holdout moved: there is no direction to forecast."]
    moves = "moves" if target in MOVES else f"moves of the {target}"
    rows = [("winner", percent(found.accuracy))]
    rows += [
        (rival.label, percent(rival.direction.accuracy) if rival.direction else "-")
        for rival in report.comparison.baselines
    ]
    return [
        "## Direction",
        (
            f"{percent(found.accuracy)} of {found.moves} {moves} were forecast in the right "
            f"direction; the 95 % interval is {percent(found.low)} to {percent(found.high)}. The "
            "baselines on the same bars; one with a dash never forecasts a move:"
        ),
        table(("", "right direction"), rows),
        _direction_by_chance(test),
        f"Pesaran-Timmermann p: {_direction_p(test)}."
        if test
        else f"There is no Pesaran-Timmermann test: {plain(report.no_direction_test)}.",
    ]


def _direction_by_chance(test: DirectionTest | None) -> str:
    if test is None:
        return ""
    return (
        f"{percent(test.up_share)} of the moves went up, which is what always forecasting a rise "
        f"gets. The winner forecast a rise for {percent(test.forecast_up_share)}; as many rises at "
        f"random get {percent(test.by_chance)}."
    )


def _direction_p(test: DirectionTest) -> str:
    if test.is_defined:
        return f"{p_value(test.p_better)}, one-sided"
    if test.forecast_up_share in (0.0, 1.0):
        return "undefined: all forecasts have one sign"
    if test.up_share in (0.0, 1.0):
        return "undefined: all moves went one way"
    return "undefined: too few moves"


def _seeds(study: StoredStudy, report: Report, pictures: Collection[str]) -> list[str]:
    spread = report.seed_sensitivity
    known = {t.number: t.value for t in study.trials() if t.value is not None}
    rows: list[tuple[object, ...]] = [
        (
            f"trial {number}",
            f"{weights:,}",
            loss(known[number]),
            *(loss(value) for value in losses),
            loss(losses.mean()),
        )
        for number, weights, losses in zip(
            spread.trials, spread.parameters, spread.losses, strict=True
        )
    ]
    rows.append(("rank of the winner", "", "", *spread.ranks, ""))
    seeds = [f"seed {seed}" for seed in spread.seeds]
    choice = (
        "None of them came to its end with each seed, so none is chosen by the standard error."
        if spread.one_se_choice is None
        else f"The smallest network within one standard error over seeds of the best mean (up to "
        f"{loss(spread.one_se_bound)}) is {_choice(report, spread.one_se_choice)}."
    )
    return [
        "## Seeds",
        (
            "The best configurations trained again on the search folds, with seeds that had no "
            "part in choosing them."
        ),
        table(("", "weights", "in the search", *seeds, "mean"), rows),
        choice,
        _refits(report),
        show("seeds.svg", pictures),
    ]


def _choice(report: Report, smallest: int) -> str:
    if smallest == report.winner:
        return "the winner"
    command = f"tuner best {report.study} --rule 1se"
    return f"trial {smallest}: as good by this measure, and `{command}` prints it"


def _refits(report: Report) -> str:
    losses = report.refits[report.refits.trial == report.winner].loss.to_numpy(np.float64)
    return (
        f"On the holdout the winner's loss is {loss(losses.min())} to {loss(losses.max())} over "
        f"{len(losses)} seeds, the study's own with them."
    )


def _backtest(report: Report, pictures: Collection[str]) -> list[str]:
    earned = report.backtest
    if earned is None:
        return ["## Backtest", f"There is no backtest: {plain(report.no_backtest)}."]
    hold = earned["buy_and_hold"]
    rows = [
        ("total return", signed(earned["total_return"]), signed(hold["total_return"])),
        ("Sharpe ratio, a year", _ratio(earned["sharpe"]), _ratio(hold["sharpe"])),
        ("largest fall", percent(earned["max_drawdown"]), percent(hold["max_drawdown"])),
        ("trades", len(earned["trades"]), 1),
        ("bars held", percent(earned["exposure"]), percent(1.0)),
    ]
    return [
        "## Backtest",
        (
            "On the holdout: long where the winner forecasts a rise, flat otherwise. A trade "
            f"costs {COST_BPS:g} basis point of commission and a price that is worse by "
            f"{SLIPPAGE_BPS:g}; buy-and-hold pays that once. Cash earns nothing."
        ),
        table(("", "strategy", "buy-and-hold"), rows),
        show("equity.svg", pictures),
    ]


def _ratio(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:z.2f}"


def _how_to_read(study: StoredStudy, report: Report) -> list[str]:
    hints = [
        "A loss says nothing alone: compare it with those of the baselines on the same bars.",
        "The search loss chose the winner, and the holdout loss did not. Believe the second.",
        (
            "Each trial's best epoch was chosen on the same bars that SPA, PBO and the deflated "
            "Sharpe ratio use. That flatters the trials against the baselines, and is not "
            "corrected."
        ),
        (
            "SPA counts pruned trials where they stopped; with more epochs they might have been "
            "better. PBO leaves them out."
        ),
        (
            "The trials of a search are not independent: later ones learn from earlier ones. "
            "PBO and SPA count them as they are."
        ),
        "The p-values are not corrected for there being several baselines and several tests.",
        "One holdout is one stretch of one market, and worth less where it was looked at before.",
        "No forecast, and no figure on this page, is advice to trade.",
    ]
    if study.spec.data.target == "range":
        hints.insert(
            -1,
            "A range comes back to its mean, so most of its directions are easy: compare the "
            "accuracy with that of the baselines, not with 50 %.",
        )
    if report.deflated_sharpe is not None:
        hints.insert(
            -1,
            "The deflated Sharpe ratio compares with trials without skill, not with buy-and-hold: "
            "a winner that is always long has what the market gave.",
        )
    if report.backtest is not None:
        hints.insert(
            -1, "The backtest fills every trade at the close that the forecast was made at."
        )
    return ["## How to read this", "\n".join(f"* {plain(hint)}" for hint in hints)]
