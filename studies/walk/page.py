"""The page of a walk, section by section; every number is one of `words.to_json`."""

from puffin.models.evaluation.forecast_tests import LEVEL
from puffin.models.features import TARGETS
from puffin.studies.report.document import Block, Card, Facts, Items, Page, Section, Table, Text
from puffin.studies.report.holdout_section import direction_p
from puffin.studies.report.money import costs_in_words, earned, earned_by_timing, position_rule
from puffin.studies.report.outside import outside_sections
from puffin.studies.report.page import SHARPE_ERROR, performance_table
from puffin.studies.report.subject import series_name, target_in_words
from puffin.studies.report.timing_section import timing_section
from puffin.studies.text import (
    counted,
    p_value,
    percent,
    printable,
    sentence_case,
    signed,
    when,
)
from puffin.studies.walk.figures import Drawn, show
from puffin.studies.walk.verdict import BEFORE, Walk
from puffin.studies.walk.words import (
    ORIGIN_COLUMNS,
    compared,
    constancy_sentence,
    evidence,
    luck_sentence,
    origin_rows,
    promise_sentence,
)


def walk_page(walk: Walk, drawn: Drawn) -> Page:
    """Return the page of a walk, with the figures that were drawn."""
    return Page(
        study=walk.study,
        title=f"Does tuning like {walk.study} pay?",
        card=_card(walk),
        sections=[
            _over_time(walk, drawn),
            _against(walk),
            *outside_sections(walk.outside, "the winners"),
            _origins(walk, drawn),
            _trading(walk, drawn),
            _direction(walk),
            _winners(walk, drawn),
            _how_to_read(walk),
        ],
    )


def _card(walk: Walk) -> Card:
    data, blocks = walk.spec.data, walk.blocks
    trials = counted(walk.spec.tickets, "trial")
    headline = f"{compared(walk)} the best simple model"
    facts = {
        "Forecast": target_in_words(data, series_name(data)),
        "Judged on": (
            f"{counted(len(blocks), 'block')}, {counted(len(walk.losses), 'date')} from "
            f"{when(walk.dates[0])} to {when(walk.dates[-1])}, each after a search of {trials} "
            "that ended before it"
        ),
        "Against": "the simple model that was best before each block",
        "How sure": evidence(walk),
        "Luck": luck_sentence(walk),
        "Over time": constancy_sentence(walk),
        "Promises": promise_sentence(walk),
        "Would have earned": _earned(walk),
    }
    return Card(
        outcome=walk.outcome,
        headline=sentence_case(headline),
        facts=Facts({name: _fact(printable(fact)) for name, fact in facts.items()}),
    )


def _earned(walk: Walk) -> str:
    if walk.timing is not None:
        return earned_by_timing(walk.timing)
    return earned(walk.backtest, walk.no_backtest, walk.spec.backtest)


def _fact(text: str) -> str:
    return sentence_case(text).removesuffix(".")


def _over_time(walk: Walk, drawn: Drawn) -> Section:
    return Section("Over time", [*show("lead.svg", drawn), Text(constancy_sentence(walk))])


def _against(walk: Walk) -> Section:
    rows = [
        (name, signed(gained), p_value(test.p_better), p_value(test.p_worse))
        for name, (gained, test) in walk.against().items()
    ]
    test = walk.test
    chosen = (
        BEFORE,
        signed(walk.skill),
        p_value(test.p_better),
        p_value(test.p_worse),
    )
    header = ("", "skill of the winners", "p of better", "p of worse")
    return Section(
        "Against simple models",
        [
            Table(header, [chosen, *rows]),
            Text(
                "Each simple model is fitted anew at each origin, on the same bars as the winner. "
                "The first row is the verdict: the model to beat is chosen before each block, by "
                "its loss on the folds of the search. Skill is the share by which the winners' "
                "loss is lower. The test is that of Diebold and Mariano; its variance allows for "
                "dependence over time by the equal-weighted cosine estimate of Lazarus, Lewis, "
                f"Stock and Watson (2018), with {counted(test.degrees, 'degree')} of freedom. Both "
                f"p-values are one-sided, and one below {LEVEL} is significant. Better "
                "is said if every p of better is below it, which needs no correction for the "
                "number of simple models; no better and worse are said by the first row alone."
            ),
            Text(luck_sentence(walk)),
            *(Text(f"Left out: {why}.") for why in walk.not_installed),
        ],
    )


def _origins(walk: Walk, drawn: Drawn) -> Section:
    return Section(
        "Promised and obtained",
        [
            *show("promised.svg", drawn),
            Table(ORIGIN_COLUMNS, origin_rows(walk)),
            Text(
                "Promised and obtained are skills against persistence: of the winner on the folds "
                "of its search, and of the mean of its networks over seeds on the block. The first "
                "is optimistic, because the winner was chosen by it; a quiet block is also harder "
                "or easier than the folds before it. Skill is against the simple model that was "
                "best before the block."
            ),
        ],
    )


def _trading(walk: Walk, drawn: Drawn) -> Section:
    strategy, rules = walk.backtest, walk.spec.backtest
    if walk.timing is not None:
        picture = show("equity.svg", drawn)
        return timing_section(walk.timing, walk.spec, len(walk.symbols), picture)
    if strategy is None:
        return Section("Backtest", [Text(f"There is no backtest: {walk.no_backtest}.")])
    parts = " with an equal part of the capital in each symbol" * (len(walk.symbols) > 1)
    return Section(
        "Backtest",
        [
            Text(
                f"The strategy follows the winner of each block{parts}: it is "
                f"{position_rule(rules)}. A position is kept from block to block. Each trade costs "
                f"{costs_in_words(rules)}. Cash earns no interest, and each trade is filled at the "
                "close from which the forecast is made."
            ),
            *show("equity.svg", drawn),
            performance_table(strategy, len(walk.symbols)),
            Text(SHARPE_ERROR),
        ],
    )


def _direction(walk: Walk) -> Section:
    found, test = walk.direction, walk.direction_test
    if not found.moves:
        return Section("Direction", [Text("The target never moves, so it has no direction.")])
    target = walk.spec.data.target
    moves = "moves" if TARGETS[target].is_move else f"moves of the {target}"
    said = (
        f"Pesaran-Timmermann p: {direction_p(test)}. Always forecasting a rise would be right for "
        f"{percent(test.up_share)}."
        if test
        else f"There is no Pesaran-Timmermann test: {walk.no_direction_test}."
    )
    return Section(
        "Direction",
        [
            Text(
                f"The winners forecast {percent(found.accuracy)} of {found.moves} {moves} in the "
                f"right direction (95 % interval: {percent(found.low)} to {percent(found.high)})."
            ),
            Text(said),
        ],
    )


def _winners(walk: Walk, drawn: Drawn) -> Section:
    if not walk.stability:
        return Section("Winners", [Text("No hyperparameter is searched.")])
    rows = [
        (each.name, percent(each.step, 0), percent(each.by_chance, 0)) for each in walk.stability
    ]
    warm = (
        " Here each search began with the winners before it (walk.warm), which makes them stay."
        if walk.is_warm
        else ""
    )
    blocks: list[Block] = [
        *show("winners.svg", drawn),
        Table(("hyperparameter", "mean step", "by chance"), rows),
        Text(
            "The mean step from one winner to the next, as a share of the searched range on its "
            "scale; of a choice, the share of changes. By chance is the step from any trial of an "
            f"origin to any of the next one.{warm}"
        ),
    ]
    return Section("Winners", blocks)


def _how_to_read(walk: Walk) -> Section:
    hints = [
        (
            "The verdict is on the procedure, tuning like this at each origin, and not on one "
            "network: the next winner is another one."
        ),
        (
            "No search, no choice of an epoch and no scaler has seen a bar of the block that "
            "judged it. The holdout of the study has no part in the walk."
        ),
        (
            f"{counted(len(walk.blocks), 'block')} that follow each other are one period of one "
            "market. A walk that is repeated with other settings until it pleases proves nothing."
        ),
        "No forecast and no figure on this page is advice to trade.",
    ]
    return Section("How to read this", [Items(hints)])
