"""A stylesheet for Optuna Dashboard, which hides the buttons that are always refused."""

from collections.abc import Callable, Iterable
from typing import Any

from puffin.tuner.dashboard.access import Environ, Headers, WsgiApp

# A study is renamed and deleted by commands only, and its files are never deleted alone.
_NEVER = (
    'button[aria-label="rename study"]',
    'button:has([data-testid="DeleteIcon"])',
)
# In a read-only dashboard no study or note is written, and no file added.
_READ_ONLY = (
    'button:has([data-testid="AddBoxIcon"])',
    'button:has([data-testid="EditIcon"])',
    '.MuiCard-root:has(> button [data-testid="UploadFileIcon"])',
)


def hides_buttons(app: WsgiApp, *, writable: bool) -> WsgiApp:
    """Add the stylesheet to the pages of the dashboard."""
    hidden = ", ".join(_NEVER if writable else _NEVER + _READ_ONLY)
    style = f"<style>{hidden} {{ display: none !important; }}</style></head>".encode()

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith("/dashboard"):
            return app(environ, start_response)
        answers: list[tuple[str, Headers]] = []
        # The page of one browser may be older than the stylesheet of this process.
        changed = {k: v for k, v in environ.items() if k != "HTTP_IF_MODIFIED_SINCE"}
        body = b"".join(app(changed, lambda status, headers, *_: answers.append((status, headers))))
        status, headers = answers[-1]
        if environ["REQUEST_METHOD"] != "HEAD":
            body = body.replace(b"</head>", style, 1)
        drop = {"content-length", "cache-control", "last-modified", "etag", "accept-ranges"}
        kept = [(name, value) for name, value in headers if name.lower() not in drop]
        more = [("Content-Length", str(len(body))), ("Cache-Control", "no-cache")]
        start_response(status, [*kept, *more])
        return [body]

    return wrapped
