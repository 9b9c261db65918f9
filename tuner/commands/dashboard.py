"""`tuner dashboard`: Optuna Dashboard with access rules."""

import click

from puffin.tuner.dashboard.access import BindAddress, access_rules
from puffin.tuner.dashboard.app import dashboard_app, open_for_requests
from puffin.tuner.dashboard.serve import serve


def dashboard(url: str, address: BindAddress, *, writable: bool, password: bytes | None) -> None:
    """Serve the dashboard of a database until a signal stops it."""
    mode = "writable" if writable else "read-only"
    login = "no password" if password is None else "password needed"

    def announce(root: str) -> None:
        click.echo(f"dashboard on {root}/dashboard/ ; {mode}, {login} ; Ctrl-C ends it", err=True)

    rules = access_rules(writable=writable, password=password)
    app = dashboard_app(open_for_requests(url), writable=writable, password=password)
    serve(app, address, rules, announce)
