"""The Dockerfile, and what the image is made of."""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.acceptance.deploy.tools import BUILD_LOCK, DOCKERFILE, LOCK, ROOT, changed, run_tool


def pins(lock: Path) -> dict[str, Requirement]:
    """Return the requirements of a lock file by name; each has one version and a hash."""
    entries = re.split(r"(?m)^(?=[\w#])", lock.read_text("utf-8"))
    entries = [entry for entry in entries if entry and not entry.startswith("#")]
    assert all("--hash=sha256:" in entry for entry in entries)
    found = [Requirement(entry.partition("\\")[0]) for entry in entries]
    assert all(re.fullmatch(r"==[^,*]+", str(pin.specifier)) for pin in found)
    return {canonicalize_name(pin.name): pin for pin in found}


def needed_by(requirements: Iterable[str]) -> set[str]:
    """Return the names of requirements and, as they are installed here, of all that they need."""
    found: set[tuple[str, frozenset[str]]] = set()
    left = [Requirement(text) for text in requirements]
    while left:
        wanted = left.pop()
        key = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if key in found:
            continue
        found.add(key)
        extras = [{"extra": extra} for extra in ("", *wanted.extras)]
        for text in importlib.metadata.requires(wanted.name) or []:
            further = Requirement(text)
            if further.marker is None or any(map(further.marker.evaluate, extras)):
                left.append(further)
    return {name for name, _ in found}


def test_hadolint_finds_nothing() -> None:
    assert run_tool("hadolint", "--no-color", DOCKERFILE) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("USER 10001:10001", "USER root", "DL3002"),
        ("FROM python:${PYTHON}-slim-bookworm\n", "FROM python:latest\n", "DL3007"),
        ("COPY --from=build", "ADD", "DL3020"),
    ],
)
def test_hadolint_finds_a_planted_fault(old: str, new: str, rule: str, tmp_path: Path) -> None:
    code, text = run_tool("hadolint", "--no-color", changed(DOCKERFILE, old, new, tmp_path))
    assert code == 1
    assert rule in text


def test_the_image_contains_only_what_it_needs() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert lines[1] == "*"
    taken = {line[1:] for line in lines if line.startswith("!")}
    text = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needed = {text["project"]["readme"], "pyproject.toml"}
    needed |= {name.partition("/")[0] for name in text["project"]["license-files"]}
    (package,) = text["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    links = {path.name for path in (ROOT / package).iterdir() if path.is_symlink()}
    needed |= {package} | links
    needed |= {f"deploy/{name}" for name in ("NOTICE", LOCK.name, BUILD_LOCK.name)}
    assert taken == needed


def test_every_dependency_of_the_image_is_pinned_by_hash() -> None:
    """Run `make lock` if this fails after a change of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [Requirement(text) for text in project["project"]["dependencies"]]
    locked = pins(LOCK)
    (torch,) = re.findall(r"(?m)^ARG TORCH=(\S+)$", DOCKERFILE.read_text("utf-8"))
    for requirement in wanted:
        pin = locked.get(canonicalize_name(requirement.name))
        version = torch if requirement.name == "torch" else str(pin and pin.specifier)[2:]
        assert requirement.specifier.contains(version), requirement.name
    missing = needed_by(project["project"]["dependencies"]) - {"torch", *locked}
    assert missing == set()
    build = [Requirement(text).name for text in project["build-system"]["requires"]]
    assert set(build) <= set(pins(BUILD_LOCK))


def test_the_notice_names_every_package_under_the_lgpl() -> None:
    def licence(name: str) -> str:
        data: Any = importlib.metadata.metadata(name)
        return " ".join([data.get("License-Expression") or "", *data.get_all("Classifier", [])])

    lesser = {name for name in pins(LOCK) if re.search("LGPL|Lesser General", licence(name))}
    assert lesser == {"psycopg", "psycopg-binary"}
    notice = (ROOT / "deploy/NOTICE").read_text("utf-8")
    assert set(re.findall(r"(?m)^  (psycopg\S*) +https", notice)) == lesser
    text = DOCKERFILE.read_text("utf-8")
    assert "deploy/NOTICE" in text
    assert "LGPL-3.0-only" in text
