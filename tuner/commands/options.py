"""Options and arguments that commands share, and groups of options of one command."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from puffin.models.config import CATEGORICAL_FIELDS, NUMERIC_FIELDS
from puffin.studies.rules import RULES
from puffin.studies.text import printable

Command = Callable[..., None]
Decorator = Callable[[Command], Command]

_DEFAULT_STORAGE = "sqlite:///tuner.db"
# Upper limits: a day for grace periods, 30 years for --max-time (larger values overflow timers).
_DAY, _THIRTY_YEARS = 86_400, 1e9
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": _DAY}
# Far beyond any machine and any use: a mistyped number must not fill the memory.
_MOST_WORKERS, _MOST_TRAININGS = 1000, 1000
# A year of days: a forecast that is fed back for longer is worthless and takes minutes.
_MOST_STEPS = 250


class Range(click.FloatRange):
    """A range of numbers that refuses NaN, which compares as neither too small nor too large."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a number, and refuse NaN."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a valid float.", param, ctx)
        return number


class Duration(click.ParamType[float]):
    """A length of time like ``90s``, ``30m``, ``2h`` or ``1h30m``, in seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds, or refuse what is no time, or none above 0."""
        parts = re.fullmatch(r"(\d+d)?(\d+h)?(\d+m)?(\d+s)?", str(value))
        given = filter(None, parts.groups() if parts else ())
        seconds = sum(int(part[:-1]) * _UNITS[part[-1]] for part in given)
        if not 0 < seconds <= _THIRTY_YEARS:
            self.fail(f"{value!r} is not a time like 90s, 30m, 2h or 1h30m.", param, ctx)
        return float(seconds)


class StudyName(click.ParamType[str]):
    """A study name as valid UTF-8: a database cannot store bytes of another encoding."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or refuse it."""
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{printable(text)} is not valid UTF-8.", param, ctx)
        return text


def example(*lines: str) -> str:
    """Return the epilog of a help page, one command on each line."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def _group(*options: Decorator) -> Decorator:
    """Return one decorator that adds several options, listed in this order by --help."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _refuse_typed_password(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse a typed URL that contains a password: other users can read command lines."""
    typed = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
    if not typed or value.startswith("sqlite:///"):
        return value
    from puffin.studies.storage.url import holds_secret

    if holds_secret(value):
        raise click.UsageError(
            f"the URL of {param.opts[0]} holds a password, which others on this machine can read "
            "while the command runs; leave it out and set PGPASSWORD or ~/.pgpass, or set "
            f"{param.envvar} to the whole URL"
        )
    return value


def _refuse_typed(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Accept a password from the environment only: other users can read command lines."""
    if ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE:
        raise click.UsageError(
            "a password must not be typed, because others can read it; set TUNER_PASSWORD or use "
            "--password-file FILE"
        )
    return value


debug = click.option(
    "--debug", is_flag=True, envvar="TUNER_DEBUG", help="Show tracebacks and more."
)

spec = click.argument("spec")
name = click.argument("name", type=StudyName())
export_folder = click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")

storage = click.option(
    "--storage",
    envvar="TUNER_STORAGE",
    default=_DEFAULT_STORAGE,
    show_default=True,
    show_envvar=True,
    metavar="URL",
    callback=_refuse_typed_password,
    help="Database of the studies.",
)
other_storage = click.option(
    "--to",
    envvar="TUNER_TO",
    required=True,
    show_envvar=True,
    metavar="URL",
    callback=_refuse_typed_password,
    help="The other database.",
)
overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the study file, for example search.trials=20; repeatable.",
)
refresh = click.option(
    "--refresh", is_flag=True, help="Download prices again even if Yahoo's are in the cache."
)
workers = click.option(
    "--workers",
    type=click.IntRange(1, _MOST_WORKERS),
    help="Processes.  [default: one per core]",
)
workers_per_gpu = click.option(
    "--workers-per-gpu",
    type=click.IntRange(1, _MOST_WORKERS),
    default=2,
    show_default=True,
    help="Processes that share a GPU and its memory.",
)
device = click.option(
    "--device",
    envvar="TUNER_DEVICE",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda (all GPUs) or cuda:N.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

worker = _group(
    click.option(
        "--study",
        type=StudyName(),
        metavar="NAME",
        help="Serve only this study, waiting for it if it does not exist yet; NAME.walk serves all "
        "searches of a walk.",
    ),
    click.option("--forever", is_flag=True, help="Wait for new studies instead of ending."),
    click.option("--max-trials", type=click.IntRange(min=1), help="End after so many trials."),
    click.option(
        "--max-time",
        type=Range(0, _THIRTY_YEARS, min_open=True),
        metavar="SECONDS",
        help="Stop after so long, as on SIGTERM: another worker resumes the trial.",
    ),
    device,
    click.option(
        "--memory-share",
        type=Range(0, 1, min_open=True),
        default=1.0,
        show_default=True,
        help="Share of a GPU's memory that this worker may use.",
    ),
    click.option(
        "--checkpoint-seconds",
        type=Range(min=0),
        default=30.0,
        show_default=True,
        help="Least time between two checkpoints of a trial.",
    ),
    click.option(
        "--grace-seconds",
        type=click.IntRange(1, _DAY),
        default=60,
        show_default=True,
        help="A worker without a heartbeat for longer counts as lost.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Write warnings and errors only."),
    click.option("--log-json", is_flag=True, help="Write each line to stderr as JSON."),
    # stdin is then a pipe whose other end the parent holds.
    click.option("--stop-with-parent", is_flag=True, hidden=True),
)

quiet = click.option(
    "-q", "--quiet", is_flag=True, help="Write results, warnings and errors, but no progress."
)

timeout = click.option(
    "--timeout",
    type=Duration(),
    metavar="TIME",
    help="Stop the search after so long, like 30m or 2h; the same command resumes it.",
)

trials = _group(
    click.option("--csv", "form", flag_value="csv", help="Print CSV, a column per hyperparameter."),
    click.option("--json", "form", flag_value="json", help="Print JSON."),
    click.option(
        "--sort",
        type=click.Choice(["trial", "loss", "skill", "epochs", "seconds"]),
        default="trial",
        show_default=True,
        help="Order: the best, or the longest, first.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Print only so many trials."),
)

compare_by = click.option(
    "--by",
    type=click.Choice(
        [*CATEGORICAL_FIELDS, "layers", "hidden_dim", *NUMERIC_FIELDS, "features", "symbol"]
    ),
    default="cell",
    show_default=True,
    help="Hyperparameter to group the trials by; hidden_dim is the width of the first layer. More "
    "than five values are grouped in thirds. symbol shows the best trial on each symbol.",
)

walk_out = click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for walk.html, walk.md, walk.json and pictures.  [default: walks/NAME]",
)

choice = _group(
    click.option(
        "--rule",
        type=click.Choice(list(RULES)),
        default="loss",
        show_default=True,
        help="Rule that chooses the trial. loss: the lowest loss. 1se: the smallest network whose "
        "mean loss over seeds exceeds the lowest mean by at most one standard error.",
    ),
    click.option(
        "--trial",
        type=click.IntRange(0),
        metavar="NUMBER",
        help="The complete trial of this number instead.",
    ),
)

report = _group(
    click.option(
        "--top",
        type=click.IntRange(1, _MOST_TRAININGS),
        default=5,
        show_default=True,
        help="Best configurations to retrain.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder for report.html, report.md, report.json and pictures.  "
        "[default: reports/NAME]",
    ),
)

outside = _group(
    click.option(
        "--forecasts",
        "paths",
        type=click.Path(path_type=Path),
        multiple=True,
        required=True,
        metavar="FILE",
        help="Forecasts, named after the file. Can be repeated.",
    ),
    click.option(
        "--trained-until",
        type=click.DateTime(["%Y-%m-%d"]),
        callback=lambda _context, _option, given: tuple(f"{day:%Y-%m-%d}" for day in given),
        multiple=True,
        metavar="DATE",
        help="Last day that the model had seen when it forecast: once for all files, or for each.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder for the pages.  [default: reports/NAME or walks/NAME]",
    ),
)

forecast = _group(
    click.option(
        "--csv",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Prices to forecast from; of several symbols a file with a column of symbols, or a "
        "folder of a file for each.  [default: those in the export]",
    ),
    click.option(
        "--symbol",
        "symbols",
        multiple=True,
        metavar="SYMBOL",
        help="Load the prices of a symbol from the study's source, or from the sample if that was "
        "a file. Can be repeated for a model of several symbols.",
    ),
    click.option(
        "--steps",
        type=click.IntRange(1, _MOST_STEPS),
        help="Bars to forecast.  [default: the horizon]",
    ),
    click.option(
        "--level",
        type=Range(0, 1, min_open=True, max_open=True),
        default=0.9,
        show_default=True,
        help="Probability that an interval contains the actual value.",
    ),
)

dashboard = _group(
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        metavar="ADDRESS",
        help="Address to serve on; 0.0.0.0 is every address. All but loopback need a password.",
    ),
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=8080,
        show_default=True,
        help="0: any free port.",
    ),
    click.option("--writable", is_flag=True, help="Let the browser add studies, notes and files."),
    click.option(
        "--password-file",
        envvar="TUNER_PASSWORD_FILE",
        show_envvar=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File that contains the password in one line; or set TUNER_PASSWORD to the password.",
    ),
    click.option("--password", envvar="TUNER_PASSWORD", hidden=True, callback=_refuse_typed),
)

price_request = _group(
    click.option(
        "--source",
        type=click.Choice(["yfinance", "sample"]),
        default="yfinance",
        show_default=True,
    ),
    click.option("--start", metavar="DAY", help="First day, like 2005-01-31."),
    click.option("--end", metavar="DAY", help="Last day."),
    click.option("--period", metavar="PERIOD", help="Instead of both: 2y, 6mo, ytd, max."),
    click.option("--interval", metavar="LENGTH", help="Length of a bar: 1h, 1d, 1wk, ..."),
)
