"""The HTTP session that yfinance uses: one deadline, and errors that say what happened."""

import time
from typing import Any
from urllib.parse import urlsplit

from curl_cffi.const import CurlECode
from curl_cffi.requests import Response, Session
from curl_cffi.requests.exceptions import RequestException, Timeout

from puffin.studies.prices.names import DataError

# Seconds for one request of prices, and for one of the others that yfinance sends: cookie, crumb.
PRICES_TIMEOUT, _SIDE_TIMEOUT, _LEAST_TIMEOUT = 10.0, 3.0, 0.05
# The range of the request by which yfinance learns when sessions end.
_SESSIONS = "5d"
_CHART = "/v8/finance/chart/"


class YahooError(DataError):
    """Yahoo returned no prices.

    Parameters
    ----------
    reason : str
    again : bool
        Whether a retry may help.
    pause : float or None
        Seconds after which Yahoo accepts the next request.
    """

    def __init__(self, reason: str, *, again: bool = True, pause: float | None = None) -> None:
        super().__init__(reason)
        self.again = again
        self.pause = pause


class UnavailableError(YahooError):
    """Yahoo does not answer, whatever the symbol."""


class RateLimitedError(UnavailableError):
    """Yahoo has had too many requests from this address."""


class YahooSession(Session[Response]):
    """An HTTP session that keeps a deadline and turns error responses into `YahooError`.

    Attributes
    ----------
    status : int
        HTTP status of the last response about prices; 0 before the first.
    """

    def __init__(self) -> None:
        super().__init__(impersonate="chrome")
        self.begin(0.0)

    def begin(self, until: float) -> None:
        """Set the deadline, in seconds of `time.monotonic`, and forget which hosts timed out."""
        self._until = until
        self._silent: set[str] = set()
        self.status = 0

    def request(self, method: Any, url: str, *args: Any, **options: Any) -> Response:
        """Send a request that times out at the deadline; cookie and crumb time out earlier.

        Prices can be had without a cookie and a crumb, so they must not use up the time.

        Raises
        ------
        YahooError
            If the response to a request of prices is an error.
        RequestException
            If there is no response.
        """
        host = urlsplit(url).hostname or ""
        is_chart = _CHART in url
        left = self._until - time.monotonic()
        # curl takes a timeout below a millisecond as none.
        if left < _LEAST_TIMEOUT or (host in self._silent and not is_chart):
            raise Timeout(f"no time is left for {host}", CurlECode.OPERATION_TIMEDOUT)
        aside = not is_chart or (options.get("params") or {}).get("range") == _SESSIONS
        options["timeout"] = min(left, _SIDE_TIMEOUT if aside else PRICES_TIMEOUT)
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
    """Raise if the response is an error; on 401 and 403 yfinance itself tries new cookies."""
    status = response.status_code
    if status == 429:
        pause = response.headers.get("Retry-After", "")
        raise RateLimitedError(
            "Yahoo has had too many requests from this address (HTTP 429); wait a while",
            pause=float(pause) if pause.isdigit() else None,
        )
    if status >= 500:
        raise UnavailableError(f"Yahoo is unavailable (HTTP {status})")
    if status in {400, 404, 422}:
        raise YahooError(
            f"Yahoo refused the request: {_reason(response)} (HTTP {status})", again=False
        )


def _reason(response: Response) -> str:
    try:
        return str(response.json()["chart"]["error"]["description"])
    except (ValueError, KeyError, TypeError):
        return "not found" if response.status_code == 404 else "invalid request"
