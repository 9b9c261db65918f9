"""The section of a report on volatility timing."""

from collections.abc import Sequence

from puffin.studies.report.document import Block, Section, Table, Text
from puffin.studies.report.money import costs_in_words, fee_in_words, sharpe_in_words
from puffin.studies.report.timing import Timing
from puffin.studies.spec import Spec
from puffin.studies.text import percent, signed


def timing_section(timing: Timing, spec: Spec, symbols: int, picture: Sequence[Block]) -> Section:
    """Return the section on what the forecasts are worth to an investor."""
    data, rules = spec.data, spec.backtest
    parts = (
        f" The capital is divided equally among {symbols} symbols at the start, and none moves "
        "between them."
        if symbols > 1
        else ""
    )
    return Section(
        "Volatility timing",
        [
            Text(
                f"A {data.target} cannot be bought, but its forecast can size a position: the "
                f"weight of the asset is {rules.max_weight / 2:g} where the forecast {data.target} "
                f"is as high as the root mean square {data.target} of the search part, twice as "
                f"much where it is half as high, and never above {rules.max_weight:g}. It is "
                f"restored at each close, and each trade costs {costs_in_words(rules)}. Cash and "
                f"debt have no interest, as with futures.{parts} Constant is the mean weight of "
                "the winner, held at all bars. The last column has the weights by the forecasts of "
                "the best simple model of the search."
            ),
            *picture,
            _performances(timing),
            _fees(timing),
            Text(
                "The fee, in basis points of the capital a year, is what an investor with "
                "quadratic utility and this relative risk aversion would pay to hold the "
                "winner's position instead of the other (Fleming, Kirby and Ostdiek 2001). "
                "After ± stand standard errors, which allow for returns that depend on each other "
                "over time: what is within two of them of 0 is not told apart from nothing."
            ),
        ],
    )


def _performances(timing: Timing) -> Table:
    held = (timing.winner, timing.constant, timing.rival)
    rows = [
        ("total return", *(signed(each["total_return"]) for each in held)),
        ("annual volatility", *(percent(each["volatility"]) for each in held)),
        ("annual Sharpe ratio", *map(sharpe_in_words, held)),
        ("maximum drawdown", *(percent(each["max_drawdown"]) for each in held)),
        ("mean weight", *(f"{each['exposure']:.2f}" for each in held)),
        ("turnover a year", *(f"{each['turnover']:.1f}" for each in held)),
    ]
    return Table(("", "winner", "constant", timing.rival_label), rows)


def _fees(timing: Timing) -> Table:
    rows = [
        (f"{constant.risk_aversion:g}", fee_in_words(constant), fee_in_words(rival))
        for constant, rival in zip(timing.over_constant, timing.over_rival, strict=True)
    ]
    rival = f"fee, over {timing.rival_label}"
    return Table(("risk aversion", "fee, over constant", rival), rows)
