"""The sections of a report on the holdout: losses, significance, looks and directions."""

import math
from statistics import fmean

from puffin.models.evaluation.bootstrap import MIN_BARS
from puffin.models.evaluation.direction import DirectionTest
from puffin.models.evaluation.forecast_tests import LEVEL
from puffin.models.features import TARGETS
from puffin.studies.openings import Opening, outside_name
from puffin.studies.report.build import Report
from puffin.studies.report.document import Block, Heading, Section, Table, Text
from puffin.studies.report.figures.registry import Drawn, show
from puffin.studies.report.subject import loss_in_words
from puffin.studies.report.verdict import looks_before
from puffin.studies.study import StoredStudy
from puffin.studies.text import (
    counted,
    in_words,
    listed,
    loss,
    minute,
    p_value,
    percent,
    printable,
    sentence_case,
    signed,
)


def holdout_section(study: StoredStudy, report: Report, drawn: Drawn) -> Section:
    """Return the section on the losses of winner and baselines on the holdout."""
    losses, p = map(loss, (report.search_loss, report.loss)), p_value(report.comparison.mcs_p)
    rows = [("winner", *losses, "", "", "", p)]
    rows += [
        (
            baseline.label,
            loss(baseline.search_loss),
            loss(baseline.holdout_loss),
            signed(baseline.skill),
            p_value(baseline.test.p_better),
            p_value(baseline.clark_west.p_better) if baseline.clark_west else "-",
            p_value(baseline.mcs_p),
        )
        for baseline in report.comparison.baselines
    ]
    tests = ("p of better", "p of CW", "p of MCS")
    header = ("", "search loss", "holdout loss", "skill of the winner", *tests)
    skill, degrees = signed(report.skill), report.comparison.reference.test.degrees
    if math.isnan(report.skill):
        skill = "undefined, because persistence is always right there"
    return Section(
        "Against simple models",
        [
            *show("baselines.svg", drawn),
            *show("lead.svg", drawn),
            Table(header, rows),
            Text(
                f"{report.bars}, {report.first} to {report.last}. {_networks(report)} Its skill "
                f"against persistence is {skill}."
            ),
            Text(
                f"The loss is the {loss_in_words(study.spec.training)}, which the "
                "top of this page calls error. Skill is the share by which the winner's loss is "
                "lower than the baseline's. The first baseline has the lowest search loss and is "
                "the one to beat. The p of better is that of Diebold and Mariano's test, whose "
                "variance allows for dependence over time by the equal-weighted cosine estimate of "
                f"Lazarus, Lewis, Stock and Watson (2018), with {counted(degrees, 'degree')} of "
                "freedom. CW is the test of Clark and West, which is valid only for the loss mse, "
                "and if the baseline is a special case of the network; other baselines have a "
                "dash. Both are one-sided: p is the probability that chance alone gives such a "
                f"lead of the winner, and a lead is significant if p is below {LEVEL}."
            ),
            Text(_confidence_set(report)),
            Text(_detectable(report.comparison.evidence.detectable_skill)),
            *(Text(f"Left out: {why}.") for why in report.comparison.not_installed),
            *_symbols(study, report, drawn),
            *_looks(report),
        ],
    )


def _networks(report: Report) -> str:
    """Return which networks forecast, and how much their losses differ."""
    epochs, losses = counted(report.epochs, "epoch"), report.network_losses
    if len(losses) == 1:
        return f"The winner was trained again on all search data, for {epochs}."
    return (
        f"The winner is the mean of {len(losses)} networks, which were trained again on all search "
        f"data for {epochs}, each with another seed. One of them alone has a loss of "
        f"{loss(min(losses))} to {loss(max(losses))}, on average {loss(fmean(losses))}."
    )


def _symbols(study: StoredStudy, report: Report, drawn: Drawn) -> list[Block]:
    """Return the results by symbol, of a basket only."""
    if not report.is_basket:
        return []
    is_last = report.comparison.reference.name == "persistence"
    rows = [
        (
            printable(result.symbol),
            result.bars,
            loss(result.loss),
            loss(result.reference_loss),
            *([] if is_last else [loss(result.persistence_loss)]),
            signed(result.skill),
            p_value(result.p_better),
            p_value(result.p_holm),
        )
        for result in report.by_symbol
    ]
    best = report.comparison.reference.label
    last = () if is_last else ("persistence",)
    header = ("symbol", "bars", "winner", best, *last, "skill", "p of better", "p of Holm")
    return [
        Heading("Symbol by symbol"),
        *show("symbols.svg", drawn),
        Table(header, rows),
        Text(
            "All losses and tests above are of the mean over the symbols of each date: symbols "
            "move together, so that their losses on one date are one observation (Qu, Timmermann "
            "and Zhu 2024). The table has the losses of each symbol alone, and the skill of the "
            f"winner against {best}. Of {len(rows)} symbols some have a low p by chance, so p of "
            "Holm is adjusted for their number: only a symbol for which it is below "
            f"{LEVEL} is better by itself.{_absent(study, report)}"
        ),
    ]


def _absent(study: StoredStudy, report: Report) -> str:
    """Return which symbols of the study take no part in the holdout."""
    judged = {result.symbol for result in report.by_symbol}
    symbols = [member.symbol for member in study.holdout_dataset.members]
    absent = [printable(symbol) for symbol in symbols if symbol not in judged]
    if not absent:
        return ""
    why = "because of too few bars before the holdout or none in it"
    return f" Not judged, {why}: {in_words(absent)}."


def _confidence_set(report: Report) -> str:
    """Return which models may be the best."""
    best, count = report.comparison.may_be_best, 1 + len(report.comparison.baselines)
    if not best:
        return f"There is no model confidence set: it needs at least {MIN_BARS} bars."
    these = "this is" if len(best) == 1 else f"these {len(best)} are"
    return (
        "MCS is the model confidence set of Hansen, Lunde and Nason (2011), which compares winner "
        f"and simple models with each other: with a confidence of {percent(1 - LEVEL, 0)} the best "
        f"of all {count} is one of those whose p is at least {LEVEL}. Here {these} {listed(best)}. "
        "The set compares all models with all, so a winner that is better than each may share it."
    )


def _detectable(skill: float) -> str:
    if math.isnan(skill):
        return (
            "The detectable skill is unknown, because the losses of winner and baseline differ by "
            "the same amount on every bar."
        )
    if skill >= 1:
        return "With this many bars even a perfect forecast would often not be significant."
    return (
        f"With this many bars a true skill of {percent(skill)} is significant four times out of "
        "five, and a smaller skill less often."
    )


def _looks(report: Report) -> list[Block]:
    rows = [(minute(look.time), look.study, _of(look)) for look in report.looks]
    said = looks_before(report)
    return [
        Text(
            f"{sentence_case(said)}. The table lists every look at exactly these bars by "
            "any study of the database. Looks at bars that only overlap them are not counted."
        ),
        Table(("time", "study", "of"), rows),
    ]


def _of(look: Opening) -> str:
    """Return what was judged by a look."""
    name = outside_name(look)
    return f"trial {look.trial}" if name is None else f"outside forecast {printable(name)}"


def direction_section(study: StoredStudy, report: Report) -> Section:
    """Return the section on the directions of the moves on the holdout."""
    direction, test = report.direction, report.direction_test
    target = study.spec.data.target
    if not direction.moves:
        no_moves = "The target never moves on the holdout, so there is no direction to forecast."
        return Section("Direction", [Text(no_moves)])
    moves = "moves" if TARGETS[target].is_move else f"moves of the {target}"
    accuracy, low, high = (
        percent(share) for share in (direction.accuracy, direction.low, direction.high)
    )
    rows = [("winner", accuracy)]
    rows += [
        (baseline.label, percent(baseline.direction.accuracy) if baseline.direction else "-")
        for baseline in report.comparison.baselines
    ]
    said = (
        f"Pesaran-Timmermann p: {direction_p(test)}. The variance of the test allows for moves and "
        "forecasts that depend on their past, and for symbols that move together."
        if test
        else f"There is no Pesaran-Timmermann test: {report.no_direction_test}."
    )
    return Section(
        "Direction",
        [
            Text(
                f"The winner forecast {accuracy} of {direction.moves} {moves} in the right "
                f"direction (95 % interval: {low} to {high}).{_best_direction(report)} The table "
                "has the simple models on the same bars; a dash means that the model never "
                "forecasts a move."
            ),
            Table(("", "right direction"), rows),
            *([Text(_direction_by_chance(test))] if test else []),
            Text(said),
        ],
    )


def _best_direction(report: Report) -> str:
    """Return the highest direction accuracy of a simple model, which the winner's has to exceed."""
    found = [(b.direction.accuracy, b.label) for b in report.comparison.baselines if b.direction]
    if not found:
        return ""
    accuracy, label = max(found)
    return f" Of the simple models {label} was right most often, for {percent(accuracy)}."


def _direction_by_chance(test: DirectionTest) -> str:
    return (
        f"{percent(test.up_share)} of the moves were rises, so always forecasting a rise would be "
        f"right for {percent(test.up_share)}. The winner forecast a rise for "
        f"{percent(test.forecast_up_share)} of the moves; random forecasts with the same share of "
        f"rises would be right for {percent(test.by_chance)}."
    )


def direction_p(test: DirectionTest) -> str:
    """Return the p-value of a test of directions, or why there is none."""
    if test.is_defined:
        return f"{p_value(test.p_better)}, one-sided"
    if test.forecast_up_share in (0.0, 1.0):
        return "undefined, because all forecasts have the same sign"
    if test.up_share in (0.0, 1.0):
        return "undefined, because all moves have the same sign"
    return "undefined, because the moves are too few, or of each symbol of the same sign"
