"""Who may do what with the dashboard, which itself asks nobody's name."""

import base64
import hmac
import ipaddress
import json
import os
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from models.errors import PuffinError

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_HOST = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(:\d*)?")
_PATH = re.compile(r"(/[!-.0-~]+)*/?")  # printable ASCII between single slashes
_CHALLENGE = ("WWW-Authenticate", 'Basic realm="Puffin Tuner", charset="UTF-8"')
_AS_A_FILE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Content-Disposition": "attachment",
}


class Place(NamedTuple):
    """Where to serve: an address as the system takes it, host and port first."""

    family: socket.AddressFamily
    address: tuple[Any, ...]


class Refusal(NamedTuple):
    """An answer that is no: its status, the reason, and the header that belongs to it."""

    status: str
    reason: str
    header: tuple[str, str] = ("Cache-Control", "no-store")


Rule = Callable[[Environ], Refusal | None]


def chosen_password(variable: str | None, file: Path | None) -> bytes | None:
    """Give the password, which is that of the variable or that of the file, or none.

    Raises
    ------
    PuffinError
        If there are two, if the file cannot be read, or if what it holds is not one line.
    """
    if variable is not None and file is not None:
        raise PuffinError(
            f"there must be one password, but TUNER_PASSWORD is set and there is {file}; "
            "take away TUNER_PASSWORD or --password-file (TUNER_PASSWORD_FILE)"
        )
    if variable is not None:
        return _one_line(os.fsencode(variable), "TUNER_PASSWORD")
    return None if file is None else _one_line(_content(file), f"the password file {file}")


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        msg = f"cannot read the password file {file}: {error.strerror}; give one that is there"
        raise PuffinError(msg) from None


def _one_line(password: bytes, where: str) -> bytes:
    password = password.removesuffix(b"\n").removesuffix(b"\r")
    lines = len(password.splitlines()) if password.strip() else 0
    if lines != 1:
        said = f"{lines} lines" if lines else "nothing"
        raise PuffinError(f"{where} must hold one line, the password, but holds {said}; write one")
    return password


def place(host: str, port: int, password: bytes | None) -> Place:
    """Find the address of `host`, and let others reach it only with a password.

    What is judged is the very address that is served on: a name may lead anywhere.

    Raises
    ------
    PuffinError
        If `host` has no address, or if it needs a password and there is none.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        msg = f"--host must be an address of this machine, as 127.0.0.1, but is {host!r}"
        raise PuffinError(f"{msg}; choose another") from None
    if password is None and not _is_loopback(str(address[0])):
        raise PuffinError(
            f"a dashboard that others reach needs a password, and --host {host} has none; "
            "set TUNER_PASSWORD (not to nothing) or give --password-file FILE"
        )
    return Place(family, address)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def guarded(app: WsgiApp, *, writable: bool, password: bytes | None) -> WsgiApp:
    """Put the guards before the dashboard, each of which sees only what those before it let by."""
    who = only_loopback_names if password is None else asks_for(password)
    rules = (who, one_spelling, limits_changes(writable=writable), same_site)
    return answers_health(refusing(serves_files(app), rules))


def answers_health(app: WsgiApp) -> WsgiApp:
    """Say to anybody that the server runs: what checks its health has no password."""

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/healthz" or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return app(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    return wrapped


def refusing(app: WsgiApp, rules: Sequence[Rule]) -> WsgiApp:
    """Answer with the first refusal, if a rule refuses."""

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        refusal = next(filter(None, (rule(environ) for rule in rules)), None)
        if refusal is None:
            return app(environ, start_response)
        start_response(refusal.status, [("Content-Type", "application/json"), refusal.header])
        return [json.dumps({"reason": refusal.reason}).encode()]

    return wrapped


def serves_files(app: WsgiApp) -> WsgiApp:
    """Have artifacts saved and never shown, for an uploaded page would act as this one may.

    Pictures and tables come into the dashboard's own pages all the same.
    """
    taken = {"access-control-allow-origin", *(name.lower() for name in _AS_A_FILE)}

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            kept = [(name, value) for name, value in headers if name.lower() not in taken]
            return start_response(status, [*kept, *_AS_A_FILE.items()], *rest)

        is_file = environ["PATH_INFO"].startswith("/artifacts/")
        return app(environ, start if is_file else start_response)

    return wrapped


def one_spelling(environ: Environ) -> Refusal | None:
    """Refuse a path that the dashboard would take for another, which the rules go by.

    It ignores slashes at the end, a line feed and bytes that are no UTF-8, and it counts in the
    digits of every script.
    """
    path = environ["PATH_INFO"]
    if _PATH.fullmatch(path) and (_reads(environ) or not path.endswith("/")):
        return None
    return Refusal("404 Not Found", "a path is printable ASCII, without a slash too many")


def asks_for(password: bytes) -> Rule:
    """Make the rule that asks for the password, by HTTP Basic and whatever the user's name."""
    refusal = Refusal("401 Unauthorized", "the password of this dashboard is needed", _CHALLENGE)

    def rule(environ: Environ) -> Refusal | None:
        given = _given_password(environ.get("HTTP_AUTHORIZATION", ""))
        right = given is not None and hmac.compare_digest(given, password)
        return None if right else refusal

    return rule


def _given_password(header: str) -> bytes | None:
    scheme, _, credentials = header.partition(" ")
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except ValueError:
        return None
    return decoded.partition(b":")[2] if scheme.lower() == "basic" else None


def only_loopback_names(environ: Environ) -> Refusal | None:
    """Refuse what came by a name of another site, which was made to lead here (DNS rebinding)."""
    host = environ.get("HTTP_HOST", "")
    match = _HOST.fullmatch(host)
    name = match[1].strip("[]").lower() if match else ""
    if name == "localhost" or _is_loopback(name):
        return None
    rule = "the Host header must name loopback, as 127.0.0.1 or localhost do, without a password"
    return Refusal("403 Forbidden", f"{rule}, but is {host!r}")


def same_site(environ: Environ) -> Refusal | None:
    """Refuse a change that a page of another site asks for, in the name of who looks at it."""
    origin, host = environ.get("HTTP_ORIGIN"), environ.get("HTTP_HOST", "")
    if _reads(environ) or origin in (None, f"http://{host}", f"https://{host}"):
        return None
    rule = "only the dashboard's own pages may change something"
    return Refusal("403 Forbidden", f"{rule}: Host is {host!r}, but Origin is {origin!r}")


def limits_changes(*, writable: bool) -> Rule:
    """Make the rule that says what must not be changed, if anything may be."""

    def rule(environ: Environ) -> Refusal | None:
        reason = None if _reads(environ) else _no_change(environ, writable=writable)
        allow = ("Allow", "GET, HEAD, OPTIONS")
        return None if reason is None else Refusal("405 Method Not Allowed", reason, allow)

    return rule


def _reads(environ: Environ) -> bool:
    return environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS")


def _no_change(environ: Environ, *, writable: bool) -> str | None:
    """Say why a change is refused, or None if it is not.

    A study is more than its rows in Optuna's tables. Renaming copies only those, and deleting
    leaves the rest behind, so neither is allowed to anybody.
    """
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if not writable:
        return "this dashboard is read-only; `tuner dashboard --writable` is not"
    if re.fullmatch(r"/api/studies/\d+/rename", path):
        return "a study keeps its name; `tuner submit` makes one of another name"
    if re.fullmatch(r"/api/trials/\d+/(tell|user-attrs)", path):
        return "only a worker ends a trial and writes down what it found"
    if method == "DELETE" and path.startswith("/api/artifacts/"):
        return "a study keeps its files, among them its prices; `tuner delete NAME` deletes both"
    if method == "DELETE" and re.fullmatch(r"/api/studies/\d+", path):
        return "`tuner delete NAME` deletes a study with all it owns"
    return None
