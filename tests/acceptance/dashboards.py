"""A running dashboard, and requests to it."""

import base64
import contextlib
import html
import http.client
import json
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, NamedTuple

from tests.acceptance.helpers import Start

Headers = dict[str, str | bytes]


class Answer(NamedTuple):
    status: int
    body: bytes


class Server(NamedTuple):
    """A dashboard that runs: where, in which process, over which database, and what it said."""

    host: str
    port: int
    process: "subprocess.Popen[str]"
    database: Path
    line: str

    def request(
        self, method: str, path: str, headers: Headers, data: bytes = b""
    ) -> tuple[Answer, HTTPMessage]:
        """Send a request with these headers, a length, and no other; Host is one of them."""
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=60)) as connection:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            response = connection.getresponse()
            return Answer(response.status, response.read()), response.headers

    @property
    def address(self) -> str:
        """Where it is, as a browser writes it in Host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str | bytes
    ) -> Answer:
        """Send a request with no header but those that it needs, and those given."""
        data = b"" if body is None else json.dumps(body).encode()
        own: Headers = {"Host": self.address, "Content-Type": "application/json"}
        return self.request(method, path, own | headers, data)[0]

    def get(self, path: str) -> Any:
        """Read what the API says."""
        status, body = self.ask("GET", path)
        assert status == 200
        return json.loads(body)

    def end(self) -> tuple[int, str, str]:
        """Press Ctrl-C; give the exit code, stdout, and what stderr said after the start."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def rows(database: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            name: connection.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
            for (name,) in tables.fetchall()
        }


@contextlib.contextmanager
def serving(
    start: Start, folder: Path, *options: str, host: str = "127.0.0.1", **env: str
) -> Iterator[Server]:
    """Start a dashboard on any free port, to be asked at `host`, and see to its end."""
    process = start("dashboard", "--port", "0", *options, cwd=folder, **env)
    try:
        line = process.stderr.readline()
        said = re.fullmatch(r"dashboard on http://\S+:(\d+)/ ; .*\n", line)
        assert said, line
        yield Server(host, int(said[1]), process, folder / "tuner.db", line.strip())
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


PASSWORD = "sésame: open"  # noqa: S105  # with a colon and a letter that is not ASCII


def basic(password: str, user: str = "anybody") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


CHROMIUM = shutil.which("chromium")


def browse(url: str, picture: Path, size: str) -> subprocess.CompletedProcess[str]:
    """Open a page in a browser that writes its elements, and keeps a picture of it."""
    return subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            f"--user-data-dir={picture.parent / 'profile'}",
            f"--window-size={size}",
            "--virtual-time-budget=8000",
            f"--screenshot={picture}",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def look(url: str, picture: Path, size: str = "1400,1200") -> str:
    """Open a page in a browser, keep a picture of it, and return its text."""
    done = browse(url, picture, size)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = re.sub(r"<(style|script).*?</\1>", "", done.stdout, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())
