"""The reference pages are what docs/generate.py writes, and the schema fits the study file."""

import importlib.util
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from puffin.studies.schema import MEANINGS, study_file_schema
from puffin.studies.spec import Spec, SpecError, parse_spec, preset_names

ROOT = Path(__file__).parents[2]
LEAST = {"name": "x", "data": {"symbol": "AAPL"}}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def accepts() -> Callable[[dict[str, Any]], bool]:
    """Return whether the schema accepts a study file; dates are strings in JSON."""
    jsonschema = pytest.importorskip("jsonschema", reason="of the extra dev")
    validator = jsonschema.Draft202012Validator(study_file_schema())
    return lambda values: validator.is_valid(json.loads(json.dumps(values, default=str)))


def is_a_study(values: dict[str, Any]) -> bool:
    try:
        parse_spec(values, "x")
    except SpecError:
        return False
    return True


def study(text: str) -> dict[str, Any]:
    """Return the smallest study file with the keys of `text` in the place of its own."""
    return LEAST | tomllib.loads(text)


@pytest.mark.parametrize("name", ["commands.md", "study-file.md"])
def test_a_reference_page_is_what_the_code_says(generate: ModuleType, name: str) -> None:
    assert (generate.FOLDER / name).read_text("utf-8") == generate.pages()[name]


def test_every_reference_page_is_generated(generate: ModuleType) -> None:
    assert {page.name for page in generate.FOLDER.iterdir()} == set(generate.pages())


def test_a_stale_reference_page_is_named(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    monkeypatch.setattr(generate, "pages", lambda: {"commands.md": "new"})
    (tmp_path / "commands.md").write_text("old")
    with pytest.raises(SystemExit, match=r"docs/reference/commands\.md; run python docs/gen"):
        generate.main()


def test_every_key_has_a_meaning_and_no_other() -> None:
    keys = set(Spec.model_fields)
    for name, field in Spec.model_fields.items():
        keys |= {f"{name}.{key}" for key in getattr(field.annotation, "model_fields", ())}
    assert set(MEANINGS) == keys


@pytest.mark.parametrize("name", preset_names())
def test_the_schema_accepts_every_preset(accepts: Callable[..., bool], name: str) -> None:
    assert accepts(tomllib.loads((ROOT / f"studies/presets/{name}.toml").read_text("utf-8")))


@pytest.mark.parametrize("page", ["README.md", "docs/study-file.md", "docs/tutorial.md"])
def test_the_schema_accepts_the_study_files_of_the_pages(
    accepts: Callable[..., bool], page: str
) -> None:
    (text,) = (
        block.removeprefix("toml\n")
        for block in (ROOT / page).read_text("utf-8").split("```")
        if block.startswith("toml\n")
    )
    assert accepts(tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data = { source = 'csv', path = 'a.csv', columns = { close = 'JPM' } }",
        "data = { source = 'csv', path = 'a.csv', features = ['column:x', 'diff:y'] }",
        "data = { symbol = 'A', start = 2005-01-01, end = 2013-03-01 }",
        "walk_forward = { window = 'rolling', train_bars = 500, purge = 3 }",
        "search = { sampler = 'gp', pruner = 'none', trials = 3, seed = 7 }",
        "space = { cell = ['lstm', 'gru'] }",
        "space = { cell = 'gru', lr = [0.1, 1] }",
        "space = { dropout = { low = 0, high = 0.5, step = 0.1 } }",
        "space = { lr = { low = 1e-4, high = 1e-2, log = true } }",
        "space = { hidden_dim = { low = 8, high = 64, step = 8, tied = true } }",
        "space = { hidden_dim = { choices = [32, 64], funnel = true } }",
        "space = { layers = [1, 2], batch_size = 32, noise = 0.1 }",
    ],
)
def test_schema_and_program_accept_the_same_files(accepts: Callable[..., bool], text: str) -> None:
    assert (accepts(study(text)), is_a_study(study(text))) == (True, True)


@pytest.mark.parametrize(
    "text",
    [
        "name = 'with space'",
        "data = { symbol = 'A', sourse = 'sample' }",
        "data = { symbol = 'A', source = 'bloomberg' }",
        "data = { symbol = 'A', target = 'luck' }",
        "data = { symbol = 'A', features = [] }",
        "data = { symbol = 'A', features = ['volatility'] }",
        "data = { symbol = 'A', interval = '2d' }",
        "data = { symbol = 'A', horizon = 0 }",
        "data = { source = 'csv', path = 'a.csv', columns = { price = 'JPM' } }",
        "walk_forward = { folds = 1 }",
        "training = { loss = 'quantiles' }",
        "training = { max_epochs = 2.5 }",
        "search = { sampler = 'cmaes' }",
        "search = { seed = -1 }",
        "space = { cell = 'rnn', lr = [1, 2] }",
        "space = { units = [1, 2] }",
        "space = { dropout = [0.1, 1.0] }",
        "space = { lookback = [0, 10] }",
        "space = { lookback = [10, 10] }",
        "space = { lookback = [] }",
        "space = { lookback = 'long', lr = [1, 2] }",
        "space = { lr = { low = 1 } }",
        "space = { lr = { low = 1, high = 2, tied = true } }",
        "space = { hidden_dim = { low = 8, high = 64, tied = 1 } }",
        "extra = 1",
    ],
)
def test_schema_and_program_refuse_the_same_files(accepts: Callable[..., bool], text: str) -> None:
    assert (accepts(study(text)), is_a_study(study(text))) == (False, False)
