"""What `make wheel` accepts as the files of a wheel, and the files of hosted CI and pre-commit."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheel", ROOT / ".ci/wheel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def complete(wheel: ModuleType) -> set[str]:
    info = "puffin_tuner-1.0.dist-info"
    return wheel.shipped_files(ROOT) | {
        f"{info}/RECORD",
        f"{info}/licenses/LICENSE",
        f"{info}/licenses/studies/sample/NOTICE",
    }


def test_a_wheel_ships_code_types_sample_presets_and_templates(complete: set[str]) -> None:
    assert complete >= {
        "puffin/py.typed",
        "puffin/deep/rnn.py",
        "puffin/models/networks/gru.py",
        "puffin/studies/presets/demo.toml",
        "puffin/studies/report/templates/report.html",
        "puffin/studies/sample/AAPL.csv.gz",
        "puffin/tuner/cli.py",
    }


def test_a_complete_wheel_has_no_problems(wheel: ModuleType, complete: set[str]) -> None:
    assert wheel.wheel_problems(complete, ROOT) == []


@pytest.mark.parametrize(
    ("lost", "problem"),
    [
        ("puffin/models/networks/gru.py", "puffin/models/networks/gru.py is missing"),
        ("puffin/studies/sample/AAPL.csv.gz", "puffin/studies/sample/AAPL.csv.gz is missing"),
        (
            "puffin_tuner-1.0.dist-info/licenses/studies/sample/NOTICE",
            "the licence file studies/sample/NOTICE is missing",
        ),
    ],
)
def test_a_missing_file_is_a_problem(
    wheel: ModuleType, complete: set[str], lost: str, problem: str
) -> None:
    assert wheel.wheel_problems(complete - {lost}, ROOT) == [problem]


@pytest.mark.parametrize("name", ["models/config.py", "tests/conftest.py", "puffin/notes.txt"])
def test_a_file_of_another_place_is_a_problem(
    wheel: ModuleType, complete: set[str], name: str
) -> None:
    assert wheel.wheel_problems(complete | {name}, ROOT) == [f"{name} does not belong there"]


def test_hosted_ci_is_a_valid_workflow() -> None:
    schemas = pytest.importorskip("check_jsonschema.builtin_schemas", reason="of the extra dev")
    jsonschema = pytest.importorskip("jsonschema")
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    # YAML 1.1 reads the key `on` as true; GitHub does not.
    workflow["on"] = workflow.pop(True)
    jsonschema.validate(workflow, schemas.get_builtin_schema("vendor.github-workflows"))


def test_hosted_ci_calls_the_ci_of_the_repository() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    commands = {name: [s.get("run", "") for s in job["steps"]] for name, job in jobs.items()}
    assert "bash .ci/run" in commands["checks"]
    (wheel,) = (command for command in commands["wheel"] if command.startswith("make wheel"))
    assert wheel == "make wheel PYTHON=python3 ARGS=${{ matrix.args }}"


def test_pre_commit_runs_the_tools_of_make_check() -> None:
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    (repository,) = configuration["repos"]
    programs = {hook["entry"].split()[0] for hook in repository["hooks"]}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    checked = makefile.partition("check: .venv/installed-dev")[2].partition("\n\n")[0]
    assert repository["repo"] == "local"
    assert programs <= {f".venv/bin/{tool}" for tool in re.findall(r"\$\(BIN\)/(\S+)", checked)}
