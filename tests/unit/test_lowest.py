"""`make lowest` pins every dependency to the lowest version that pyproject.toml allows."""

import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_every_dependency_but_torch_is_pinned_to_its_lower_bound(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runpy.run_path(str(ROOT / ".ci/lowest.py"), run_name="__main__")
    pinned = dict(line.split("==") for line in capsys.readouterr().out.splitlines())
    needed = {Requirement(text).name: Requirement(text) for text in PROJECT["dependencies"]}
    assert set(pinned) == set(needed) - {"torch"}
    for name, version in pinned.items():
        assert needed[name].specifier.contains(version), name


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("click", "8.3.3"),  # a question that gets no answer leaves a blank on stdout
        ("numpy", "2.0.1"),  # pandas 3.1.0 asks for 2.0.2
        ("psycopg", "3.2.0"),  # asks for a psycopg-binary that was never released
        ("psycopg", "3.2.1"),  # logs on import what it could not import
        ("tenacity", "9.1.4"),  # wait_exponential_jitter has no multiplier
    ],
)
def test_versions_that_were_found_not_to_work_are_not_allowed(name: str, broken: str) -> None:
    (needed,) = (r for r in map(Requirement, PROJECT["dependencies"]) if r.name == name)
    assert not needed.specifier.contains(Version(broken))
