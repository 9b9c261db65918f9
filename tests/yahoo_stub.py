"""Yahoo's chart service on loopback, for programs that ask it through an unmodified yfinance.

``python yahoo_stub.py COMMAND...`` runs a command with the environment that sends all its HTTP and
HTTPS here, and exits with its exit code. The stub answers for every host and opens no connection.
It knows the symbols of the embedded sample, with their unadjusted bars on their own dates: "now" is
the last of them. It needs the program ``openssl`` for its certificate. Tests in the same process
can set other bars and make it fail.
"""

import argparse
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pandas as pd

from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.sources import SOURCES

CHART = "/v8/finance/chart/"
QUERY_HOSTS = ("query1.finance.yahoo.com", "query2.finance.yahoo.com")
CERTIFIED = "DNS:*.yahoo.com,DNS:*.finance.yahoo.com"
ZONE = "America/New_York"
SILENCE = 60.0  # seconds
RANGES = {
    "1d": 0,
    "5d": 0,
    "1mo": 1,
    "3mo": 3,
    "6mo": 6,
    "1y": 12,
    "2y": 24,
    "5y": 60,
    "10y": 120,
}  # months


def sample(symbol: str) -> pd.DataFrame:
    """Return the unadjusted bars of the embedded sample, with adj_close."""
    return SOURCES["sample"].load(PriceRequest(symbol)).frame


def sessions_of(days: pd.DatetimeIndex, zone: str, last: float) -> list[dict[str, Any]]:
    """Return the sessions of days: from 9:30 to 16:00, on the last day until `last` o'clock."""
    hours = [16.0] * (len(days) - 1) + [last]
    return [
        {
            "timezone": "local",
            "start": int((day + pd.Timedelta(hours=9.5)).tz_localize(zone).timestamp()),
            "end": int((day + pd.Timedelta(hours=end)).tz_localize(zone).timestamp()),
            "gmtoffset": 0,
        }
        for day, end in zip(days, hours, strict=True)
    ]


def chart(
    symbol: str, frame: pd.DataFrame, zone: str, query: dict[str, str], *, half_day: bool = False
) -> dict[str, Any]:
    """Write bars as Yahoo does, cut as the query asks: range, or period1, period2.

    Their index has dates, or, where bars are shorter than a day, when each begins.

    A column "splits" becomes events, and NaN null.

    Raises
    ------
    KeyError
        For a range that Yahoo does not have.
    """
    times = pd.DatetimeIndex(frame.index)
    days = times.normalize()
    daily = days.equals(times)
    opening = (times + pd.Timedelta(hours=9.5 if daily else 0)).tz_localize(zone)
    seconds = opening.as_unit("s").astype("int64")
    if "range" in query:
        keep = frame.index >= frame.index[-1] - pd.DateOffset(months=RANGES[query["range"]])
    else:
        keep = (seconds >= int(query["period1"])) & (seconds < int(query["period2"]))
    bars = frame[keep]
    cells = bars.astype(object).where(bars.notna(), None)
    names = ("open", "high", "low", "close", "volume")
    sessions = sessions_of(days.unique()[-60:], zone, 13.0 if half_day else 16.0)
    last = sessions[-1]
    meta = {
        "currency": "USD",
        "symbol": symbol,
        "exchangeName": "NMS",
        "instrumentType": "EQUITY",
        "firstTradeDate": int(seconds[0]),
        "regularMarketTime": int(seconds[-1]),
        "gmtoffset": int(opening[-1].utcoffset().total_seconds()),
        "timezone": opening[-1].tzname(),
        "exchangeTimezoneName": zone,
        "priceHint": 2,
        "currentTradingPeriod": {
            "pre": last | {"start": last["start"] - 7200, "end": last["start"]},
            "regular": last,
            "post": last | {"start": last["end"], "end": last["end"] + 7200},
        },
        "dataGranularity": query.get("interval", "1d"),
        "range": query.get("range", ""),
        "validRanges": [*RANGES, "max"],
    }
    if query.get("range") == "5d":  # with the hours before and after
        parts = ("pre", "regular", "post")
        meta["tradingPeriods"] = {part: [[session] for session in sessions[-5:]] for part in parts}
    elif not daily:
        meta["tradingPeriods"] = [[session] for session in sessions]
    result: dict[str, Any] = {
        "meta": meta,
        "timestamp": seconds[keep].tolist(),
        "indicators": {
            "quote": [{name: cells[name].tolist() for name in names}],
            "adjclose": [{"adjclose": cells["adj_close"].tolist()}],
        },
    }
    if "splits" in bars:
        result["events"] = {
            "splits": {
                str(second): {"date": second, "numerator": ratio, "denominator": 1}
                for second, ratio in zip(seconds[keep].tolist(), bars["splits"], strict=True)
                if ratio > 0
            }
        }
    return {"chart": {"result": [result], "error": None}}


def no_chart(description: str) -> dict[str, Any]:
    """Write Yahoo's error."""
    return {"chart": {"result": None, "error": {"code": "Not Found", "description": description}}}


class Stub(ThreadingHTTPServer):
    """A proxy on a free port of loopback that ends TLS and answers everything itself."""

    daemon_threads = True

    def __init__(self, folder: Path, log: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.certificate = make_certificate(folder)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self.certificate)
        self.frames = {symbol: sample(symbol) for symbol in ("AAPL", "IBM", "MSFT")}
        self.zones = dict.fromkeys(self.frames, ZONE)
        self.half_days: set[str] = set()
        self.retry_after: int | None = None
        # What the next requests of prices come to, in this order, and all after the last one.
        self.faults: list[str] = []
        self.charts = 0
        self.log = log
        self.lock = threading.Lock()

    def next_fault(self) -> str | None:
        """Count a request of prices, and return its fault."""
        with self.lock:
            self.charts += 1
            fault = self.faults[0] if self.faults else None
            del self.faults[: 1 if len(self.faults) > 1 else 0]
            return None if fault == "ok" else fault

    def record(self, host: str, path: str, query: dict[str, str]) -> None:
        """Add the request as a line of JSON to the log."""
        if self.log is None:
            return
        with self.lock, self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"host": host, "path": path, "query": query}) + "\n")


class Handler(BaseHTTPRequestHandler):
    """One connection: plain HTTP to a proxy, or a tunnel whose far end is here as well."""

    server: Stub
    protocol_version = "HTTP/1.1"
    tunnel = ""

    def do_CONNECT(self) -> None:
        """Answer as the requested host, from here on in TLS."""
        self.tunnel = self.path.rpartition(":")[0]
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)

    def do_GET(self) -> None:
        """Answer as Yahoo does, with 404 for unknown paths."""
        url = urlsplit(self.path)
        host, query = self.tunnel or url.hostname or "", dict(parse_qsl(url.query))
        self.server.record(host, url.path, query)
        if host == "fc.yahoo.com":
            self.answer(HTTPStatus.NOT_FOUND, "", "text/html", cookie=True)
        elif host in QUERY_HOSTS and url.path == "/v1/test/getcrumb":
            self.answer(HTTPStatus.OK, "Crumb.123", "text/plain")
        elif host in QUERY_HOSTS and url.path.startswith(CHART):
            self.answer_chart(url.path.removeprefix(CHART), query)
        else:
            self.answer(HTTPStatus.NOT_FOUND, f"{host} is not here", "text/plain")

    def answer_chart(self, symbol: str, query: dict[str, str]) -> None:
        """Send the bars of a symbol, an error if there are none, or the fault that is set."""
        fault = self.server.next_fault()
        if fault == "silent":
            time.sleep(SILENCE)
            self.close_connection = True
        elif fault is not None and fault.isdigit():
            self.answer(HTTPStatus(int(fault)), "no", "text/plain")
        elif fault == "html":
            self.answer(HTTPStatus.OK, "<html><body>Please wait</body></html>", "text/html")
        elif symbol not in self.server.frames:
            self.answer_json(no_chart("No data found, symbol may be delisted"))
        elif query.get("range", "1d") not in RANGES:
            self.answer_json(no_chart(f"no range {query['range']}"))
        else:
            frame = self.server.frames[symbol]
            told = "ELSE" if fault == "other" else symbol
            half = symbol in self.server.half_days
            body = chart(told, frame, self.server.zones[symbol], query, half_day=half)
            if fault == "zone":
                body["chart"]["result"][0]["meta"]["exchangeTimezoneName"] = "Mars/Phobos"
            if fault == "empty":
                body["chart"]["result"][0] |= {"timestamp": [], "indicators": {"quote": [{}]}}
            self.answer_json(body)

    def answer_json(self, body: dict[str, Any]) -> None:
        """Send a chart, or its error."""
        found = body["chart"]["error"] is None
        status = HTTPStatus.OK if found else HTTPStatus.NOT_FOUND
        self.answer(status, json.dumps(body), "application/json")

    def answer(self, status: HTTPStatus, body: str, kind: str, *, cookie: bool = False) -> None:
        """Send one response."""
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if status == HTTPStatus.TOO_MANY_REQUESTS and self.server.retry_after is not None:
            self.send_header("Retry-After", str(self.server.retry_after))
        if cookie:
            year = 365 * 24 * 60 * 60
            self.send_header("Set-Cookie", f"A3=stub; Domain=.yahoo.com; Path=/; Max-Age={year}")
        self.end_headers()
        self.wfile.write(data)

    def finish(self) -> None:
        """Close the tunnel, which took the place of the connection that the server closes."""
        super().finish()
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Write nothing: stderr is the command's."""


def make_certificate(folder: Path) -> Path:
    """Make a self-signed certificate for Yahoo's hosts; return the file with it and its key."""
    file = folder / "stub.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=stub", "-addext", f"subjectAltName={CERTIFIED}"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    subprocess.run([*words.split(), *names, *files], capture_output=True, check=True)
    file.write_bytes((folder / "key").read_bytes() + (folder / "certificate").read_bytes())
    return file


def environment(stub: Stub, home: Path) -> dict[str, str]:
    """Return the environment in which all requests go to the stub and caches are empty."""
    own = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    proxy = f"http://127.0.0.1:{stub.server_port}"
    return own | {
        "HTTP_PROXY": proxy,
        "HTTPS_PROXY": proxy,
        "http_proxy": proxy,
        "https_proxy": proxy,
        "REQUESTS_CA_BUNDLE": str(stub.certificate),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "OMP_NUM_THREADS": "1",
    }


def main() -> int:
    """Run the command beside the stub."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, help="write what is asked here, as lines of JSON")
    parser.add_argument(
        "--fault", action="append", default=[], help="what a request of prices comes to; repeatable"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Stub(Path(name), given.log) as stub:
        stub.faults = given.fault
        threading.Thread(target=stub.serve_forever, daemon=True).start()
        home = Path(name) / "home"
        home.mkdir()
        done = subprocess.run(given.command, env=environment(stub, home), check=False)
        stub.shutdown()
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
