"""The command line. A command is imported when it runs, so that help is instant."""

import atexit
import gc
import sys
from pathlib import Path
from typing import Any

import click

from puffin.studies.export.formats import FORMATS
from puffin.tuner.commands import options
from puffin.tuner.commands.options import example
from puffin.tuner.group import CommandGroup, logging_to_stderr, open_closed_streams

# When Python searches for cycles of garbage, by itself.
_THRESHOLDS = gc.get_threshold()
# Objects until the first search: imports make 100,000, which all stay.
_MANY_OBJECTS = 50_000


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`tuner run demo` is a first search, `tuner COMMAND --help` has examples.",
)
@options.debug
@click.version_option(package_name="puffin-tuner", prog_name="tuner")
def main(debug: bool) -> None:  # noqa: FBT001  # a click flag
    """Find the LSTM or GRU that forecasts a price series best."""
    # A last search for cycles of garbage, among all that was imported, takes half a second.
    atexit.register(gc.freeze)
    gc.set_threshold(_MANY_OBJECTS)
    context = click.get_current_context()
    context.call_on_close(lambda: gc.set_threshold(*_THRESHOLDS))
    open_closed_streams()
    context.with_resource(logging_to_stderr(debug=debug))


@main.command(epilog=example("tuner run demo", "tuner run my.toml --workers 4"))
@options.spec
@options.workers
@options.workers_per_gpu
@options.device
@options.overrides
@options.refresh
@options.timeout
@options.quiet
@options.storage
def run(
    spec: str,
    overrides: tuple[str, ...],
    storage: str,
    *,
    workers: int | None,
    workers_per_gpu: int,
    device: str,
    **fields: Any,
) -> None:
    """Search with SPEC, show the result and export the best.

    SPEC is a study file or the name of a preset. The study is submitted and worked on here; one
    that was interrupted resumes. After --timeout trials stop at their checkpoints, and the exit
    code is 124.
    """
    from puffin.tuner.commands import run as command
    from puffin.tuner.worker.devices import assign

    devices = assign(device, workers, workers_per_gpu)
    command.run(spec, overrides, storage, devices, **fields)


@main.command(epilog=example("tuner submit daily --set data.symbol=IBM --set name=ibm-daily"))
@options.spec
@options.overrides
@options.refresh
@options.storage
def submit(spec: str, overrides: tuple[str, ...], *, refresh: bool, storage: str) -> None:
    """Write the study of SPEC into the database, for workers."""
    from puffin.tuner.commands import submit as command

    command.submit(spec, overrides, storage, refresh=refresh)


@main.command(epilog=example("tuner worker --study demo", "tuner worker --forever"))
@options.worker
@options.storage
def worker(
    storage: str,
    *,
    max_time: float | None,
    stop_with_parent: bool,
    quiet: bool,
    log_json: bool,
    **fields: Any,
) -> None:
    """Work on the open studies until all are done, each with its share.

    Writes to stderr a line when it starts, waits and ends, and when a trial begins and ends, with
    time, level, worker, study and trial.
    """
    # Before the heavy imports, so that a signal during them is handled too.
    from puffin.tuner.worker.log_format import events_logged
    from puffin.tuner.worker.signals import Interrupt

    interrupt = Interrupt()
    interrupt.install()
    if max_time is not None:
        interrupt.after(max_time)
    if stop_with_parent:
        interrupt.with_parent(sys.stdin.fileno())
    # Nothing that these imports define becomes garbage; searching it takes a seventh of the start.
    gc.disable()
    from puffin.tuner.worker.scheduler import WorkerOptions, work

    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)  # networks that were in a cycle must not stay for long
    gc.enable()
    with events_logged(quiet=quiet, structured=log_json, forwarded=stop_with_parent):
        work(storage, interrupt, WorkerOptions(**fields))


@main.command(
    epilog=example("tuner status", "tuner status demo --watch 5", "tuner status demo --json")
)
@click.argument("name", type=options.StudyName(), required=False)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also list NAME.seeds, NAME.holdout and NAME.walk.01 ...",
)
@click.option(
    "--watch",
    type=options.Range(min=0.5),
    metavar="SECONDS",
    help="Show it again and again, until all that is shown is done.",
)
@options.as_json
@options.storage
def status(
    name: str | None, storage: str, *, everything: bool, watch: float | None, as_json: bool
) -> None:
    """List the studies with their progress, and the workers alive.

    With NAME show one study: target, data, time left, best configuration, last trials, failures.
    JSON always contains every study.
    """
    from puffin.tuner.commands import status as command
    from puffin.tuner.commands.database import open_database

    if as_json and watch is not None:
        raise click.UsageError("--watch shows a page, and --json prints values; use one of them")
    command.show(open_database(storage), name, watch, everything=everything, as_json=as_json)


@main.command(epilog=example("tuner trials demo --sort loss --limit 10", "tuner trials demo --csv"))
@options.name
@options.trials
@options.storage
def trials(name: str, form: str | None, sort: str, limit: int | None, storage: str) -> None:
    """List the trials of study NAME with their results.

    A trial is complete, pruned, failed, running, waiting, or stopped: then a later trial resumes
    it. The configuration shows the hyperparameters that differ between trials. CSV and JSON contain
    all of them, and why trials were pruned or failed.
    """
    from puffin.tuner.commands import trials as command

    command.trials(storage, name, form, sort, limit)


@main.command(epilog=example("tuner best demo", "tuner best demo --format json"))
@options.name
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="toml",
    show_default=True,
)
@options.choice
@options.storage
def best(name: str, form: str, rule: str, trial: int | None, storage: str) -> None:
    """Print the best configuration of study NAME.

    The rule 1se needs trainings with other seeds, which `tuner report` makes.
    """
    from puffin.tuner.commands import best as command

    command.best(name, form, rule, trial, storage)


@main.command(epilog=example("tuner compare demo", "tuner compare demo --by layers"))
@options.name
@options.compare_by
@options.storage
def compare(name: str, by: str, storage: str) -> None:
    """Compare the LSTM with the GRU, or trials grouped otherwise.

    The best of a larger group is lower by chance alone. Best and median are of the complete trials.
    If all trials of a group were pruned, losses are compared up to the last epoch that every group
    has reached.
    """
    from puffin.tuner.commands import compare as command

    command.compare(name, by, storage)


@main.command(epilog=example("tuner report demo", "tuner report demo --json"))
@options.name
@options.workers
@options.device
@options.report
@options.choice
@options.as_json
@options.quiet
@options.storage
def report(
    name: str, storage: str, workers: int | None, device: str, *, out: Path | None, **fields: Any
) -> None:
    """Open the holdout of study NAME, and judge its best.

    The winner is fixed before, and every opening is recorded. The best configurations are retrained
    with several seeds: on the search folds, and on all search data to be compared with simple
    baselines on bars that no choice has seen.
    """
    from puffin.tuner.commands.report import report as run_report
    from puffin.tuner.worker.devices import assign

    folder = Path("reports") / name if out is None else out
    run_report(name, storage, assign(device, workers, 2), out=folder, **fields)


@main.command(
    epilog=example(
        "tuner walk demo", "tuner walk my.toml --set walk.origins=8 --set walk.trials=20"
    )
)
@options.spec
@options.workers
@options.device
@options.overrides
@options.refresh
@options.as_json
@options.walk_out
@options.quiet
@options.storage
def walk(
    spec: str,
    overrides: tuple[str, ...],
    storage: str,
    workers: int | None,
    device: str,
    **fields: Any,
) -> None:
    """Search at many origins, and judge each winner on what followed.

    SPEC is a study file, the name of a preset, or a study of the database. Each origin is a search
    of the bars before it, NAME.walk.01 and so on; its winner forecasts the next block of bars. All
    blocks together tell whether tuning like this pays. The holdout stays sealed. An interrupted
    walk resumes.
    """
    from puffin.tuner.commands import walk as command
    from puffin.tuner.worker.devices import assign

    command.walk(spec, overrides, storage, assign(device, workers, 2), **fields)


@main.command(epilog=example("tuner targets demo", "tuner targets demo.walk"))
@options.name
@options.storage
def targets(name: str, storage: str) -> None:
    """Print the dates that a forecast of study NAME has to cover.

    They are the dates of the holdout, without any value, or with NAME.walk those of the blocks of
    a walk. A basket has a row for each symbol.
    """
    from puffin.tuner.commands import judge as command

    command.print_targets(name, storage)


@main.command(epilog=example("tuner judge demo --forecasts garch.csv --trained-until 2011-12-31"))
@options.name
@options.outside
@options.workers
@options.device
@options.as_json
@options.quiet
@options.storage
def judge(name: str, storage: str, workers: int | None, device: str, **fields: Any) -> None:
    """Judge forecasts made elsewhere beside the best of study NAME.

    A file is a CSV with the columns date and forecast, and for a basket symbol; `tuner targets`
    prints the dates. It is kept and is part of every later report. With NAME.walk the forecasts are
    of the blocks of a finished walk. Each judging is recorded as an opening of the holdout.
    """
    from puffin.tuner.commands import judge as command
    from puffin.tuner.worker.devices import assign

    command.judge(
        name,
        fields.pop("paths"),
        fields.pop("trained_until"),
        storage,
        assign(device, workers, 2),
        **fields,
    )


@main.command(epilog=example("tuner export demo best/"))
@options.name
@options.export_folder
@click.option(
    "--refit",
    type=click.Choice(["search", "all"]),
    default="search",
    show_default=True,
    help="Train the weights on the search data, or also on the opened holdout.",
)
@options.choice
@options.storage
def export(name: str, folder: Path, refit: str, rule: str, trial: int | None, storage: str) -> None:
    """Write the best of study NAME to DIR as a forecaster.

    DIR gets configuration, weights, prices, forecasts and a card. The forecast is the mean of
    networks of several seeds, each refitted for the best number of epochs. Once `tuner report` has
    opened the seal, the export includes its report.
    """
    from puffin.tuner.commands import export as command

    command.export(name, folder, refit, rule, trial, storage)


@main.command(
    epilog=example("tuner predict best/", "tuner predict best/ --csv AAPL.csv --level 0.8 --json")
)
@options.export_folder
@options.forecast
@options.as_json
def predict(
    folder: Path,
    csv: Path | None,
    symbols: tuple[str, ...],
    steps: int | None,
    level: float,
    *,
    as_json: bool,
) -> None:
    """Forecast with the model that was exported to DIR.

    Each bar has an interval. Intervals come from the model's errors on bars that it was not trained
    on, scaled by recent volatility. Only a model whose one feature is its target can forecast
    beyond the horizon. A model of several symbols forecasts each of them, and others by their own
    past.
    """
    if csv is not None and symbols:
        raise click.UsageError("--csv and --symbol both name the prices; use one of them")
    from puffin.studies.export.checksums import require_export

    require_export(folder)  # before torch is loaded, so that a mistyped folder fails at once
    from puffin.tuner.commands import predict as command

    command.predict(folder, csv, symbols, steps, level, as_json=as_json)


@main.command(epilog=example("tuner reproduce best/", "tuner reproduce best/ --verbose"))
@options.export_folder
@click.option("--verbose", is_flag=True, help="Print every figure, also those that are identical.")
def reproduce(folder: Path, *, verbose: bool) -> None:
    """Train the export in DIR again and compare every score with it.

    It is trained from its own files. Forecasts, scalers, weights, card and verdict are compared
    too, but not the files of the report: bit for bit on a machine of the same kind, within stated
    bounds elsewhere. Files that were changed after the export are reported first.
    """
    from puffin.studies.export.checksums import require_export

    require_export(folder)  # before torch is loaded, so that a mistyped folder fails at once
    from puffin.tuner.commands import reproduce as command

    command.reproduce(folder, verbose=verbose)


@main.command(
    epilog=example("tuner dashboard", "tuner dashboard --host 0.0.0.0 --password-file secret.txt")
)
@options.dashboard
@options.storage
def dashboard(
    host: str,
    port: int,
    *,
    writable: bool,
    password_file: Path | None,
    password: str | None,
    storage: str,
) -> None:
    """Show every trial in a browser, with Optuna Dashboard.

    It is read-only and served to this machine only. With a password it may be served to other
    machines too: put a proxy with TLS in front of it.
    """
    from puffin.tuner.dashboard.access import bind_address, chosen_password

    secret = chosen_password(password, password_file)
    address = bind_address(host, port, secret)
    from puffin.tuner.commands import dashboard as command

    command.dashboard(storage, address, writable=writable, password=secret)


@main.command(epilog=example("tuner check my.toml"))
@options.spec
@options.overrides
@options.refresh
def check(spec: str, overrides: tuple[str, ...], *, refresh: bool) -> None:
    """Find what is wrong with SPEC, and how long its search takes."""
    from puffin.tuner.commands import check as command

    command.check(spec, overrides, refresh=refresh)


@main.command(
    epilog=example("tuner prices MSFT --period 5y", "tuner prices AAPL IBM --source sample")
)
@click.argument("symbol", nargs=-1, required=True)
@options.price_request
@options.refresh
def prices(symbol: tuple[str, ...], *, refresh: bool, **keys: str | None) -> None:
    """Show the prices that a source has of each SYMBOL.

    First and last bar, gaps, splits, warnings. Prices from Yahoo are cached: a study of the same
    days downloads nothing until a new bar can exist.
    """
    from puffin.tuner.commands import prices as command

    command.prices(symbol, keys, refresh=refresh)


@main.command(epilog=example("tuner schema"))
def schema() -> None:
    """Print the JSON Schema of a study file, for an editor."""
    from puffin.tuner.commands import schema as command

    command.schema()


@main.command(epilog=example("tuner init", "tuner init --wait 60"))
@click.option(
    "--wait",
    type=options.Range(min=0),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the database to answer.",
)
@options.storage
def init(wait: float, storage: str) -> None:
    """Create the tables in the database if they are missing.

    `run` and `submit` do it too.
    """
    from puffin.tuner.commands.database import init as init_database

    init_database(storage, wait)


@main.command(epilog=example("tuner pause demo"))
@options.name
@options.storage
def pause(name: str, storage: str) -> None:
    """Pause study NAME: running trials finish, no new ones start."""
    from puffin.tuner.commands import manage

    manage.set_paused(storage, name, paused=True)


@main.command(epilog=example("tuner resume demo"))
@options.name
@options.storage
def resume(name: str, storage: str) -> None:
    """Resume study NAME: workers start trials again."""
    from puffin.tuner.commands import manage

    manage.set_paused(storage, name, paused=False)


@main.command(epilog=example("tuner priority demo 3"))
@options.name
@click.argument("priority", type=click.IntRange(1, 100))
@options.storage
def priority(name: str, priority: int, storage: str) -> None:
    """Set the share of the workers' time that study NAME gets.

    The priority is 1 to 100, and that of a new study 1. A study of priority 3 gets three times the
    time of one of priority 1.
    """
    from puffin.tuner.commands import manage

    manage.set_priority(storage, name, priority)


@main.command(epilog=example("tuner extend demo --trials 20"))
@options.name
@click.option("--trials", type=click.IntRange(min=1), required=True, help="How many more.")
@options.storage
def extend(name: str, trials: int, storage: str) -> None:
    """Add trials to study NAME, finished or not.

    Workers do the rest.
    """
    from puffin.tuner.commands import manage

    manage.extend(storage, name, trials)


@main.command(epilog=example("tuner copy demo --to postgresql://puffin@host/puffin"))
@options.name
@options.other_storage
@options.storage
def copy(name: str, to: str, storage: str) -> None:
    """Copy study NAME with all its data to another database.

    The original is not changed. Pause it first, so that no worker continues it meanwhile.
    """
    from puffin.tuner.commands import manage

    manage.copy(storage, name, to)


@main.command(epilog=example("tuner delete demo --yes"))
@options.name
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.storage
def delete(name: str, *, yes: bool, storage: str) -> None:
    """Delete study NAME with all its data."""
    from puffin.tuner.commands import manage

    manage.delete(storage, name, yes=yes)
