"""The command line. Heavy imports wait until a command needs them, so that help is instant."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from models.config import BOUNDED
from models.errors import PuffinError

_DEFAULT_STORAGE = "sqlite:///tuner.db"
_INTERRUPTED = 130  # the shell's word for an end by SIGINT


class _Group(click.Group):
    """Turns errors into one line and an exit code; a traceback only with --debug."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)
        except PuffinError as error:
            self._end(ctx, str(error))
        except BrokenPipeError:
            sys.exit(0)
        except Exception as error:  # noqa: BLE001  # the last resort of a program
            self._end(ctx, _in_words(error))

    @staticmethod
    def _end(ctx: click.Context, message: str) -> None:
        if ctx.params.get("debug"):
            raise  # noqa: PLE0704  # called inside an except clause
        click.echo(f"error: {message}", err=True)
        sys.exit(1)


def _in_words(error: Exception) -> str:
    """Put an error that no part of the program has put into words into one line."""
    kind = type(error)
    first_line = (str(error).splitlines() or ["no message"])[0]
    if kind.__module__.startswith("sqlalchemy") or kind.__name__ == "StorageInternalError":
        return f"the database failed: {first_line} Try again; nothing that it holds is lost"
    return f"unexpected {kind.__name__}: {first_line}; `tuner --debug ...` shows where"


def _example(*lines: str) -> str:
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def _storage_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--storage",
        envvar="TUNER_STORAGE",
        default=_DEFAULT_STORAGE,
        show_default=True,
        show_envvar=True,
        metavar="URL",
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
    level = logging.DEBUG if debug else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    for chatty in ("alembic", "sqlalchemy", "urllib3", "matplotlib", "optuna"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@main.command(epilog=_example("tuner run demo", "tuner run my.toml --workers 4"))
@click.argument("spec")
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one per core]")
@click.option(
    "--workers-per-gpu",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Processes that share a GPU, each with its share of the memory.",
)
@_device_option
@_set_option
@_storage_option
def run(
    spec: str,
    workers: int | None,
    workers_per_gpu: int,
    device: str,
    overrides: tuple[str, ...],
    storage: str,
) -> None:
    """Search: submit SPEC, work on it here, show the result, export the best.

    SPEC is a study file or the name of a preset. A study that was interrupted goes on.
    """
    from tuner.run import run as run_

    run_(spec, overrides, storage, workers, device, workers_per_gpu)


@main.command(epilog=_example("tuner submit daily --set data.symbol=IBM --set name=ibm-daily"))
@click.argument("spec")
@_set_option
@_storage_option
def submit(spec: str, overrides: tuple[str, ...], storage: str) -> None:
    """Write the study of SPEC into the database and return; workers do the rest."""
    from studies import result
    from tuner.run import open_study

    handle = open_study(spec, overrides, storage)
    state = result.status(handle)
    click.echo(
        f"study {handle.name}: {state.tickets - state.finished} of {state.tickets} trials to do; "
        "`tuner worker` does them",
        err=True,
    )


@main.command(epilog=_example("tuner worker --study demo", "tuner worker --forever"))
@click.option("--study", metavar="NAME", help="Serve only this study, waiting until it is there.")
@click.option("--forever", is_flag=True, help="Wait for new studies instead of ending.")
@_device_option
@click.option(
    "--memory-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of a GPU's memory that this worker may take.",
)
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Time between two checkpoints of a trial, at least.",
)
@_storage_option
def worker(  # options
    study: str | None,
    *,
    forever: bool,
    device: str,
    memory_share: float,
    checkpoint_seconds: float,
    storage: str,
) -> None:
    """Work on the open studies of the database, until all are done."""
    # Before the heavy imports: a signal that comes meanwhile must not be an ugly end.
    from tuner.interrupt import Interrupt

    interrupt = Interrupt()
    interrupt.install()
    from tuner.worker import work

    work(
        storage,
        study=study,
        device=device,
        memory_share=memory_share,
        forever=forever,
        checkpoint_seconds=checkpoint_seconds,
        interrupt=interrupt,
    )


@main.command(epilog=_example("tuner status", "tuner status demo --json"))
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_storage_option
def status(name: str | None, *, as_json: bool, storage: str) -> None:
    """List studies, their tickets by state, and their best loss so far."""
    from studies import result
    from studies.study import load, study_names
    from tuner import present

    database = _open(storage)
    names = [name] if name else study_names(database)
    states = [result.status(load(database, n)) for n in names]
    if as_json:
        click.echo(json.dumps([s.to_json() for s in states], indent=2))
    else:
        present.stdout().print(present.status_table(states))


@main.command(epilog=_example("tuner best demo", "tuner best demo --format json"))
@click.argument("name")
@click.option(
    "--format",
    "form",
    type=click.Choice(["toml", "json", "python"]),
    default="toml",
    show_default=True,
)
@_storage_option
def best(name: str, form: str, storage: str) -> None:
    """Print the best configuration of study NAME."""
    from studies.formats import FORMATS
    from studies.result import best_record
    from studies.study import load

    click.echo(FORMATS[form](best_record(load(_open(storage), name))))


@main.command(epilog=_example("tuner compare demo", "tuner compare demo --by layers"))
@click.argument("name")
@click.option(
    "--by",
    type=click.Choice(["cell", "layers", "hidden_dim", *BOUNDED]),
    default="cell",
    show_default=True,
    help="What the trials differ in; hidden_dim is the first width, and more than five values are "
    "put together in thirds.",
)
@_storage_option
def compare(name: str, by: str, storage: str) -> None:
    """Set the LSTM beside the GRU, or trials that differ otherwise: losses, skill, time.

    The best of a group is lower by luck alone where the group is larger. The median is that of its
    complete trials: fair in a grid or a random search without a pruner.
    """
    from studies.result import compare as compare_
    from studies.study import load
    from tuner import present

    present.stdout().print(present.group_table(compare_(load(_open(storage), name), by)))


@main.command(epilog=_example("tuner export demo best/"))
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@_storage_option
def export(name: str, folder: Path, storage: str) -> None:
    """Write the best of study NAME to DIR: config.toml, model.safetensors, README.md.

    The weights are refitted on all search data for the best number of epochs.
    """
    from studies.export import export as export_
    from studies.study import load

    written = export_(load(_open(storage), name), folder)
    click.echo(f"wrote {written}/", err=True)


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
    help="Let the browser add studies, write notes, and add and delete files.",
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
    from tuner.guard import chosen_password, place

    secret = chosen_password(password, password_file)
    where = place(host, port, secret)
    from tuner.dashboard import dashboard_app, serve

    def announce(url: str) -> None:
        may = "writable" if writable else "read-only"
        asks = "no password" if secret is None else "password needed"
        click.echo(f"dashboard on {url}/dashboard/ ; {may}, {asks} ; Ctrl-C ends it", err=True)

    serve(dashboard_app(_open(storage), writable=writable, password=secret), where, announce)


@main.command(epilog=_example("tuner check my.toml"))
@click.argument("spec")
@_set_option
def check(spec: str, overrides: tuple[str, ...]) -> None:
    """Find everything that is wrong with SPEC and its prices, without training."""
    from tuner.check import check as check_

    check_(spec, overrides)


@main.command(epilog=_example("tuner delete demo --yes"))
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_storage_option
def delete(name: str, *, yes: bool, storage: str) -> None:
    """Delete study NAME with its trials, prices and artifacts."""
    from studies.study import delete as delete_
    from studies.study import require

    database = _open(storage)
    require(database, name)
    if not yes:
        click.confirm(f"Delete study {name} with all its trials?", abort=True, err=True)
    delete_(database, name)
    click.echo(f"deleted study {name}", err=True)


def _open(storage: str) -> Any:
    """Open a database that is there, quietly."""
    import optuna

    from studies.storage import open_storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_storage(storage)
