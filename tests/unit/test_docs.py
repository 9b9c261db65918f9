"""The pages agree with the program, and with each other."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from puffin.models.config import Config
from puffin.models.features import FEATURES
from puffin.studies.space import parse_space
from puffin.studies.spec import parse_spec

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def test_the_table_of_rooms_names_every_module_once() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8").partition("## Modules")[2]
    rows = re.findall(r"^\| [^|]*\| ([^|]*) \|", page, re.MULTILINE)
    named = [name for row in rows for name in re.findall("`(\\w+)`", row)]
    files = (
        path for room in ("models", "studies", "tuner") for path in (ROOT / room).rglob("*.py")
    )
    assert sorted(named) == sorted(path.stem for path in files if path.stem != "__init__")


def test_the_study_file_of_the_readme_is_a_study() -> None:
    (text,) = blocks("README.md", "toml")
    spec = parse_spec(tomllib.loads(text), "README.md")
    assert (spec.name, spec.tickets) == ("my-first", 50)


def test_the_section_of_the_page_on_walks_has_every_key_and_the_defaults() -> None:
    (text,) = blocks("docs/walk.md", "toml")
    shown = tomllib.loads(text)["walk"]
    default = parse_spec({"name": "x", "data": {"symbol": "AAPL"}}, "x").walk.model_dump()
    assert shown == default | {"trials": 20}
    parse_spec({"name": "x", "data": {"symbol": "AAPL"}, "walk": shown}, "x")


def test_the_defaults_that_the_page_shows_are_those_of_the_program() -> None:
    (text,) = blocks("docs/study-file.md", "toml")
    shown = tomllib.loads(text)
    default = parse_spec({"name": "x", "data": {"symbol": "AAPL"}}, "x")
    for section in ("data", "walk_forward", "training", "search"):
        for key, value in shown[section].items():
            own: Any = getattr(getattr(default, section), key)
            own = default.tickets if key == "trials" else own
            assert (list(own) if isinstance(own, tuple) else own) == value, f"{section}.{key}"
    assert parse_spec(shown, "page").parsed_space == default.parsed_space


def test_every_key_of_a_study_file_is_on_the_page() -> None:
    page = (ROOT / "docs/study-file.md").read_text()
    default = parse_spec({"name": "x", "data": {"symbol": "A"}, "space": {"lr": [1, 2]}}, "x")
    for section in (default.data, default.walk_forward, default.training, default.search):
        for key in type(section).model_fields:
            assert re.search(rf"^(# )?{key} = ", page, flags=re.MULTILINE), key


def test_the_page_says_what_a_hyperparameter_left_out_is() -> None:
    page = (ROOT / "docs/study-file.md").read_text()
    (sentence,) = re.findall(r"left out of `\[space\]` is fixed: (.*?)\.\n", page, re.DOTALL)
    said = tomllib.loads("\n".join(re.findall(r"`(.*?)`", sentence)))
    space = parse_space({"lr": [0.1, 0.2]})
    own = {name: dimension.bounds[0] for name, dimension in space.scalars.items()}
    own |= {"layers": space.layers.bounds[0], "hidden_dim": space.hidden_dim.bounds[0]}
    own["lr"] = Config().lr
    assert own.pop("features") == ""  # all of the study
    assert said == own


def test_every_feature_and_its_first_value_is_on_the_page_and_no_other() -> None:
    page = (ROOT / "docs/study-file.md").read_text()
    table = page.partition("## Features")[2].partition("## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| `")]
    said = {name: int(first) for names, _, first in rows for name in re.findall("`(.*?)`", names)}
    assert said == {name: feature.warmup for name, feature in FEATURES.items()}


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_file_that_a_page_for_developers_names_is_there(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL)
    named = set(re.findall(r"`((?:[\w.]+/)+[\w.]*)`", text))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def hunks(page: str) -> list[tuple[str, str]]:
    """Return file and old lines (context and removed) of every hunk of a page's diffs."""
    found = []
    for block in blocks(page, "diff"):
        for name, body in re.findall(
            r"^--- (\S+)\n(.*?)(?=^--- |\Z)", block, re.DOTALL | re.MULTILINE
        ):
            for hunk in re.split(r"^@@\n", body, flags=re.MULTILINE):
                old = [line[1:] for line in hunk.splitlines() if not line.startswith("+")]
                found.append((name, "\n".join(old)))
    return found


@pytest.mark.parametrize(("name", "old"), [h for h in hunks("CONTRIBUTING.md") if h[1]])
def test_a_diff_of_contributing_applies_in_one_place(name: str, old: str) -> None:
    assert f"\n{(ROOT / name).read_text('utf-8')}".count(f"\n{old}\n") == 1


def test_every_kind_of_thing_to_add_has_a_diff() -> None:
    kinds = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("### ... ")[1:]
    assert len(kinds) == 13
    assert [kind.partition("\n")[0] for kind in kinds if "```diff" not in kind] == []


DECISIONS = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))


def test_the_index_of_decisions_has_the_title_of_each() -> None:
    rows = re.findall(
        r"^\| \[(\d+)\]\((.*?)\) \| (.*) \|$",
        (ROOT / "docs/adr/README.md").read_text("utf-8"),
        re.MULTILINE,
    )
    titles = [page.read_text("utf-8").partition("\n")[0] for page in DECISIONS]
    assert [name for _, name, _ in rows] == [page.name for page in DECISIONS]
    assert [f"# {number}. {title}" for number, _, title in rows] == titles


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_every_part(page: Path) -> None:
    text = page.read_text("utf-8")
    parts = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert re.search(r"^Status: \w+, \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert parts[:2] + parts[3:] == ["Context", "Decision", "Consequences"]
    assert parts[2] in ("What was tried", "What was considered")


def test_log_entries_are_newest_first_and_have_every_part() -> None:
    _, *entries = re.split(r"^## ", (ROOT / "docs/log.md").read_text("utf-8"), flags=re.MULTILINE)
    dates = []
    for entry in entries:
        heading = re.match(r"(\d{4}-\d\d-\d\d): .+ \((kept|negative|not run|open)\)\n", entry)
        assert heading, entry.partition("\n")[0]
        dates.append(heading[1])
        parts = re.findall(r"^\*\*(\w+):\*\*", entry, re.MULTILINE)
        assert parts == ["Tried", "Expected", "Found", "Kept"], heading[0]
    assert dates == sorted(dates, reverse=True)
    assert len(dates) > 10


def test_every_script_of_the_results_is_kept() -> None:
    page = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
    as_files = re.findall(r"(benchmarks/\w+\.py)", page)
    as_modules = re.findall(r"-m benchmarks\.(\w+)", page)
    scripts = {*as_files, *(f"benchmarks/{name}.py" for name in as_modules)}
    assert len(scripts) > 5
    assert [name for name in sorted(scripts) if not (ROOT / name).exists()] == []
    assert "not kept" not in re.sub(r"whose script is not kept", "", page)


def test_a_script_that_imports_another_is_run_as_a_module() -> None:
    """As a file it does not find the other."""
    texts = [
        path.read_text("utf-8")
        for path in (
            ROOT / "Makefile",
            *(ROOT / "benchmarks").glob("*.*"),
            *(ROOT / "docs").glob("*.md"),
        )
        if path.is_file()
    ]
    files = set(re.findall(r"python benchmarks/(\w+)\.py", "\n".join(texts)))
    assert len(files) > 5
    imports = re.compile(r"^(?:from|import) benchmarks\b", re.MULTILINE)
    sources = {name: (ROOT / "benchmarks" / f"{name}.py").read_text("utf-8") for name in files}
    assert [name for name, source in sources.items() if imports.search(source)] == []


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "benchmarks/RESULTS.md",
        *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").rglob("*.md"))),
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    pictures = re.findall(r'<img src="([^"]+)"', text)
    for target in [*pictures, *re.findall(r"\]\((?!https?:)([^)#]+)\)", text)]:
        assert (ROOT / page).parent.joinpath(target).exists(), target
