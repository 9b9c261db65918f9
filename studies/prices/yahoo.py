"""Prices from Yahoo through yfinance, within one deadline and cached on disk.

If a request fails, yfinance returns an empty frame, raises one of five kinds of exception, or
hangs for two minutes; it also caches failed responses. Here every failure is an exception that
states its cause, and a retry sends a new request.
"""

import functools
import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from curl_cffi.const import CurlECode
from curl_cffi.requests.exceptions import HTTPError, RequestException
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
    wait_exponential_jitter,
)

from puffin.studies.prices import cache
from puffin.studies.prices.cache import CorruptCacheError, FetchedPrices
from puffin.studies.prices.calendar import DELAY, IN_UTC, Market, without_zone
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.yahoo_session import (
    PRICES_TIMEOUT,
    RateLimitedError,
    UnavailableError,
    YahooError,
    YahooSession,
)
from puffin.studies.text import when

# Most seconds that a command waits for the prices of one symbol, whatever happens, and for each
# further one: Yahoo refuses more than about 60 requests a minute, of which a symbol needs two.
DEADLINE, EACH = 30.0, 2.0
# After so many symbols without an answer the others are not requested.
_OUTAGE = 3
_TRIES = 3
# Seconds before the next attempt: doubled each time, and longer after "too many requests".
_PAUSE = wait_exponential_jitter(multiplier=0.5, max=8.0)
_LONG_PAUSE = wait_exponential_jitter(multiplier=4.0, max=20.0)
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
_NO_BARS = "Yahoo returned no prices for this date range"
_OTHER_SOURCES = (
    'prices that need no network: source = "sample" (AAPL, IBM, MSFT), or source = "csv" with '
    "your own file"
)


def load(request: PriceRequest) -> tuple[FetchedPrices, tuple[str, ...]]:
    """Return the requested bars, from the cache or from Yahoo, and notes on how they were obtained.

    Cached bars are used without a request if no new bar can have appeared since, and, with a note
    of their age, if Yahoo fails. `request.refresh` ignores them in both cases.

    Raises
    ------
    DataError
        If there are no such bars, with the reason and the fix.
    """
    notes: list[str] = []
    try:
        cached = cache.read(request)
    except CorruptCacheError:
        cached = None
        notes.append("the copy in the cache is damaged, and is not used")
    if cached is not None and not request.refresh and cache.is_current(cached, request, _now()):
        age = cache.age(cached, _now())
        return cached, (
            f"from the cache, fetched {age} ago; --refresh fetches again",
            *cached.notes,
        )
    try:
        fetched = _fetch_in_basket(request)
    except YahooError as error:
        if cached is None or request.refresh:
            raise DataError(_explain_failure(request, error, cached)) from None
        age = cache.age(cached, _now())
        return cached, (f"{error}: these are from the cache, fetched {age} ago", *cached.notes)
    try:
        cache.write(request, fetched)
    except OSError as error:
        notes.append(f"not cached: {cache.cache_folder()} cannot be written ({error})")
    return fetched, (*notes, *fetched.notes)


def _fetch_in_basket(request: PriceRequest) -> FetchedPrices:
    """Fetch bars, unless Yahoo did not answer for the symbols before this one."""
    if len(request.unanswered) >= _OUTAGE:
        raise UnavailableError(f"not requested, as Yahoo answered none of the {_OUTAGE} before it")
    try:
        until = request.requested_at + DEADLINE + EACH * (request.basket - 1)
        fetched = fetch(request, until)
    except UnavailableError:
        request.unanswered.append(request.ticker)
        raise
    request.unanswered.clear()
    return fetched


def _explain_failure(request: PriceRequest, error: YahooError, cached: FetchedPrices | None) -> str:
    message = f"yfinance {request.ticker}: {error}"
    if cached is not None:
        return f"{message}; without --refresh the copy of {cache.age(cached, _now())} ago is used"
    if not error.again:
        return message
    return f"{message}, and no copy is in the cache; {_OTHER_SOURCES}"


def _now() -> datetime:
    return datetime.now(UTC)


def fetch(request: PriceRequest, until: float) -> FetchedPrices:
    """Fetch bars from Yahoo, with retries if they may help, until `until` at the latest.

    Parameters
    ----------
    request : PriceRequest
    until : float, seconds of `time.monotonic`

    Raises
    ------
    YahooError
        If Yahoo returns none, with the reason.
    """
    begin = time.monotonic()
    retrying = Retrying(
        stop=stop_any(stop_after_attempt(_TRIES), stop_before_delay(until - begin)),
        wait=_pause,
        retry=retry_if_exception(lambda error: isinstance(error, YahooError) and error.again),
        reraise=True,
    )
    session = _session()
    session.begin(until)
    try:
        return retrying(_fetch_once, request, session)
    except YahooError as error:
        tries = int(retrying.statistics["attempt_number"])
        if tries > 1:
            error.args = (f"{error} ({tries} tries in {time.monotonic() - begin:.0f} s)",)
        raise


@functools.cache
def _session() -> YahooSession:
    """Return the only session of this process: yfinance keeps the cookie and crumb of its first."""
    return YahooSession()


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, YahooError) and error.pause is not None:
        return error.pause
    return _LONG_PAUSE(state) if isinstance(error, RateLimitedError) else _PAUSE(state)


def _fetch_once(request: PriceRequest, session: YahooSession) -> FetchedPrices:
    """Fetch bars once.

    Raises
    ------
    YahooError
        For every failure: yfinance raises exceptions of its own, of curl and of its parsing.
    """
    import yfinance
    from yfinance.data import YfData
    from yfinance.exceptions import (
        YFInvalidPeriodError,
        YFPricesMissingError,
        YFRateLimitError,
        YFTzMissingError,
    )

    # yfinance caches responses of any status: a retry would return the failure from its cache.
    YfData.cache_get.cache_clear()
    try:
        with _raise_instead_of_logging(yfinance):
            return _history(yfinance.Ticker(request.ticker, session=session), request)
    except YahooError:
        raise
    except YFRateLimitError:
        raise RateLimitedError(
            "Yahoo has had too many requests from this address (HTTP 429)"
        ) from None
    except YFPricesMissingError:
        raise YahooError(_refusal(session) or _NO_BARS) from None
    except YFTzMissingError:
        raise YahooError("Yahoo returned no time zone for it") from None
    except YFInvalidPeriodError as error:
        raise YahooError(f"Yahoo has no such period: {error}", again=False) from None
    except HTTPError as error:
        raise YahooError(f"Yahoo answered with {error}") from None
    except RequestException as error:
        raise UnavailableError(_connection_failure(error)) from None
    except Exception as error:
        # HTML, or JSON of another form, raises whatever yfinance's parsing runs into.
        unread = f"Yahoo's response cannot be read ({type(error).__name__}: {str(error)[:80]})"
        raise YahooError(_refusal(session) or unread) from error


def _history(ticker: Any, request: PriceRequest) -> FetchedPrices:
    frame = ticker.history(
        **_date_arguments(request),
        interval=request.interval,
        auto_adjust=False,
        actions=True,
        keepna=True,
        timeout=PRICES_TIMEOUT,
    )
    if frame.empty:
        raise YahooError(_NO_BARS)
    return _to_prices(frame, ticker.get_history_metadata(), request)


def _refusal(session: YahooSession) -> str | None:
    if session.status in {0, 200}:
        return None
    return f"Yahoo refuses requests from this address (HTTP {session.status})"


@contextmanager
def _raise_instead_of_logging(yfinance: Any) -> Iterator[None]:
    """Make yfinance raise the errors that it would log or swallow."""
    log, debug = logging.getLogger("yfinance"), yfinance.config.debug
    level, hides = log.level, debug.hide_exceptions
    log.setLevel(logging.CRITICAL + 1)
    debug.hide_exceptions = False
    try:
        with warnings.catch_warnings():
            # About pandas 3, and about sockets that the garbage collector closes.
            warnings.simplefilter("ignore")
            yield
    finally:
        debug.hide_exceptions = hides
        log.setLevel(level)


def _connection_failure(error: RequestException) -> str:
    words: dict[int, str] = {
        CurlECode.COULDNT_RESOLVE_HOST: "Yahoo's host name cannot be resolved; check the network",
        CurlECode.COULDNT_RESOLVE_PROXY: "the host name of the proxy cannot be resolved",
        CurlECode.COULDNT_CONNECT: "the connection to Yahoo was refused",
        CurlECode.OPERATION_TIMEDOUT: "Yahoo does not respond",
    }
    return words.get(error.code, f"Yahoo cannot be reached ({str(error).partition('. See')[0]})")


def _date_arguments(request: PriceRequest) -> dict[str, str | None]:
    """Return the dates as arguments of yfinance, whose end is the first day without bars."""
    end = None
    if request.end is not None and request.end <= _now().date():
        end = str(request.end + timedelta(days=1))
    if request.start is not None:
        return {"start": str(request.start), "end": end}
    # With an end alone yfinance would start a month before it.
    return {"period": request.period or "max", "end": end}


def _to_prices(
    frame: pd.DataFrame, meta: Mapping[str, Any], request: PriceRequest
) -> FetchedPrices:
    symbol = str(meta.get("symbol", ""))
    if symbol.upper() != request.ticker:
        raise YahooError(
            f"Yahoo returned {symbol or 'a series without a name'} instead: use that symbol",
            again=False,
        )
    index = pd.DatetimeIndex(frame.index)
    clock, zone_notes = without_zone(index)
    in_utc = zone_notes == [IN_UTC]
    zone = "UTC" if in_utc else str(index.tz)
    market = Market(zone, _session_end(meta, zone), request.interval)
    bars = frame.rename(columns=_COLUMNS)
    bars = bars[[name for name in _COLUMNS.values() if name in bars]].astype("float64")
    bars.index = clock.as_unit("us").rename("date")
    now = _now()
    known = market.known_at(pd.DatetimeIndex(bars.index), default_close="24:00") + DELAY
    finished = known <= pd.Timestamp(now).tz_convert(None)
    traded = bars["close"].notna().to_numpy()
    coming = np.arange(len(bars)) > np.flatnonzero(traded).max(initial=-1)
    # yfinance makes 30-minute bars of shorter ones, with empty bars for the night.
    gap = ~traded & (request.interval == "30m")
    notes = [
        f"the bar of {when(bars.index[mask][0])} {why} yet, and is left out"
        for mask, why in ((~finished, "is not finished"), (coming & finished, "has no prices"))
        if mask.any()
    ]
    notes += zone_notes * in_utc
    bars = bars[finished & ~coming & ~gap]
    if bars.empty:
        raise YahooError("Yahoo has no finished bar in this date range", again=False)
    return FetchedPrices(bars, market, now, tuple(notes))


def _session_end(meta: Mapping[str, Any], zone: str) -> str | None:
    """Return when regular sessions end, in local time: the latest of five, because of half days."""
    try:
        ends = pd.DatetimeIndex(meta["tradingPeriods"]["end"])
    except (KeyError, TypeError, ValueError):
        try:
            ends = pd.DatetimeIndex([meta["currentTradingPeriod"]["regular"]["end"]])
        except (KeyError, TypeError, ValueError):
            return None
    clocks = [f"{end.tz_convert(zone):%H:%M}" for end in ends if not pd.isna(end)]
    # A session that lasts until midnight ends with its day.
    return max(("24:00" if clock == "00:00" else clock for clock in clocks), default=None)


def describe(fetched: FetchedPrices) -> str:
    """Return when bars were fetched, in words."""
    return f"fetched {when(fetched.fetched_at.replace(tzinfo=None, microsecond=0))} UTC"
