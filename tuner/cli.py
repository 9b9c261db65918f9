"""The command line. Heavy imports wait until a command needs them, so that help is instant."""

import gc
import logging
import math
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from puffin.models.config import NUMERIC_FIELDS
from puffin.models.errors import PuffinError
from puffin.studies.export.formats import FORMATS
from puffin.studies.rules import RULES
from puffin.studies.text import counted, printable, printable_lines

_DEFAULT_STORAGE = "sqlite:///tuner.db"
_INTERRUPTED = 130  # the shell's word for an end by SIGINT
_TYPED = f"{__name__}.typed"  # where a context keeps the words of the command line


class _Group(click.Group):
    """Turns errors into one line and an exit code; a traceback only with --debug."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TYPED] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            shown = _without_passwords(ctx, error.format_message())
            raise click.UsageError(shown, error.ctx) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)
        except PuffinError as error:
            self._end(ctx, str(error))
        except BrokenPipeError:  # whoever read stdout has seen enough, as `head` has
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is flushed at the end
            sys.exit(0)
        except Exception as error:  # noqa: BLE001  # the last resort of a program
            self._end(ctx, _in_words(error))

    @staticmethod
    def _end(ctx: click.Context, message: str) -> None:
        if ctx.params.get("debug"):
            raise  # noqa: PLE0704  # called inside an except clause
        _say(f"error: {_without_passwords(ctx, message)}")
        sys.exit(1)


def _say(message: str) -> None:
    click.echo(printable_lines(message), err=True)


class _Formatter(logging.Formatter):
    """Writes messages whose names, from anywhere, cannot steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def _open_closed_streams() -> None:
    """Open a null device for each standard stream that was closed.

    Otherwise the next file, such as a database, gets the stream's number, and what a library
    prints would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            stream = open(os.devnull, mode)  # noqa: SIM115, PTH123  # until the program ends
            if stream.fileno() != number:
                os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)


def _without_passwords(ctx: click.Context, message: str) -> str:
    """Hide a typed URL that may contain a password, wherever on the command line it stands."""
    for word in ctx.meta.get(_TYPED, ()):
        url = re.search(r"(\w[\w+.-]*://)(.*[@?;=].*)", word, re.DOTALL)
        if url and _may_hold_password(url[0]):
            before_host = url[0].rpartition("@")[0] or url[0]
            for part in (url[0], repr(url[0])[1:-1], before_host):
                message = message.replace(part, f"{url[1]}***")
    return message


def _may_hold_password(url: str) -> bool:
    from puffin.studies.storage.url import holds_secret

    try:
        return holds_secret(url)
    except PuffinError:
        return True


def _in_words(error: Exception) -> str:
    """Put an error that no part of the program has put into words into one line."""
    kind = type(error)
    if isinstance(error, OSError) and error.strerror:
        what = repr(error.filename) if error.filename else "the output"
        return f"cannot read or write {what}: {error.strerror}"
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if kind.__module__.startswith("sqlalchemy") or kind.__name__ == "StorageInternalError":
        from puffin.studies.storage.errors import cause_of

        return f"the database failed: {cause_of(error)}"
    first_line = (str(error).splitlines() or ["no message"])[0]
    return f"unexpected {kind.__name__}: {first_line}; `tuner --debug ...` shows where"


def _example(*lines: str) -> str:
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def _without_password(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse a typed URL with a password in it: everybody on a machine can read what is typed."""
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


def _storage_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--storage",
        envvar="TUNER_STORAGE",
        default=_DEFAULT_STORAGE,
        show_default=True,
        show_envvar=True,
        metavar="URL",
        callback=_without_password,
        help="Database of the studies.",
    )(command)


def _set_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a key of the study file, for example search.trials=20; repeatable.",
    )(command)


class _Range(click.FloatRange):
    """A range of numbers, to which NaN does not belong, though it is no less than the least."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a valid float.", param, ctx)
        return number


class _Name(click.ParamType[str]):
    """A name of a study, which a database can store: bytes of another encoding are no text."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{printable(text)} is not valid UTF-8.", param, ctx)
        return text


# A day, longer than which nothing need be silent, and 30 years, to which a clock still counts.
_DAY, _FOR_EVER = 86_400, 1e9

# Far beyond any machine and any use; a mistyped number must not fill the memory.
_MOST_WORKERS, _MOST_TRAININGS = 1000, 1000

# A year of days: a forecast that is fed back for longer says nothing, and takes minutes.
_MOST_STEPS = 250

_refresh_option = click.option(
    "--refresh",
    is_flag=True,
    help="Ask Yahoo for its prices, though a copy of them is in the cache.",
)

_workers_option = click.option(
    "--workers",
    type=click.IntRange(1, _MOST_WORKERS),
    help="Processes.  [default: one per core]",
)

_device_option = click.option(
    "--device",
    envvar="TUNER_DEVICE",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda (all GPUs) or cuda:N.",
)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, envvar="TUNER_DEBUG", help="Show tracebacks and more.")
@click.version_option(package_name="puffin-tuner", prog_name="tuner")
def main(debug: bool) -> None:  # noqa: FBT001  # a click flag
    """Find the LSTM or GRU that forecasts a price series best."""
    _open_closed_streams()
    level = logging.DEBUG if debug else logging.WARNING
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    for chatty in ("alembic", "sqlalchemy", "urllib3", "optuna"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It warns where there is no home to keep its list of fonts in, as in a container.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # A browser asks for many things at once, and each one that waits its turn would be told.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


@main.command(epilog=_example("tuner run demo", "tuner run my.toml --workers 4"))
@click.argument("spec")
@_workers_option
@click.option(
    "--workers-per-gpu",
    type=click.IntRange(1, _MOST_WORKERS),
    default=2,
    show_default=True,
    help="Processes that share a GPU, each with its share of the memory.",
)
@_device_option
@_set_option
@_refresh_option
@_storage_option
def run(
    spec: str,
    workers: int | None,
    workers_per_gpu: int,
    device: str,
    overrides: tuple[str, ...],
    *,
    refresh: bool,
    storage: str,
) -> None:
    """Search: submit SPEC, work on it here, show the result, export the best.

    SPEC is a study file or the name of a preset. A study that was interrupted goes on.
    """
    from puffin.tuner.commands.run import run as run_

    run_(spec, overrides, storage, workers, device, workers_per_gpu, refresh=refresh)


@main.command(epilog=_example("tuner submit daily --set data.symbol=IBM --set name=ibm-daily"))
@click.argument("spec")
@_set_option
@_refresh_option
@_storage_option
def submit(spec: str, overrides: tuple[str, ...], *, refresh: bool, storage: str) -> None:
    """Write the study of SPEC into the database and return; workers do the rest."""
    from puffin.studies import summary
    from puffin.tuner.commands.run import open_study
    from puffin.tuner.commands.tables import typed

    study = open_study(spec, overrides, storage, refresh=refresh)
    state = summary.status(study)
    rest = state.tickets - state.finished
    _say(
        f"study {study.name}: {rest} of {counted(state.tickets, 'trial')} to do; "
        f"`{typed('worker', storage=storage)}` does them"
    )


@main.command(epilog=_example("tuner worker --study demo", "tuner worker --forever"))
@click.option(
    "--study",
    type=_Name(),
    metavar="NAME",
    help="Serve only this study, waiting until it is there.",
)
@click.option("--forever", is_flag=True, help="Wait for new studies instead of ending.")
@click.option("--max-trials", type=click.IntRange(min=1), help="End after so many trials.")
@click.option(
    "--max-time",
    type=_Range(0, _FOR_EVER, min_open=True),
    metavar="SECONDS",
    help="Stop after so long, as on SIGTERM: another worker resumes the trial.",
)
@_device_option
@click.option(
    "--memory-share",
    type=_Range(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of a GPU's memory that this worker may take.",
)
@click.option(
    "--checkpoint-seconds",
    type=_Range(min=0),
    default=30.0,
    show_default=True,
    help="Time between two checkpoints of a trial, at least.",
)
@click.option(
    "--grace-seconds",
    type=click.IntRange(1, _DAY),
    default=60,
    show_default=True,
    help="A worker that is silent for longer is taken for lost, by itself and by all others.",
)
@click.option("-q", "--quiet", is_flag=True, help="Write warnings and errors only.")
@click.option("--stop-with-parent", is_flag=True, hidden=True)  # stdin is a pipe that it holds
@_storage_option
def worker(storage: str, *, max_time: float | None, stop_with_parent: bool, **options: Any) -> None:
    """Work on the open studies of the database, each with its share, until all are done.

    Writes a line to stderr when it starts, waits and ends, and one for each trial.
    """
    # Before the heavy imports: a signal that comes meanwhile must not be an ugly end.
    from puffin.tuner.worker.signals import Interrupt

    interrupt = Interrupt()
    interrupt.install()
    if max_time is not None:
        interrupt.after(max_time)
    if stop_with_parent:
        interrupt.with_parent(sys.stdin.fileno())
    # What these define stays: to look through it for garbage takes a seventh of a start.
    gc.disable()
    from puffin.tuner.worker.scheduler import WorkerOptions, work

    gc.freeze()
    gc.enable()
    work(storage, interrupt, WorkerOptions(**options))


@main.command(epilog=_example("tuner status", "tuner status demo", "tuner status demo --json"))
@click.argument("name", type=_Name(), required=False)
@click.option("--all", "everything", is_flag=True, help="List NAME.seeds and NAME.holdout, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, which has every study.")
@_storage_option
def status(name: str | None, *, everything: bool, as_json: bool, storage: str) -> None:
    """List the studies with their progress and best loss, and the workers alive.

    With NAME show one study: target, data, time left, best configuration, last trials, failures.
    """
    from puffin.tuner.commands.status import print_studies, print_study

    database = _open(storage)
    if name is None:
        print_studies(database, everything=everything, as_json=as_json)
    else:
        print_study(database, name, as_json=as_json)


@main.command(epilog=_example("tuner best demo", "tuner best demo --format json"))
@click.argument("name", type=_Name())
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="toml",
    show_default=True,
)
@click.option(
    "--rule",
    type=click.Choice(list(RULES)),
    default="loss",
    show_default=True,
    help="The lowest loss, or the smallest network within one standard error of it over seeds.",
)
@_storage_option
def best(name: str, form: str, rule: str, storage: str) -> None:
    """Print the best configuration of study NAME.

    The rule 1se rests on trainings with other seeds, which `tuner report` orders.
    """
    from puffin.studies.study import load_search
    from puffin.studies.summary import best_record

    study = load_search(_open(storage), name)
    click.echo(FORMATS[form](best_record(study, RULES[rule](study))))


@main.command(epilog=_example("tuner compare demo", "tuner compare demo --by layers"))
@click.argument("name", type=_Name())
@click.option(
    "--by",
    type=click.Choice(["cell", "layers", "hidden_dim", *NUMERIC_FIELDS]),
    default="cell",
    show_default=True,
    help="What the trials differ in; hidden_dim is the first width, and more than five values are "
    "put together in thirds.",
)
@_storage_option
def compare(name: str, by: str, storage: str) -> None:
    """Set the LSTM beside the GRU, or trials that differ otherwise: losses, skill, time.

    The best of a group is lower by luck alone where the group is larger. Best and median are of the
    complete trials. Where a group has none, because its trials were pruned, the losses of all
    groups are compared up to the last epoch that all have come to.
    """
    from puffin.studies.study import load_search
    from puffin.studies.summary import compare as compare_
    from puffin.tuner.commands import tables

    tables.stdout().print(tables.group_table(compare_(load_search(_open(storage), name), by)))


@main.command(epilog=_example("tuner report demo", "tuner report demo --json"))
@click.argument("name", type=_Name())
@_workers_option
@_device_option
@click.option(
    "--top",
    type=click.IntRange(1, _MOST_TRAININGS),
    default=5,
    show_default=True,
    help="Best configurations to train again.",
)
@click.option(
    "--seeds",
    type=click.IntRange(3, _MOST_TRAININGS),
    default=5,
    show_default=True,
    help="Seeds for each, the study's own with them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of report.html, report.md, report.json and pictures.  [default: reports/NAME]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_storage_option
def report(
    name: str, storage: str, workers: int | None, device: str, *, out: Path | None, **options: Any
) -> None:
    """Open the sealed holdout of study NAME and say whether its best is any good.

    The winner is fixed before, and every opening is noted. The best configurations are trained
    anew with several seeds: on the search folds, and on all search data to be held against simple
    baselines on bars that no choice has seen.
    """
    from puffin.tuner.commands.report import report as report_
    from puffin.tuner.worker.devices import assign

    folder = Path("reports") / name if out is None else out
    report_(name, storage, assign(device, workers, 2), out=folder, **options)


@main.command(epilog=_example("tuner export demo best/"))
@click.argument("name", type=_Name())
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--refit",
    type=click.Choice(["search", "all"]),
    default="search",
    show_default=True,
    help="What the weights are trained on: the search data, or the opened holdout too.",
)
@_storage_option
def export(name: str, folder: Path, refit: str, storage: str) -> None:
    """Write the best of study NAME to DIR: configuration, weights, prices, forecasts and a card.

    The weights are refitted for the best number of epochs. Once `tuner report` has opened the
    seal, its report is a part of the export.
    """
    from puffin.studies.export.checksums import added_note, read_checksums
    from puffin.studies.export.write import export as export_
    from puffin.studies.study import load_search

    written = export_(load_search(_open(storage), name), folder, refit)
    _say(f"wrote {written}/")
    if note := added_note(written, read_checksums(written)):
        _say(note)


@main.command(
    epilog=_example("tuner predict best/", "tuner predict best/ --csv AAPL.csv --level 0.8 --json")
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--csv",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Prices to forecast from.  [default: the export's own]",
)
@click.option(
    "--symbol",
    metavar="SYMBOL",
    help="The same, from the source of the study, or the sample where that was a file.",
)
@click.option(
    "--steps",
    type=click.IntRange(1, _MOST_STEPS),
    help="Bars to forecast.  [default: the horizon]",
)
@click.option(
    "--level",
    type=_Range(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="Probability that an interval is to hold what comes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def predict(
    folder: Path,
    csv: Path | None,
    symbol: str | None,
    steps: int | None,
    level: float,
    *,
    as_json: bool,
) -> None:
    """Forecast with the model that was exported to DIR, each bar with an interval.

    An interval is made of the model's errors on bars that it was not trained on. Beyond the horizon
    only a model whose one feature is its target can go.
    """
    if csv is not None and symbol is not None:
        raise click.UsageError("--csv and --symbol both say where the prices are; give one of them")
    from puffin.studies.export.checksums import require_export

    require_export(folder)  # a mistyped folder need not wait for torch
    from puffin.tuner.commands.predict import predict as predict_

    predict_(folder, csv, symbol, steps, level, as_json=as_json)


@main.command(epilog=_example("tuner reproduce best/"))
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def reproduce(folder: Path) -> None:
    """Train the export in DIR again from its own files and compare every score with it.

    Forecasts, scalers, weights, card and verdict too, but not the files of the report. To the last
    bit on a machine of the same kind, within stated bounds elsewhere. Files that are not as they
    were exported are found first.
    """
    from puffin.studies.export.checksums import require_export

    require_export(folder)  # a mistyped folder need not wait for torch
    from puffin.tuner.commands.reproduce import reproduce as reproduce_

    reproduce_(folder)


def _never_typed(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Take a secret from the environment alone: everybody on a machine can read what is typed."""
    if ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE:
        raise click.UsageError(
            "a password must not be typed, where others can read it; set TUNER_PASSWORD or give "
            "--password-file FILE"
        )
    return value


@main.command(
    epilog=_example("tuner dashboard", "tuner dashboard --host 0.0.0.0 --password-file secret.txt")
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to serve on; 0.0.0.0 is every one. All but loopback need a password.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free."
)
@click.option(
    "--writable",
    is_flag=True,
    help="Let the browser add studies, notes and files.",
)
@click.option(
    "--password-file",
    envvar="TUNER_PASSWORD_FILE",
    show_envvar=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of one line, the password to ask for; or set TUNER_PASSWORD to the password itself.",
)
@click.option("--password", envvar="TUNER_PASSWORD", hidden=True, callback=_never_typed)
@_storage_option
def dashboard(
    host: str,
    port: int,
    *,
    writable: bool,
    password_file: Path | None,
    password: str | None,
    storage: str,
) -> None:
    """Serve Optuna Dashboard, with every study's artifacts: read-only, and on this machine only.

    With a password it may be served to others as well: put a proxy with TLS before it.
    """
    from puffin.tuner.dashboard.access import access_rules, bind_address, chosen_password

    secret = chosen_password(password, password_file)
    where = bind_address(host, port, secret)
    rules = access_rules(writable=writable, password=secret)
    from puffin.tuner.dashboard.app import dashboard_app, open_for_requests
    from puffin.tuner.dashboard.serve import serve

    def announce(url: str) -> None:
        may = "writable" if writable else "read-only"
        asks = "no password" if secret is None else "password needed"
        click.echo(f"dashboard on {url}/dashboard/ ; {may}, {asks} ; Ctrl-C ends it", err=True)

    app = dashboard_app(open_for_requests(storage), writable=writable, password=secret)
    serve(app, where, rules, announce)


@main.command(epilog=_example("tuner check my.toml"))
@click.argument("spec")
@_set_option
@_refresh_option
def check(spec: str, overrides: tuple[str, ...], *, refresh: bool) -> None:
    """Find everything that is wrong with SPEC and its prices, without training."""
    from puffin.tuner.commands.check import check as check_

    check_(spec, overrides, refresh=refresh)


@main.command(epilog=_example("tuner prices MSFT --period 5y", "tuner prices AAPL --source sample"))
@click.argument("symbol")
@click.option(
    "--source", type=click.Choice(["yfinance", "sample"]), default="yfinance", show_default=True
)
@click.option("--start", metavar="DAY", help="First day, like 2005-01-31.")
@click.option("--end", metavar="DAY", help="Last day.")
@click.option("--period", metavar="PERIOD", help="In the place of both: 2y, 6mo, ytd, max.")
@click.option("--interval", metavar="LENGTH", help="Length of a bar: 1h, 1d, 1wk, ...")
@_refresh_option
def prices(*, refresh: bool, **wanted: str | None) -> None:
    """Show what a source has of SYMBOL: span, bars, gaps, splits, warnings, and a chart.

    What Yahoo gave is kept: a study of the same days asks no more until another bar can be there.
    """
    from puffin.tuner.commands.prices import prices as prices_

    prices_(wanted, refresh=refresh)


@main.command(epilog=_example("tuner schema"))
def schema() -> None:
    """Print the JSON Schema of a study file, by which an editor completes and checks it."""
    import json

    from puffin.studies.schema import study_file_schema

    click.echo(json.dumps(study_file_schema(), indent=2))


@main.command(epilog=_example("tuner init", "tuner init --wait 60"))
@click.option(
    "--wait",
    type=_Range(min=0),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a database may take to answer.",
)
@_storage_option
def init(wait: float, storage: str) -> None:
    """Make the tables in the database, where they are missing; `run` and `submit` do it too."""
    from puffin.tuner.commands.run import init as init_

    init_(storage, wait)


@main.command(epilog=_example("tuner pause demo"))
@click.argument("name", type=_Name())
@_storage_option
def pause(name: str, storage: str) -> None:
    """Let workers begin no more trials of study NAME; those at hand go on to their end."""
    _set_paused(storage, name, paused=True)


@main.command(epilog=_example("tuner resume demo"))
@click.argument("name", type=_Name())
@_storage_option
def resume(name: str, storage: str) -> None:
    """Let workers go on with study NAME."""
    _set_paused(storage, name, paused=False)


def _set_paused(storage: str, name: str, *, paused: bool) -> None:
    from puffin.studies.storage.registry import set_paused
    from puffin.studies.study import load

    study = load(_open(storage), name)
    set_paused(study.storage, study.creation_id, paused=paused)
    _say(f"study {name} is {'paused' if paused else 'open'}")


@main.command(epilog=_example("tuner priority demo 3"))
@click.argument("name", type=_Name())
@click.argument("priority", type=click.IntRange(1, 100))
@_storage_option
def priority(name: str, priority: int, storage: str) -> None:
    """Give study NAME a share of the workers' time, 1 to 100; a new study has 1.

    A study of priority 3 gets three times the time of one of priority 1; none gets nothing.
    """
    from puffin.studies.storage.registry import set_priority
    from puffin.studies.study import load

    study = load(_open(storage), name)
    set_priority(study.storage, study.creation_id, priority)
    _say(f"study {name} has priority {priority}")


@main.command(epilog=_example("tuner extend demo --trials 20"))
@click.argument("name", type=_Name())
@click.option("--trials", type=click.IntRange(min=1), required=True, help="How many more.")
@_storage_option
def extend(name: str, trials: int, storage: str) -> None:
    """Add trials to study NAME, whether it is done or not; workers do the rest."""
    from puffin.studies.lifecycle import extend as extend_
    from puffin.tuner.commands.tables import typed

    total = counted(extend_(_open(storage), name, trials), "trial")
    _say(f"study {name} has {total} now; `{typed('worker', storage=storage)}` does them")


@main.command(epilog=_example("tuner copy demo --to postgresql://puffin@host/puffin"))
@click.argument("name", type=_Name())
@click.option(
    "--to",
    envvar="TUNER_TO",
    required=True,
    show_envvar=True,
    metavar="URL",
    callback=_without_password,
    help="The other database.",
)
@_storage_option
def copy(name: str, to: str, storage: str) -> None:
    """Copy study NAME with its trials, prices and artifacts to another database.

    The original stays as it is. Pause it first, so that no worker goes on with it meanwhile.
    """
    from puffin.studies.copy import copy as copy_
    from puffin.studies.storage.database import open_storage
    from puffin.studies.storage.url import masked_url
    from puffin.studies.study import load

    copied = copy_(load(_open(storage), name), open_storage(to, create=True))
    _say(
        f"copied study {name} to {masked_url(to)}: {copied.trials} trials, {copied.artifacts} files"
    )
    if copied.in_training:
        _say(
            f"{copied.in_training} of the trials are in training here and wait there; `tuner "
            f"delete {shlex.quote(name)}` keeps workers from going on with them here"
        )


@main.command(epilog=_example("tuner delete demo --yes"))
@click.argument("name", type=_Name())
@click.option("--yes", is_flag=True, help="Do not ask.")
@_storage_option
def delete(name: str, *, yes: bool, storage: str) -> None:
    """Delete study NAME with its trials, prices and artifacts."""
    from puffin.studies.lifecycle import delete as delete_
    from puffin.studies.lifecycle import require_deletable

    database = _open(storage)
    require_deletable(database, name)
    if not yes:
        click.confirm(f"Delete study {printable(name)} with all its trials?", abort=True, err=True)
    delete_(database, name)
    _say(f"deleted study {name}")


def _open(storage: str) -> Any:
    """Open a database that is there, quietly."""
    import optuna

    from puffin.studies.storage.database import open_storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_storage(storage)
