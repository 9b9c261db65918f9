"""Prices from Yahoo by yfinance: within one deadline, told truly, and kept for when it fails.

What yfinance does where things go wrong differs from call to call: an empty frame, an exception of
one of five kinds, or silence for two minutes; and it keeps answers that failed, and gives them
again. Here every failure is an exception that says what happened, and a retry asks again.
"""

import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
from curl_cffi.const import CurlECode
from curl_cffi.requests import Response, Session
from curl_cffi.requests.exceptions import HTTPError, RequestException, Timeout
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
    wait_exponential_jitter,
)

from studies import price_cache
from studies.market import INTERVALS, Market
from studies.price_cache import DamagedError, Fetched, Wanted
from studies.validation import DataError, when

# Seconds that a command waits for prices at most, whatever happens.
DEADLINE = 30.0
_TRIES = 3
# Seconds for one request of prices, and for one of what yfinance asks beside them: cookie, crumb.
_PATIENCE, _ASIDE = 10.0, 3.0
# Seconds before the next try: doubled each time, and longer where Yahoo says "too many requests".
_PAUSE = wait_exponential_jitter(multiplier=0.5, max=8.0)
_LONG_PAUSE = wait_exponential_jitter(multiplier=4.0, max=20.0)
# Yahoo's prices come late by as much at most; a bar is finished when it cannot change any more.
_DELAY = timedelta(minutes=20)
_CHART = "/v8/finance/chart/"
_COLUMNS = {
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Adj Close": "adj_close",
    "Volume": "volume",
    "Dividends": "dividends",
    "Stock Splits": "splits",
}
_NO_BARS = "Yahoo has no prices of these days, or says so"
_ELSEWHERE = (
    'prices that need no network: source = "sample" (AAPL, IBM, MSFT), or source = "csv" with a '
    "file of yours"
)


class YahooError(DataError):
    """Yahoo gave no prices.

    Parameters
    ----------
    reason : str
    again : bool, whether asking again may help
    pause : float or None, seconds after which Yahoo wants to be asked again
    """

    def __init__(self, reason: str, *, again: bool = True, pause: float | None = None) -> None:
        super().__init__(reason)
        self.again = again
        self.pause = pause


class RateLimitedError(YahooError):
    """Yahoo has had too many requests from here."""


def load(wanted: Wanted, *, refresh: bool = False) -> tuple[Fetched, tuple[str, ...]]:
    """Give the bars that are wanted, from Yahoo or from the cache, and say which.

    A copy is used without asking where no bar can have come since it was fetched, and, with its
    age said, where Yahoo gives nothing.

    Parameters
    ----------
    wanted : Wanted
    refresh : bool
        Ask, whatever is kept, and do not make do with it.

    Raises
    ------
    DataError
        If there are no such bars, with the reason and what to do.
    """
    notes: list[str] = []
    try:
        kept = price_cache.read(wanted)
    except DamagedError:
        kept = None
        notes.append("the copy in the cache is damaged, and is not used")
    if kept is not None and not refresh and _is_current(kept, wanted):
        return kept, (f"from the cache, fetched {_age(kept)} ago; --refresh asks again",)
    try:
        fetched = fetch(wanted)
    except YahooError as error:
        if kept is None or refresh:
            raise DataError(_hopeless(wanted, error, kept)) from None
        return kept, (f"{error}: these are from the cache, fetched {_age(kept)} ago",)
    try:
        price_cache.write(wanted, fetched)
    except OSError as error:
        notes.append(f"not kept for later: {price_cache.folder()} cannot be written ({error})")
    return fetched, tuple(notes)


def _hopeless(wanted: Wanted, error: YahooError, kept: Fetched | None) -> str:
    said = f"yfinance {wanted.symbol}: {error}"
    if kept is not None:
        return f"{said}; without --refresh the copy of {_age(kept)} ago is used"
    return f"{said}, and no copy is in the cache; {_ELSEWHERE}" if error.again else said


def _is_current(kept: Fetched, wanted: Wanted) -> bool:
    """Tell whether no bar that is wanted can have come since."""
    now, at = (pd.Timestamp(time).tz_localize(None) for time in (_now(), kept.at))
    local = pd.Timestamp(_now()).tz_convert(kept.market.zone).tz_localize(None)
    begins = pd.date_range(kept.frame.index[-1], local, freq=INTERVALS[wanted.interval])[1:]
    if wanted.end is not None:
        begins = begins[begins < pd.Timestamp(wanted.end) + timedelta(days=1)]
    finished = kept.market.closes(begins, unknown="00:00") + _DELAY
    return not ((finished > at) & (finished <= now)).any()


def _now() -> datetime:
    return datetime.now(UTC)


def _age(kept: Fetched) -> str:
    minutes = max(int((_now() - kept.at).total_seconds() // 60), 0)
    for size, name in ((24 * 60, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = minutes // size
            return f"{count} {name}{'s' * (count > 1)}"
    return "less than a minute"


def fetch(wanted: Wanted) -> Fetched:
    """Ask Yahoo, within `DEADLINE` seconds, and again where that may help.

    Raises
    ------
    YahooError
        With what kept Yahoo from giving these bars.
    """
    begin = time.monotonic()
    retrying = Retrying(
        stop=stop_any(stop_after_attempt(_TRIES), stop_before_delay(DEADLINE)),
        wait=_pause,
        retry=retry_if_exception(lambda error: isinstance(error, YahooError) and error.again),
        reraise=True,
    )
    try:
        return retrying(_ask, wanted, _Session(begin + DEADLINE))
    except YahooError as error:
        tries = int(retrying.statistics["attempt_number"])
        if tries > 1:
            error.args = (f"{error} ({tries} tries in {time.monotonic() - begin:.0f} s)",)
        raise


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, YahooError) and error.pause is not None:
        return error.pause
    return _LONG_PAUSE(state) if isinstance(error, RateLimitedError) else _PAUSE(state)


class _Session(Session[Response]):
    """Requests that keep a deadline, and failures that say what they are.

    Parameters
    ----------
    deadline : float, in seconds of `time.monotonic`
    """

    def __init__(self, deadline: float) -> None:
        super().__init__(impersonate="chrome")
        self._deadline = deadline
        self._silent: set[str] = set()

    def request(self, method: Any, url: str, *args: Any, **options: Any) -> Response:
        """Ask for no longer than is left; cookie and crumb, which prices can do without, shorter.

        Raises
        ------
        YahooError
            If prices were asked for, and the answer is that there are none, or an error.
        RequestException
            If there is no answer.
        """
        host = urlsplit(url).hostname or ""
        is_chart = _CHART in url
        left = self._deadline - time.monotonic()
        if left <= 0 or (host in self._silent and not is_chart):
            raise Timeout(f"no time is left for {host}", CurlECode.OPERATION_TIMEDOUT)
        options["timeout"] = min(left, _PATIENCE if is_chart else _ASIDE)
        try:
            response: Response = super().request(method, url, *args, **options)
        except RequestException:
            if not is_chart:
                self._silent.add(host)
            raise
        if is_chart:
            _require_answer(response)
        return response


def _require_answer(response: Response) -> None:
    """Refuse what is no answer; 401 and 403 are left to yfinance, which then tries new cookies."""
    status = response.status_code
    if status == 429:
        pause = response.headers.get("Retry-After", "")
        raise RateLimitedError(
            "Yahoo has had too many requests from this address (429); wait a while",
            pause=float(pause) if pause.isdigit() else None,
        )
    if status >= 500:
        raise YahooError(f"Yahoo is out of order ({status})")
    if status in {400, 404, 422}:
        raise YahooError(f"Yahoo says: {_reason(response)} ({status})", again=False)


def _reason(response: Response) -> str:
    try:
        return str(response.json()["chart"]["error"]["description"])
    except (ValueError, KeyError, TypeError):
        return "not found" if response.status_code == 404 else "that cannot be asked"


def _ask(wanted: Wanted, session: _Session) -> Fetched:
    """Ask once.

    Raises
    ------
    YahooError
        Whatever happens: yfinance lets through exceptions of its own, of curl and of its parsing.
    """
    import yfinance
    from yfinance.data import YfData
    from yfinance.exceptions import (
        YFInvalidPeriodError,
        YFPricesMissingError,
        YFRateLimitError,
        YFTzMissingError,
    )

    # It keeps answers whatever their status: a retry would see the failure again and ask nothing.
    YfData.cache_get.cache_clear()
    days = {"start": wanted.start, "end": _day_after(wanted.end)}
    span = {"period": wanted.period or "max"} if not any(days.values()) else days
    try:
        with _quiet(yfinance):
            ticker = yfinance.Ticker(wanted.symbol, session=session)
            frame = ticker.history(
                **span,
                interval=wanted.interval,
                auto_adjust=False,
                actions=True,
                keepna=True,
                timeout=_PATIENCE,
            )
            meta = ticker.get_history_metadata()
    except YahooError:
        raise
    except YFRateLimitError:
        raise RateLimitedError("Yahoo has had too many requests from here (429)") from None
    except YFPricesMissingError:
        raise YahooError(_NO_BARS) from None
    except YFTzMissingError:
        raise YahooError("Yahoo does not tell its time zone") from None
    except YFInvalidPeriodError as error:
        raise YahooError(f"Yahoo has no such period: {error}", again=False) from None
    except HTTPError as error:
        raise YahooError(f"Yahoo's answer is {error}") from None
    except RequestException as error:
        raise YahooError(_unreachable(error)) from None
    except Exception as error:
        # A page of HTML, or JSON of another form, comes as whatever its reading stumbles over.
        raise YahooError(
            f"Yahoo's answer cannot be read ({type(error).__name__}: {str(error)[:80]})"
        ) from error
    if frame.empty:
        raise YahooError(_NO_BARS)
    return _fetched(frame, meta, wanted)


@contextmanager
def _quiet(yfinance: Any) -> Iterator[None]:
    """Have yfinance raise what it would print or swallow."""
    log, debug = logging.getLogger("yfinance"), yfinance.config.debug
    level, hides = log.level, debug.hide_exceptions
    log.setLevel(logging.CRITICAL + 1)
    debug.hide_exceptions = False
    try:
        with warnings.catch_warnings():
            # Of pandas 3, and of sockets that the collector closes.
            warnings.simplefilter("ignore")
            yield
    finally:
        debug.hide_exceptions = hides
        log.setLevel(level)


def _unreachable(error: RequestException) -> str:
    words: dict[int, str] = {
        CurlECode.COULDNT_RESOLVE_HOST: "Yahoo's name is not found: is there a network?",
        CurlECode.COULDNT_RESOLVE_PROXY: "the proxy's name is not found",
        CurlECode.COULDNT_CONNECT: "the connection is refused",
        CurlECode.OPERATION_TIMEDOUT: "Yahoo does not answer",
    }
    return words.get(error.code, f"Yahoo cannot be reached ({str(error).partition('. See')[0]})")


def _day_after(day: str | None) -> str | None:
    """Give the end that yfinance wants, which is the first day without bars."""
    return None if day is None else str((pd.Timestamp(day) + timedelta(days=1)).date())


def _fetched(frame: pd.DataFrame, meta: Mapping[str, Any], wanted: Wanted) -> Fetched:
    symbol = str(meta.get("symbol", ""))
    if symbol.upper() != wanted.symbol.upper():
        raise YahooError(
            f"Yahoo gave {symbol or 'a series without a name'} for it: ask for that", again=False
        )
    index = pd.DatetimeIndex(frame.index)
    market = Market(str(index.tz), _session_end(meta, str(index.tz)), wanted.interval)
    bars = frame.rename(columns=_COLUMNS)
    bars = bars[[name for name in _COLUMNS.values() if name in bars]].astype("float64")
    bars.index = index.tz_localize(None).as_unit("us").rename("date")
    now = _now()
    known = market.closes(pd.DatetimeIndex(bars.index), unknown="24:00") + _DELAY
    finished = known <= pd.Timestamp(now).tz_localize(None)
    if not finished.any():
        raise YahooError("Yahoo has no finished bar of these days", again=False)
    return Fetched(bars[finished], market, now)


def _session_end(meta: Mapping[str, Any], zone: str) -> str | None:
    """Read when the regular session ends, by the exchange's clock."""
    try:
        end = pd.Timestamp(meta["currentTradingPeriod"]["regular"]["end"])
    except (KeyError, TypeError, ValueError):
        return None
    local = end.tz_convert(zone) if end.tzinfo else end.tz_localize("UTC").tz_convert(zone)
    return f"{local:%H:%M}"


def describe(fetched: Fetched) -> str:
    """Say when bars were fetched."""
    return f"fetched {when(fetched.at.replace(tzinfo=None, microsecond=0))} UTC"
