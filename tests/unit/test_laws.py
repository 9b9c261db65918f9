"""Laws that the syntax tree can show: which module may call and import what.

Each law is a function from a module's path and syntax tree to the lines that break it. It is run on
the whole source, and on a few lines that break it, so that a law which finds nothing is seen.
"""

import ast
import functools
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("models", "puffin", "studies", "tuner")
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
BENCHMARKS = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in sorted((ROOT / "benchmarks").glob("*.py"))
}

Law = Callable[[str, ast.Module], Iterator[int]]


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def name_of(node: ast.expr) -> str:
    """Return the dotted name of an expression, or '' if it is not a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return ""


def called(call: ast.Call) -> str:
    """Return the last part of a call's name: `f` for ``f()``, ``a.f()`` and ``a[0].f()``."""
    return name_of(call.func).rpartition(".")[2]


def imports(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield line, module and name of each import; the name of ``import a.b`` is ''."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, module, alias.name) for alias in node.names)


def suggests_only_in_space(place: str, tree: ast.Module) -> Iterator[int]:
    if place != "studies/space.py":
        yield from (c.lineno for c in calls(tree) if called(c).startswith("suggest_"))


def reports_only_in_objective(place: str, tree: ast.Module) -> Iterator[int]:
    if place == "tuner/worker/objective.py":
        return
    imported = {(name or module).partition(".")[0] for _, module, name in imports(tree)}
    for call in calls(tree):
        if not isinstance(call.func, ast.Attribute):
            continue
        owner = name_of(call.func.value).partition(".")[0]
        # ``report`` of a module is a function of that name, and no trial's.
        if called(call) == "should_prune" or (called(call) == "report" and owner not in imported):
            yield call.lineno


def opens_storages_only_in_storage(place: str, tree: ast.Module) -> Iterator[int]:
    if place != "studies/storage/database.py":
        yield from (c.lineno for c in calls(tree) if called(c) == "RDBStorage")


def touches_environment_only_at_the_edge(place: str, tree: ast.Module) -> Iterator[int]:
    """The options of the command line read it, by click; the pool sets that of its workers."""
    if place != "tuner/pool.py":
        names = ("environ", "environb", "getenv", "getenvb", "putenv")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in names:
                yield node.lineno
        for line, module, name in imports(tree):
            if module == "os" and name in names:
                yield line
    if place != "tuner/commands/options.py":
        for call in calls(tree):
            if {"envvar", "auto_envvar_prefix"} & {keyword.arg for keyword in call.keywords}:
                yield call.lineno


def imports_not_its_own_root(place: str, tree: ast.Module) -> Iterator[int]:
    package = place.partition("/")[0]
    if place == f"{package}/__init__.py":
        return
    parts = [source.split("/") for source in SOURCES]
    submodules = {names[1].removesuffix(".py") for names in parts if names[0] == package}
    for line, module, name in imports(tree):
        root = module.removeprefix("puffin.") == package or (
            module == "." and place.count("/") == 1
        )
        if root and name not in submodules:
            yield line


def unpickles_and_evaluates_nothing(_place: str, tree: ast.Module) -> Iterator[int]:
    modules = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    for line, module, name in imports(tree):
        if module.partition(".")[0] in modules or (module, name) == ("torch", "load"):
            yield line
    for call in calls(tree):
        full = name_of(call.func)
        allows = [k for k in call.keywords if k.arg == "allow_pickle"]
        if full in ("torch.load", "eval", "exec") or called(call).endswith("_pickle") or allows:
            yield call.lineno


def models_know_neither_optuna_nor_sql(place: str, tree: ast.Module) -> Iterator[int]:
    if place.startswith("models/"):
        for line, module, _ in imports(tree):
            if module.partition(".")[0] in ("optuna", "optuna_dashboard", "sqlalchemy", "sqlite3"):
                yield line


def reads_attributes_only_in_records(place: str, tree: ast.Module) -> Iterator[int]:
    """Optuna's attributes have string keys; all other modules read and write typed records."""
    if place == "studies/records.py":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("user_attrs", "set_user_attr"):
            yield node.lineno


parsed = functools.cache(ast.parse)  # every law reads every module


def breaches(law: Law, place: str, source: str) -> list[str]:
    return [f"{place}:{line}" for line in law(place, parsed(source))]


def breaches_everywhere(law: Law, sources: dict[str, str] = SOURCES) -> list[str]:
    return [breach for place, source in sources.items() for breach in breaches(law, place, source)]


def test_the_laws_are_held_against_every_package() -> None:
    assert {place.partition("/")[0] for place in SOURCES} == set(PACKAGES)
    assert {"studies/space.py", "tuner/worker/objective.py", "studies/storage/database.py"} <= set(
        SOURCES
    )
    assert {"puffin/deep/rnn.py", "puffin/deep/training.py"} <= set(SOURCES)


def test_every_package_that_is_shipped_is_held_to_the_laws() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    shipped = tomllib.loads(text)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    links = [path.readlink() for path in (ROOT / "puffin").iterdir() if path.is_symlink()]
    assert sorted([*shipped, *(link.name for link in links)]) == sorted(PACKAGES)
    assert {link.parent for link in links} == {Path("..")}


def test_only_the_space_suggests() -> None:
    assert breaches_everywhere(suggests_only_in_space) == []


def test_only_the_objective_reports_and_prunes() -> None:
    assert breaches_everywhere(reports_only_in_objective) == []


def test_only_the_storage_module_opens_storages() -> None:
    assert breaches_everywhere(opens_storages_only_in_storage) == []


def test_only_options_read_and_the_pool_sets_environment_variables() -> None:
    assert breaches_everywhere(touches_environment_only_at_the_edge) == []


def test_no_module_imports_its_own_package_root() -> None:
    assert breaches_everywhere(imports_not_its_own_root) == []


def test_nothing_is_unpickled_or_evaluated() -> None:
    assert breaches_everywhere(unpickles_and_evaluates_nothing) == []


def test_the_models_know_neither_optuna_nor_sql() -> None:
    assert breaches_everywhere(models_know_neither_optuna_nor_sql) == []


def test_only_the_records_read_and_write_attributes() -> None:
    assert {"studies/records.py", "benchmarks/storage.py"} <= set(SOURCES | BENCHMARKS)
    assert breaches_everywhere(reads_attributes_only_in_records, SOURCES | BENCHMARKS) == []


BROKEN: list[tuple[Law, str, str]] = [
    (suggests_only_in_space, "tuner/worker/objective.py", "x = trial.suggest_float('lr', 0, 1)"),
    (suggests_only_in_space, "tuner/worker/worker.py", "study.ask().suggest_int('n', 1, 2)"),
    (reports_only_in_objective, "tuner/worker/worker.py", "trial.report(0.5, 1)"),
    (reports_only_in_objective, "tuner/worker/worker.py", "self._trial.report(0.5, 1)"),
    (reports_only_in_objective, "studies/summary.py", "if t.should_prune(): pass"),
    (opens_storages_only_in_storage, "tuner/commands/run.py", "s = RDBStorage('sqlite:///x.db')"),
    (
        opens_storages_only_in_storage,
        "tuner/commands/run.py",
        "s = optuna.storages.RDBStorage(url)",
    ),
    (touches_environment_only_at_the_edge, "tuner/cli.py", "url = os.environ['TUNER_STORAGE']"),
    (touches_environment_only_at_the_edge, "studies/storage/database.py", "url = os.getenv('X')"),
    (touches_environment_only_at_the_edge, "studies/storage/database.py", "from os import environ"),
    (
        touches_environment_only_at_the_edge,
        "tuner/commands/run.py",
        "click.option('--x', envvar='X')",
    ),
    (imports_not_its_own_root, "tuner/commands/run.py", "import puffin.tuner"),
    (imports_not_its_own_root, "tuner/commands/run.py", "from puffin.tuner import run_everything"),
    (imports_not_its_own_root, "studies/study.py", "from . import __version__"),
    (imports_not_its_own_root, "puffin/deep/rnn.py", "import puffin"),
    (unpickles_and_evaluates_nothing, "studies/export/write.py", "import pickle"),
    (unpickles_and_evaluates_nothing, "studies/export/write.py", "from joblib import load"),
    (unpickles_and_evaluates_nothing, "models/networks/rnn.py", "state = torch.load('model.pt')"),
    (unpickles_and_evaluates_nothing, "models/networks/rnn.py", "from torch import load"),
    (unpickles_and_evaluates_nothing, "studies/spec.py", "value = eval('1 + 1')"),
    (unpickles_and_evaluates_nothing, "studies/prices/load.py", "frame = pd.read_pickle('x')"),
    (
        unpickles_and_evaluates_nothing,
        "studies/prices/load.py",
        "np.load('x', allow_pickle=True)",
    ),
    (models_know_neither_optuna_nor_sql, "models/training/fold_training.py", "import optuna.trial"),
    (
        models_know_neither_optuna_nor_sql,
        "models/training/fold_training.py",
        "from sqlalchemy import text",
    ),
    (reads_attributes_only_in_records, "studies/summary.py", "x = trial.user_attrs['best_loss']"),
    (reads_attributes_only_in_records, "benchmarks/scale.py", "if 'worker' in t.user_attrs: pass"),
    (reads_attributes_only_in_records, "tuner/worker/refit.py", "trial.set_user_attr('run', {})"),
]


@pytest.mark.parametrize(("law", "place", "source"), BROKEN)
def test_a_breach_is_seen(law: Law, place: str, source: str) -> None:
    assert breaches(law, place, f"'''A module.'''\n\n{source}\n") == [f"{place}:3"]


LAWFUL: list[tuple[Law, str, str]] = [
    (suggests_only_in_space, "studies/space.py", "trial.suggest_int('n', 1, 2)"),
    (reports_only_in_objective, "tuner/worker/objective.py", "trial.report(0.5, 1)"),
    (
        reports_only_in_objective,
        "tuner/cli.py",
        "from puffin.tuner.commands import report\nreport.report(name)",
    ),
    (opens_storages_only_in_storage, "studies/storage/database.py", "RDBStorage(url)"),
    (
        touches_environment_only_at_the_edge,
        "tuner/commands/options.py",
        "click.option('--x', envvar='X')",
    ),
    (touches_environment_only_at_the_edge, "tuner/pool.py", "env = os.environ | {'A': '1'}"),
    (
        imports_not_its_own_root,
        "tuner/commands/run.py",
        "from puffin.tuner import pool\nimport puffin.studies",
    ),
    (
        imports_not_its_own_root,
        "puffin/deep/rnn.py",
        "from puffin.models.networks.rnn import GRUNet",
    ),
    (
        unpickles_and_evaluates_nothing,
        "models/training/fold_training.py",
        "network.eval()\nloads('{}')",
    ),
    (models_know_neither_optuna_nor_sql, "studies/study.py", "import optuna"),
    (reads_attributes_only_in_records, "studies/records.py", "x = trial.user_attrs['best_loss']"),
    (reads_attributes_only_in_records, "studies/copy.py", "create_trial(user_attrs=attrs)"),
    (reads_attributes_only_in_records, "studies/report/files.py", "image.attrs['src'] = url"),
]


@pytest.mark.parametrize(("law", "place", "source"), LAWFUL)
def test_what_is_lawful_is_let_pass(law: Law, place: str, source: str) -> None:
    assert breaches(law, place, source) == []
