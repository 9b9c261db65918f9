"""`tuner dashboard`: Optuna Dashboard with access rules."""

import logging
import threading

import click

from puffin.tuner.dashboard.access import BindAddress, access_rules
from puffin.tuner.dashboard.app import dashboard_app, open_for_requests
from puffin.tuner.dashboard.serve import serve
from puffin.tuner.dashboard.view import StudyView

log = logging.getLogger(__name__)


def dashboard(url: str, address: BindAddress, *, writable: bool, password: bytes | None) -> None:
    """Serve the dashboard of a database until a signal stops it."""
    mode = "writable" if writable else "read-only"
    login = "no password" if password is None else "password needed"

    storage = open_for_requests(url)
    view = StudyView(storage)

    def warm_up() -> None:
        try:
            view.warm_up()
        except Exception as error:  # the first request will say what is wrong
            log.debug("not all studies were read in advance", exc_info=error)

    def announce(root: str) -> None:
        click.echo(f"dashboard on {root}/ ; {mode}, {login} ; Ctrl-C ends it", err=True)
        threading.Thread(target=warm_up, daemon=True).start()

    rules = access_rules(writable=writable, password=password)
    app = dashboard_app(storage, writable=writable, password=password, view=view)
    serve(app, address, rules, announce)
