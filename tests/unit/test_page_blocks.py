"""Every block of the pages for users is read by a test, and every command on them can be typed."""

import re
from pathlib import Path

import pytest
import yaml

from tests.pages import ROOT, blocks, mistake, typed

PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
EXECUTED = "tests/acceptance/test_pages.py"
# The test that reads the blocks of a page in a language. Blocks of text are output.
READ_BY = {
    ("README.md", "console"): EXECUTED,
    ("README.md", "toml"): "tests/unit/test_docs.py",
    ("docs/baskets.md", "console"): EXECUTED,
    ("docs/baskets.md", "toml"): EXECUTED,
    ("docs/commands.md", "console"): "tests/unit/test_page_blocks.py",
    ("docs/commands.md", "text"): "tests/unit/worker/test_worker_log.py",
    ("docs/deploy.md", "console"): "tests/acceptance/deploy/test_page.py",
    ("docs/deploy.md", "ini"): "tests/acceptance/deploy/test_page.py",
    ("docs/deploy.md", "python"): "tests/acceptance/deploy/test_slurm.py",
    ("docs/deploy.md", "yaml"): "tests/acceptance/deploy/test_compose.py",
    ("docs/first.md", "console"): EXECUTED,
    ("docs/first.md", "toml"): EXECUTED,
    ("docs/notebook.md", "python"): EXECUTED,
    ("docs/notebook.md", "text"): EXECUTED,
    ("docs/study-file.md", "toml"): "tests/unit/test_docs.py",
    ("docs/tutorial.md", "console"): EXECUTED,
    ("docs/tutorial.md", "python"): EXECUTED,
    ("docs/tutorial.md", "text"): EXECUTED,
    ("docs/tutorial.md", "toml"): EXECUTED,
    ("docs/walk.md", "console"): "tests/unit/test_page_blocks.py",
    ("docs/walk.md", "toml"): "tests/unit/test_docs.py",
}
RECORDS = {"docs/log.md"}  # tables of experiments


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def console_lines() -> list[str]:
    """Return every line that a page lets one type, without its comment."""
    found = []
    for page in [*PAGES, "CONTRIBUTING.md"]:
        for language, body in blocks(text_of(page)):
            if language == "console":
                assert all(line.startswith("$ ") for line in body.splitlines()), page
                lines = (line[2:].partition(" #")[0] for line in body.splitlines())
                found += [part.strip() for line in lines for part in line.split("&&")]
    return found


def named_in(line: str) -> set[str]:
    """Return what of this project a line of shell names."""
    files = re.findall(r"(?:deploy|\.ci)/\S+|\.env\.example", line)
    targets = re.findall(r"^make \w+", line)
    services = re.findall(r"(?:run --rm|--scale) ([\w-]+)", line)
    profiles = re.findall(r"--profile \w+", line)
    return {*files, *targets, *profiles, *(f"service {name}" for name in services)}


def available() -> set[str]:
    """Return targets of make, services and profiles of Compose."""
    services = yaml.safe_load(text_of("docker-compose.yml"))["services"]
    targets = re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE)
    profiles = {p for service in services.values() for p in service.get("profiles", ())}
    return {
        *(f"service {name}" for name in services),
        *(f"--profile {name}" for name in profiles),
        *(f"make {name}" for name in targets),
    }


def test_every_block_is_read_by_the_test_that_the_table_names() -> None:
    found = {(page, language) for page in PAGES for language, _ in blocks(text_of(page))}
    assert {key for key in found if key[0] not in RECORDS} == set(READ_BY)
    for (page, _), test in READ_BY.items():
        names = {page, Path(page).name, f'"{Path(page).stem}"'}
        sources = text_of(test) + text_of("tests/acceptance/deploy/tools.py")
        assert any(name in sources for name in names), (page, test)


@pytest.mark.parametrize("page", PAGES)
def test_every_fence_belongs_to_a_block(page: str) -> None:
    fences = re.findall(r"^ *```", text_of(page), re.MULTILINE)
    assert len(fences) == 2 * len(blocks(text_of(page)))


def test_what_a_line_of_shell_names_is_in_this_project() -> None:
    named = {name for line in console_lines() for name in named_in(line)}
    assert len(named) > 8
    missing = named - available()
    assert [name for name in sorted(missing) if not (ROOT / name).exists()] == []


def test_every_line_of_shell_begins_with_a_program_that_is_meant() -> None:
    programs = {line.split()[0] for line in console_lines()}
    assert programs - {"tuner", "make", "docker", "kubectl", "sbatch", "bash"} == {
        "$EDITOR",
        ".venv/bin/pip",
        ".venv/bin/pre-commit",
        "cp",
        "export",
        "sudo",
    }


def test_every_command_in_a_block_can_be_typed() -> None:
    found = [args for line in console_lines() for args in typed(line) if args]
    assert len(found) > 20
    assert [wrong for args in found if (wrong := mistake(args))] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_a_sentence_exists_with_its_options(page: str) -> None:
    """A sentence may leave out arguments, and has names in their place."""
    sentences = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    for written in re.findall(r"`(tuner\s[^`]+)`", sentences):
        line = re.sub(r"\bN\b", "5", written.partition(">")[0]).replace("URL", "sqlite:///x.db")
        for args in typed(line):
            wrong = mistake(args)
            assert wrong is None or "Missing argument" in wrong, written
