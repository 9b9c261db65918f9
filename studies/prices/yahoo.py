"""Prices from Yahoo by yfinance: within one deadline, told truly, and kept for when it fails.

What yfinance does where things go wrong differs from call to call: an empty frame, an exception of
one of five kinds, or silence for two minutes; and it keeps answers that failed, and gives them
again. Here every failure is an exception that says what happened, and a retry asks again.
"""

import functools
import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import numpy as np
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

from puffin.studies.prices import cache
from puffin.studies.prices.cache import BarsRequest, CorruptCacheError, FetchedPrices
from puffin.studies.prices.calendar import DELAY, IN_UTC, Market, without_zone
from puffin.studies.prices.validation import DataError
from puffin.studies.text import when

# Seconds that a command waits for prices at most, whatever happens.
DEADLINE = 30.0
_TRIES = 3
# Seconds for one request of prices, and for one of what yfinance asks beside them: cookie, crumb.
_TIMEOUT, _SIDE_TIMEOUT, _LEAST_TIMEOUT = 10.0, 3.0, 0.05
# What yfinance asks for to know when sessions end.
_SESSIONS = "5d"
# Seconds before the next try: doubled each time, and longer where Yahoo says "too many requests".
_PAUSE = wait_exponential_jitter(multiplier=0.5, max=8.0)
_LONG_PAUSE = wait_exponential_jitter(multiplier=4.0, max=20.0)
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
_OTHER_SOURCES = (
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


def load(
    request: BarsRequest, until: float, *, refresh: bool = False
) -> tuple[FetchedPrices, tuple[str, ...]]:
    """Give the bars that are wanted, from Yahoo or from the cache, and say which.

    A copy is used without asking where no bar can have come since it was fetched, and, with its
    age said, where Yahoo gives nothing.

    Parameters
    ----------
    request : BarsRequest
    until : float
        When to give up, by `time.monotonic`.
    refresh : bool
        Ask, whatever is kept, and do not make do with it.

    Raises
    ------
    DataError
        If there are no such bars, with the reason and what to do.
    """
    notes: list[str] = []
    try:
        kept = cache.read(request)
    except CorruptCacheError:
        kept = None
        notes.append("the copy in the cache is damaged, and is not used")
    if kept is not None and not refresh and cache.is_current(kept, request, _now()):
        ago = f"from the cache, fetched {cache.age(kept, _now())} ago; --refresh asks again"
        return kept, (ago, *kept.notes)
    try:
        fetched = fetch(request, until)
    except YahooError as error:
        if kept is None or refresh:
            raise DataError(_explain_failure(request, error, kept)) from None
        ago = f"{error}: these are from the cache, fetched {cache.age(kept, _now())} ago"
        return kept, (ago, *kept.notes)
    try:
        cache.write(request, fetched)
    except OSError as error:
        notes.append(f"not kept for later: {cache.cache_folder()} cannot be written ({error})")
    return fetched, (*notes, *fetched.notes)


def _explain_failure(request: BarsRequest, error: YahooError, kept: FetchedPrices | None) -> str:
    said = f"yfinance {request.symbol}: {error}"
    if kept is not None:
        return f"{said}; without --refresh the copy of {cache.age(kept, _now())} ago is used"
    return f"{said}, and no copy is in the cache; {_OTHER_SOURCES}" if error.again else said


def _now() -> datetime:
    return datetime.now(UTC)


def fetch(request: BarsRequest, until: float) -> FetchedPrices:
    """Ask Yahoo, and again where that may help, but no longer than `until`.

    Raises
    ------
    YahooError
        With what kept Yahoo from giving these bars.
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
def _session() -> "_Session":
    """Give the one session of this process: yfinance keeps the cookie and crumb of its first."""
    return _Session()


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, YahooError) and error.pause is not None:
        return error.pause
    return _LONG_PAUSE(state) if isinstance(error, RateLimitedError) else _PAUSE(state)


class _Session(Session[Response]):
    """Requests that keep a deadline, and failures that say what they are.

    Attributes
    ----------
    status : int, of the last answer about prices; 0 before the first
    """

    def __init__(self) -> None:
        super().__init__(impersonate="chrome")
        self.begin(0.0)

    def begin(self, until: float) -> None:
        """Forget what was silent, and set when to give up, by `time.monotonic`."""
        self._until = until
        self._silent: set[str] = set()
        self.status = 0

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
        left = self._until - time.monotonic()
        # Less than a millisecond would mean for ever.
        if left < _LEAST_TIMEOUT or (host in self._silent and not is_chart):
            raise Timeout(f"no time is left for {host}", CurlECode.OPERATION_TIMEDOUT)
        aside = not is_chart or (options.get("params") or {}).get("range") == _SESSIONS
        options["timeout"] = min(left, _SIDE_TIMEOUT if aside else _TIMEOUT)
        try:
            response: Response = super().request(method, url, *args, **options)
        except RequestException:
            if not is_chart:
                self._silent.add(host)
            raise
        if is_chart:
            self.status = response.status_code
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


def _fetch_once(request: BarsRequest, session: _Session) -> FetchedPrices:
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
    try:
        with _raise_instead_of_logging(yfinance):
            return _history(yfinance.Ticker(request.symbol, session=session), request)
    except YahooError:
        raise
    except YFRateLimitError:
        raise RateLimitedError("Yahoo has had too many requests from here (429)") from None
    except YFPricesMissingError:
        raise YahooError(_refusal(session) or _NO_BARS) from None
    except YFTzMissingError:
        raise YahooError("Yahoo does not tell its time zone") from None
    except YFInvalidPeriodError as error:
        raise YahooError(f"Yahoo has no such period: {error}", again=False) from None
    except HTTPError as error:
        raise YahooError(f"Yahoo's answer is {error}") from None
    except RequestException as error:
        raise YahooError(_connection_failure(error)) from None
    except Exception as error:
        # A page of HTML, or JSON of another form, comes as whatever its reading stumbles over.
        unread = f"Yahoo's answer cannot be read ({type(error).__name__}: {str(error)[:80]})"
        raise YahooError(_refusal(session) or unread) from error


def _history(ticker: Any, request: BarsRequest) -> FetchedPrices:
    frame = ticker.history(
        **_date_arguments(request),
        interval=request.interval,
        auto_adjust=False,
        actions=True,
        keepna=True,
        timeout=_TIMEOUT,
    )
    if frame.empty:
        raise YahooError(_NO_BARS)
    return _to_prices(frame, ticker.get_history_metadata(), request)


def _refusal(session: _Session) -> str | None:
    if session.status in {0, 200}:
        return None
    return f"Yahoo gives nothing to this address ({session.status})"


@contextmanager
def _raise_instead_of_logging(yfinance: Any) -> Iterator[None]:
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


def _connection_failure(error: RequestException) -> str:
    words: dict[int, str] = {
        CurlECode.COULDNT_RESOLVE_HOST: "Yahoo's name is not found: is there a network?",
        CurlECode.COULDNT_RESOLVE_PROXY: "the proxy's name is not found",
        CurlECode.COULDNT_CONNECT: "the connection is refused",
        CurlECode.OPERATION_TIMEDOUT: "Yahoo does not answer",
    }
    return words.get(error.code, f"Yahoo cannot be reached ({str(error).partition('. See')[0]})")


def _date_arguments(request: BarsRequest) -> dict[str, str | None]:
    """Put the days into the words of yfinance, whose end is the first day without bars."""
    end = None
    if request.end is not None and date.fromisoformat(request.end) <= _now().date():
        end = str(date.fromisoformat(request.end) + timedelta(days=1))
    if request.start is not None:
        return {"start": request.start, "end": end}
    # With an end alone it would begin a month before.
    return {"period": request.period or "max", "end": end}


def _to_prices(frame: pd.DataFrame, meta: Mapping[str, Any], request: BarsRequest) -> FetchedPrices:
    symbol = str(meta.get("symbol", ""))
    if symbol.upper() != request.symbol.upper():
        raise YahooError(
            f"Yahoo gave {symbol or 'a series without a name'} for it: ask for that", again=False
        )
    index = pd.DatetimeIndex(frame.index)
    clock, said = without_zone(index)
    in_utc = said == [IN_UTC]
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
    # yfinance makes bars of 30 minutes out of shorter ones, and empty ones for the night.
    gap = ~traded & (request.interval == "30m")
    notes = [
        f"the bar of {when(bars.index[mask][0])} {why} yet, and is left out"
        for mask, why in ((~finished, "is not finished"), (coming & finished, "has no prices"))
        if mask.any()
    ]
    notes += said * in_utc
    bars = bars[finished & ~coming & ~gap]
    if bars.empty:
        raise YahooError("Yahoo has no finished bar of these days", again=False)
    return FetchedPrices(bars, market, now, tuple(notes))


def _session_end(meta: Mapping[str, Any], zone: str) -> str | None:
    """Read when regular sessions end, by the exchange's clock: the last of five, for half days."""
    try:
        ends = pd.DatetimeIndex(meta["tradingPeriods"]["end"])
    except (KeyError, TypeError, ValueError):
        try:
            ends = pd.DatetimeIndex([meta["currentTradingPeriod"]["regular"]["end"]])
        except (KeyError, TypeError, ValueError):
            return None
    clocks = [f"{end.tz_convert(zone):%H:%M}" for end in ends if not pd.isna(end)]
    # A session that goes on to midnight ends with its day.
    return max(("24:00" if clock == "00:00" else clock for clock in clocks), default=None)


def describe(fetched: FetchedPrices) -> str:
    """Say when bars were fetched."""
    return f"fetched {when(fetched.fetched_at.replace(tzinfo=None, microsecond=0))} UTC"
