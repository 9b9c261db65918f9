"""docs/deploy.md: its links, its systemd unit and its commands."""

import configparser
import json
import re
import shlex
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.acceptance.deploy.tools import (
    COMPOSE,
    ONE_THREAD,
    ROOT,
    blocks,
    ours,
    page,
)
from tests.pages import mistake, typed


def documented_commands(services: dict[str, Any], jobs: dict[str, Any]) -> list[list[str]]:
    started = [[*(s["entrypoint"] or []), *s["command"]] for s in ours(services).values()]
    started += [job["template"]["spec"]["containers"][0]["command"] for job in jobs.values()]
    assert all(program == "tuner" for program, *_ in started)
    found = [args for _, *args in started if args != ["--help"]]
    in_shells = [
        line.removeprefix("$ ")
        for text in (page(), COMPOSE.read_text("utf-8"))
        for line in re.findall(r"(?m)^(?:\$|#  ) .*tuner.*$", text)
    ]
    in_shells += re.findall(r"`(tuner [^`]+)`", page())
    in_shells += re.findall(r"^ExecStart=(.*)$", page(), re.MULTILINE)
    # A path is not a command: `venv /opt/tuner`, `rm -rf tuner`.
    found += [args for line in in_shells for args in typed(line) if args and args[0].isalpha()]
    found += [json.loads(text)[1:] for text in re.findall(r'\["tuner", .*?\]', page())]
    return found


def test_the_links_of_the_page_have_targets() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", page())
    titles = re.findall(r"^#+ (.*)$", page(), re.MULTILINE)
    anchors = {"#" + title.lower().replace(" ", "-") for title in titles}
    assert targets
    for target in targets:
        assert target in anchors or (ROOT / "docs" / target).exists(), target


def test_the_systemd_unit_gives_a_worker_time_and_one_thread() -> None:
    settings, unit = blocks("ini")
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit)
    assert int(parser["Service"]["TimeoutStopSec"]) >= 30
    assert parser["Service"]["User"] != "root"
    assert parser["Service"]["EnvironmentFile"] in page().partition(unit)[0]
    values = dict(line.split("=", 1) for line in settings.splitlines())
    assert ONE_THREAD.items() <= values.items()
    assert make_url(values["TUNER_STORAGE"]).password is None


def test_every_documented_command_can_be_parsed(
    services: dict[str, Any], jobs: dict[str, Any]
) -> None:
    found = documented_commands(services, jobs)
    assert {args[0] for args in found} >= {"init", "submit", "worker", "dashboard", "export"}
    assert len(found) >= 15
    mistakes = {f"tuner {shlex.join(args)}": mistake(args) for args in found}
    assert {command: wrong for command, wrong in mistakes.items() if wrong} == {}


@pytest.mark.parametrize("args", [["worker", "--speed", "9"], ["serve"], ["best"]])
def test_a_wrong_command_is_detected(args: list[str]) -> None:
    assert mistake(args)
    assert typed(f"docker compose run --rm tuner {shlex.join(args)}  # so") == [args]
