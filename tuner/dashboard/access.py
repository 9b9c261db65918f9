"""Access rules of the dashboard, because Optuna Dashboard has none of its own."""

import base64
import hmac
import ipaddress
import json
import os
import re
import socket
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from puffin.models.errors import PuffinError

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_HOST = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(:\d*)?")
_PATH = re.compile(r"(/[!-.0-~]+)*/?")  # printable ASCII between single slashes
_CHALLENGE = ("WWW-Authenticate", 'Basic realm="Puffin Tuner", charset="UTF-8"')
_AS_A_FILE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Content-Disposition": "attachment",
}
# Against clickjacking: no page of another site may show the dashboard in a frame.
_POLICY = "Content-Security-Policy"
NO_FRAMES = {"X-Frame-Options": "DENY", _POLICY: "frame-ancestors 'none'"}

# The changes that --writable allows, with the largest body of each in bytes: an uploaded file is
# sent as base64, and a note is stored in rows of 2 KB.
LARGEST_BODY = 16 * 2**20
_CHANGES = {
    ("POST", r"/api/studies"): 4 * 2**10,
    ("PUT", r"/api/studies/\d{1,9}/note"): 64 * 2**10,
    ("PUT", r"/api/studies/\d{1,9}/\d{1,9}/note"): 64 * 2**10,
    ("POST", r"/api/artifacts/\d{1,9}"): LARGEST_BODY,
}
# Why other changes are refused.
_REASONS = {
    r"\S+ /api/studies/[^/]+/rename": "a study cannot be renamed; `tuner submit` makes one with "
    "another name",
    r"\S+ /api/trials/.*": "only a worker ends a trial and writes its result",
    r"DELETE /api/artifacts/.*": "a study needs its files, among them its prices; `tuner delete "
    "NAME` deletes the study with its files",
    r"\S+ /api/artifacts/.*": "only a worker adds files to a trial; add yours to its study",
    r"DELETE /api/studies/[^/]+": "`tuner delete NAME` deletes a study with all its data",
}
# A request that reads needs no body.
_LARGEST_BODY_OF_READING = 2**10

# Wrong passwords are not counted, so a password must be too long to guess.
_SHORTEST_PASSWORD = 8


class BindAddress(NamedTuple):
    """Where to serve: a socket address, host and port first."""

    family: socket.AddressFamily
    address: tuple[Any, ...]


class Refusal(NamedTuple):
    """A response that refuses a request: status, reason, and a header."""

    status: str
    reason: str
    header: tuple[str, str] = ("Cache-Control", "no-store")

    @property
    def headers(self) -> Headers:
        """The headers of the answer."""
        return [("Content-Type", "application/json"), self.header]

    @property
    def body(self) -> bytes:
        """The reason as JSON, as the dashboard's pages read it."""
        return json.dumps({"reason": self.reason}).encode()

    def send(self, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a WSGI request with this refusal."""
        start_response(self.status, self.headers)
        return [self.body]


Rule = Callable[[Environ], Refusal | None]


def chosen_password(variable: str | None, file: Path | None) -> bytes | None:
    """Return the password of the environment variable or of the file, or None without both.

    Raises
    ------
    PuffinError
        If both are set, if the file cannot be read or everybody may write to it, or if the password
        is not one line.
    """
    if variable is not None and file is not None:
        raise PuffinError(
            f"there must be one password, but TUNER_PASSWORD and the file {file} both set one; "
            "remove TUNER_PASSWORD or --password-file (TUNER_PASSWORD_FILE)"
        )
    if variable is not None:
        return _one_line(os.fsencode(variable), "TUNER_PASSWORD")
    return None if file is None else _one_line(_content(file), f"the password file {file}")


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_mode & stat.S_IWOTH:
            msg = f"everybody may write to the password file {file}: chmod 600 {file} first"
            raise PuffinError(msg)
        return file.read_bytes()
    except OSError as error:
        msg = f"cannot read the password file {file}: {error.strerror}; use a readable file"
        raise PuffinError(msg) from None


def _one_line(password: bytes, where: str) -> bytes:
    password = password.removesuffix(b"\n").removesuffix(b"\r")
    lines = len(password.splitlines()) if password.strip() else 0
    if lines != 1:
        content = f"has {lines} lines" if lines else "is empty"
        raise PuffinError(f"{where} must be one line, but {content}; make it the password alone")
    return password


def bind_address(host: str, port: int, password: bytes | None) -> BindAddress:
    """Return the address of `host`; any other than loopback requires a password.

    The returned address is checked, not the name, because a name may resolve to any address.

    Raises
    ------
    PuffinError
        If `host` has no address, or if it needs a password and there is none, or a short one.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        msg = f"--host must be an address of this machine, as 127.0.0.1, but is {host!r}"
        raise PuffinError(f"{msg}; choose another") from None
    if _is_loopback(str(address[0])):
        return BindAddress(family, address)
    if password is None:
        raise PuffinError(
            f"a dashboard that others reach needs a password, and --host {host} has none; "
            "set TUNER_PASSWORD to a non-empty value or use --password-file FILE"
        )
    if len(password) < _SHORTEST_PASSWORD:
        raise PuffinError(
            f"the password of a dashboard that others reach (--host {host}) must have at least "
            f"{_SHORTEST_PASSWORD} characters, because wrong ones are not counted; `openssl rand "
            "-base64 24` makes one"
        )
    return BindAddress(family, address)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def access_rules(*, writable: bool, password: bytes | None) -> tuple[Rule, ...]:
    """Return the rules in the order in which they are applied.

    They need only the headers of a request, so it can be refused before its body is read.
    """
    who = only_loopback_names if password is None else asks_for(password)
    return who, canonical_path, limits_changes(writable=writable), same_site, limits_bodies


def guarded(app: WsgiApp, *, writable: bool, password: bytes | None) -> WsgiApp:
    """Return the dashboard with all rules applied to its requests."""
    rules = access_rules(writable=writable, password=password)
    return forbids_frames(answers_health(refusing(serves_files(app), rules)))


def forbids_frames(app: WsgiApp) -> WsgiApp:
    """Forbid pages of other sites to show a response in a frame."""

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: Headers, *rest: Any) -> Any:
            policies = [value for name, value in headers if name.lower() == _POLICY.lower()]
            others = [(name, value) for name, value in headers if name.lower() != _POLICY.lower()]
            policy = "; ".join([*policies, NO_FRAMES[_POLICY]])
            return start_response(
                status, [*others, *(NO_FRAMES | {_POLICY: policy}).items()], *rest
            )

        return app(environ, start)

    return wrapped


def answers_health(app: WsgiApp) -> WsgiApp:
    """Answer health checks, which have no password, without asking the dashboard."""

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/healthz" or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return app(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    return wrapped


def refusing(app: WsgiApp, rules: Sequence[Rule]) -> WsgiApp:
    """Answer with the first refusal, if a rule refuses."""

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        refusal = first_refusal(environ, rules)
        return app(environ, start_response) if refusal is None else refusal.send(start_response)

    return wrapped


def first_refusal(environ: Environ, rules: Sequence[Rule]) -> Refusal | None:
    """Return the refusal of the first rule that refuses a request."""
    return next(filter(None, (rule(environ) for rule in rules)), None)


def serves_files(app: WsgiApp) -> WsgiApp:
    """Make browsers save artifacts instead of showing them.

    An uploaded HTML page would otherwise run with the rights of the dashboard. Pictures and tables
    are still shown inside the dashboard's pages.
    """
    replaced = {"access-control-allow-origin", *(name.lower() for name in _AS_A_FILE)}

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            kept = [(name, value) for name, value in headers if name.lower() not in replaced]
            return start_response(status, [*kept, *_AS_A_FILE.items()], *rest)

        is_file = environ["PATH_INFO"].startswith("/artifacts/")
        return app(environ, start if is_file else start_response)

    return wrapped


def canonical_path(environ: Environ) -> Refusal | None:
    """Refuse a path that the rules and the dashboard could read differently.

    The dashboard ignores trailing slashes, a line feed and bytes that are not UTF-8, and accepts
    the digits of every script.
    """
    path = environ["PATH_INFO"]
    if _PATH.fullmatch(path) and (reads(environ) or not path.endswith("/")):
        return None
    return Refusal(
        "404 Not Found", "a path must be printable ASCII with single slashes and no trailing slash"
    )


def asks_for(password: bytes) -> Rule:
    """Return the rule that requires the password, by HTTP Basic with any user name."""
    refusal = Refusal("401 Unauthorized", "the password of this dashboard is needed", _CHALLENGE)

    def rule(environ: Environ) -> Refusal | None:
        sent = _sent_password(environ.get("HTTP_AUTHORIZATION", ""))
        correct = sent is not None and hmac.compare_digest(sent, password)
        return None if correct else refusal

    return rule


def _sent_password(header: str) -> bytes | None:
    scheme, _, credentials = header.partition(" ")
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except ValueError:
        return None
    return decoded.partition(b":")[2] if scheme.lower() == "basic" else None


def only_loopback_names(environ: Environ) -> Refusal | None:
    """Refuse a Host header other than loopback, against DNS rebinding."""
    host = environ.get("HTTP_HOST", "")
    match = _HOST.fullmatch(host)
    name = match[1].strip("[]").lower() if match else ""
    if name == "localhost" or _is_loopback(name):
        return None
    rule = "without a password the Host header must be loopback, such as 127.0.0.1 or localhost"
    return Refusal("403 Forbidden", f"{rule}, but is {host!r}")


def same_site(environ: Environ) -> Refusal | None:
    """Refuse changes from pages of other sites (cross-site request forgery)."""
    origin, host = environ.get("HTTP_ORIGIN"), environ.get("HTTP_HOST", "")
    if reads(environ) or origin in (None, f"http://{host}", f"https://{host}"):
        return None
    rule = "only pages of this dashboard may send changes"
    return Refusal("403 Forbidden", f"{rule}: Host is {host!r}, but Origin is {origin!r}")


def limits_changes(*, writable: bool) -> Rule:
    """Return the rule that refuses changes, or with `writable` all but a few."""

    def rule(environ: Environ) -> Refusal | None:
        reason = None if reads(environ) else _no_change(environ, writable=writable)
        allow = ("Allow", "GET, HEAD, OPTIONS")
        return None if reason is None else Refusal("405 Method Not Allowed", reason, allow)

    return rule


def reads(environ: Environ) -> bool:
    """Return whether a request changes nothing."""
    return environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS")


def _no_change(environ: Environ, *, writable: bool) -> str | None:
    """Return why a change is refused, or None if it is allowed.

    A study has rows outside of Optuna's tables. Optuna's renaming copies only its own rows, and its
    deletion leaves the others behind, so neither is ever allowed.
    """
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if not writable:
        return "this dashboard is read-only; start it with --writable to allow changes"
    if _largest_change(environ) is not None:
        return None
    request = f"{method} {path}"
    reasons = (reason for pattern, reason in _REASONS.items() if re.fullmatch(pattern, request))
    return next(reasons, "only notes, new studies and files of studies can be written here")


def _largest_change(environ: Environ) -> int | None:
    """Return the largest body of an allowed change in bytes, or None for any other request."""
    asked, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    sizes = (
        size
        for (method, pattern), size in _CHANGES.items()
        if method == asked and re.fullmatch(pattern, path, re.ASCII)
    )
    return next(sizes, None)


def limits_bodies(environ: Environ) -> Refusal | None:
    """Refuse a body that is larger than its request needs."""
    largest = _largest_change(environ) or _LARGEST_BODY_OF_READING
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length <= largest:
        return None
    rule = f"the body of this request may have at most {largest} bytes, but has {length}"
    return Refusal("413 Request Entity Too Large", rule)
