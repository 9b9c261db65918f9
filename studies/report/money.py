"""What trading on forecasts would have earned, in words."""

import math

from puffin.models.evaluation.backtest import Backtest, Performance
from puffin.models.evaluation.volatility_timing import Fee
from puffin.studies.report.timing import Timing
from puffin.studies.sections import BacktestSection
from puffin.studies.text import counted, percent, signed

# Long on this share of the bars or more, a strategy is nearly buy-and-hold.
_NEARLY_ALWAYS = 0.95
# A fee of fewer standard errors is not told apart from nothing.
_ERRORS = 2.0


def money_sentence(strategy: Backtest | None, why_none: str | None, rules: BacktestSection) -> str:
    """Return the return of trading on the forecasts beside that of buy-and-hold."""
    if strategy is None:
        return f"There is no backtest of trading: {why_none}."
    own, hold = (signed(b["total_return"]) for b in (strategy, strategy["buy_and_hold"]))
    if not strategy["trades"]:
        return (
            f"{_never_traded(rules)}, so a trader who follows the forecasts stays out of the "
            f"market, while buy-and-hold returned {hold}."
        )
    if _is_buy_and_hold(strategy):
        return (
            f"{_always_long(rules)}, so trading on the forecasts is buy-and-hold: {own} after "
            "costs."
        )
    trades = counted(len(strategy["trades"]), "trade")
    return (
        f"Trading on the forecasts, {_in_the_market(strategy, rules)}, would have returned {own} "
        f"after costs ({trades}, {rules.cost_bps:g} basis points each), and buy-and-hold {hold}."
    )


def earned(strategy: Backtest | None, why_none: str | None, rules: BacktestSection) -> str:
    """Return what trading on the forecasts would have earned beside buy-and-hold."""
    if strategy is None:
        return f"nothing is traded: {why_none}"
    own, hold = (signed(b["total_return"]) for b in (strategy, strategy["buy_and_hold"]))
    trades = len(strategy["trades"])
    if not trades:
        return f"nothing, because {_lower(_never_traded(rules))}; buy-and-hold {hold}"
    if _is_buy_and_hold(strategy):
        return f"{own} after costs, as buy-and-hold, because {_lower(_always_long(rules))}"
    return f"{own} after the costs of {counted(trades, 'trade')}; buy-and-hold {hold}"


def timing_sentence(timing: Timing) -> str:
    """Return what volatility timing returned, and what an investor would pay for it."""
    over_constant, over_rival = timing.over_constant[-1], timing.over_rival[-1]
    return (
        "Volatility timing, a weight that is smaller the more volatility was forecast, would have "
        f"returned {_with_sharpe(timing.winner)} after costs, and its mean weight held constant "
        f"{_with_sharpe(timing.constant)}; an investor with a risk aversion of "
        f"{over_constant.risk_aversion:g} would pay {_fee(over_constant)} for the timing, and "
        f"{_fee(over_rival)} for these forecasts instead of those of {timing.rival_label}."
    )


def earned_by_timing(timing: Timing) -> str:
    """Return what volatility timing would have earned beside a constant weight."""
    return (
        f"{_with_sharpe(timing.winner)} after costs by volatility timing; the same mean weight "
        f"held constant {_with_sharpe(timing.constant)}"
    )


def sharpe_in_words(performed: Performance) -> str:
    """Return an annual Sharpe ratio with its standard error: ``0.51 ± 0.98``."""
    ratio, error = performed["sharpe"], performed["sharpe_error"]
    if math.isnan(ratio):
        return "-"
    return f"{ratio:z.2f}" if math.isnan(error) else f"{ratio:z.2f} ± {error:.2f}"


def fee_in_words(fee: Fee) -> str:
    """Return a fee with its standard error: ``12 ± 80``."""
    if math.isnan(fee.value):
        return "-"
    return f"{fee.value:z,.0f}" + ("" if math.isnan(fee.error) else f" ± {fee.error:,.0f}")


def _with_sharpe(performed: Performance) -> str:
    return f"{signed(performed['total_return'])} (Sharpe ratio {sharpe_in_words(performed)})"


def _fee(fee: Fee) -> str:
    """Return a fee in words, which say whether it is told apart from nothing."""
    paid = f"{fee_in_words(fee)} basis points a year"
    if abs(fee.value) > _ERRORS * fee.error:
        return paid
    return f"nothing that can be told from chance ({paid})"


def position_rule(rules: BacktestSection) -> str:
    """Return when the strategy is in the market: ``long while a rise is forecast and flat ...``."""
    other = "short" if rules.short else "flat"
    if not rules.threshold_bps:
        return f"long while a rise is forecast and {other} otherwise"
    return (
        f"long after a forecast rise{_above(rules)}, {other} after a forecast fall{_above(rules)}, "
        "and in between as before"
    )


def costs_in_words(rules: BacktestSection) -> str:
    """Return the costs of a trade: ``1 basis point of commission and 1 of slippage``."""
    one = rules.commission_bps == 1
    return (
        f"{rules.commission_bps:g} basis point{'' if one else 's'} of commission and "
        f"{rules.slippage_bps:g} of slippage"
    )


def _above(rules: BacktestSection) -> str:
    return f" of more than {rules.threshold_bps:g} basis points" if rules.threshold_bps else ""


def _never_traded(rules: BacktestSection) -> str:
    move = "Neither a rise nor a fall" if rules.short else "A rise"
    return f"{move}{_above(rules)} was {'ever' if rules.short else 'never'} forecast"


def _is_buy_and_hold(strategy: Backtest) -> bool:
    return strategy["exposure"] == 1 and strategy["short"] == 0


def _always_long(rules: BacktestSection) -> str:
    if rules.threshold_bps:
        return f"A fall{_above(rules)} was never forecast after the first rise"
    return "A rise was always forecast"


def _in_the_market(strategy: Backtest, rules: BacktestSection) -> str:
    long = strategy["exposure"] - strategy["short"]
    if strategy["short"] == 1:
        return "short all the time"
    if long >= _NEARLY_ALWAYS:
        return f"long on {percent(long)} of the bars and so nearly buy-and-hold"
    if rules.short:
        return f"long on a forecast rise and short on a forecast fall{_above(rules)}"
    return f"in the market only while a rise{_above(rules)} was forecast"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
