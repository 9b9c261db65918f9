"""What is shipped for deployment is read by the tools that will read it, and does what it says."""

import base64
import configparser
import contextlib
import http.client
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import psycopg
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sqlalchemy.engine import make_url

from puffin.tuner.cli import main
from tests.postgres import POSTGRES_BIN

ROOT = Path(__file__).parents[2]
LOCK, BUILD_LOCK = ROOT / "deploy/requirements.lock", ROOT / "deploy/build-requirements.lock"
DATABASE, ROLE = ROOT / "deploy/database.sh", "puffin"
BIN = Path(sys.executable).parent
COMPOSE, DOCKERFILE = ROOT / "docker-compose.yml", ROOT / "Dockerfile"
MANIFESTS, SLURM, PAGE = ROOT / "deploy/kubernetes.yaml", ROOT / "deploy/slurm.sh", "docs/deploy.md"
# With what a URL, a shell or Compose would take for its own.
PASSWORDS = {"POSTGRES_PASSWORD": r'p@s/s:w%72$HOME #"\n', "TUNER_PASSWORD": "d$a: %2F#b"}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
TINY = """\
name = "tiny"
[data]
symbol = "AAPL"
start = 2011-06-01
features = ["return"]
[walk_forward]
folds = 2
valid_bars = 20
holdout_bars = 20
[training]
max_epochs = 3
[space]
hidden_dim = [4, 8]
lookback = { low = 3, high = 5 }
[search]
trials = 4
"""
ENDLESS = ("name=endless", "training.max_epochs=1000000", "training.patience=1000000")


class Done(NamedTuple):
    code: int
    said: str


def check(tool: str, *args: str | Path, cwd: Path = ROOT, **env: str) -> Done:
    """Run one of the tools that read what is shipped, without the caller's settings."""
    program = shutil.which(tool, path=BIN) or shutil.which(tool)
    assert program, tool
    own = {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir(), "PWD": str(cwd)}
    done = subprocess.run(
        [program, *args], cwd=cwd, env=own | env, capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout + done.stderr)


def changed(path: Path, old: str, new: str, folder: Path) -> Path:
    """Write a copy of a file with a mistake in it."""
    text = path.read_text("utf-8")
    assert old in text
    copy = folder / path.name
    copy.write_text(text.replace(old, new), "utf-8")
    return copy


def project(folder: Path, **passwords: str) -> Path:
    """Do what the first line of docs/deploy.md asks for: fill in .env.example."""
    shutil.copy(COMPOSE, folder)
    text = (ROOT / ".env.example").read_text("utf-8")
    for name, password in passwords.items():
        assert f"\n{name}=''\n" in text
        text = text.replace(f"\n{name}=''\n", f"\n{name}='{password}'\n")
    (folder / ".env").write_text(text, "utf-8")
    return folder


def read_services(folder: Path) -> dict[str, Any]:
    """Give the services of a folder as Compose reads them, those of all profiles."""
    code, said = check("docker-compose", "--profile", "*", "config", "--format", "json", cwd=folder)
    assert code == 0, said
    services: dict[str, Any] = json.loads(said.replace("$$", "$"))["services"]
    return services


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("compose"), **PASSWORDS)


@pytest.fixture(scope="module")
def services(folder: Path) -> dict[str, Any]:
    return read_services(folder)


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(MANIFESTS.read_text("utf-8")))


@pytest.fixture(scope="module")
def jobs(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "Job"}


def ours(services: dict[str, Any]) -> dict[str, Any]:
    """Leave out the database."""
    return {name: service for name, service in services.items() if name != "db"}


def image_user() -> str:
    return re.findall(r"^USER (\S+)", DOCKERFILE.read_text("utf-8"), re.MULTILINE)[-1]


def seconds(duration: str) -> float:
    """Read a duration as Compose writes it: 1m30s."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    parts = re.findall(r"([\d.]+)([hms])", duration)
    assert "".join(number + unit for number, unit in parts) == duration
    return sum(float(number) * units[unit] for number, unit in parts)


# Compose


def test_compose_takes_the_file_with_the_passwords_filled_in(folder: Path) -> None:
    assert check("docker-compose", "config", "--quiet", cwd=folder) == (0, "")


@pytest.mark.parametrize("missing", PASSWORDS)
def test_compose_refuses_it_without_a_password(missing: str, tmp_path: Path) -> None:
    given = {name: word for name, word in PASSWORDS.items() if name != missing}
    code, said = check("docker-compose", "config", "--quiet", cwd=project(tmp_path, **given))
    assert code != 0
    assert missing in said
    assert "set it in .env" in said


@pytest.mark.parametrize("key", ["stop_grace_period", "healthcheck", "depends_on", "services"])
def test_a_misspelt_key_is_refused(key: str, tmp_path: Path) -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    assert check("check-jsonschema", *schema, COMPOSE).code == 0
    broken = changed(COMPOSE, f"{key}:", f"{key}z:", project(tmp_path, **PASSWORDS))
    assert check("check-jsonschema", *schema, broken).code == 1
    assert check("docker-compose", "config", "--quiet", cwd=tmp_path).code != 0


def test_nobody_but_this_machine_reaches_a_port(services: dict[str, Any]) -> None:
    published = {name: s["ports"] for name, s in services.items() if s.get("ports")}
    assert set(published) == {"dashboard"}
    assert {port["host_ip"] for port in published["dashboard"]} == {"127.0.0.1"}
    assert not any("network_mode" in service for service in services.values())


def test_a_worker_is_given_thirty_seconds_to_stop(services: dict[str, Any]) -> None:
    for name in ("worker", "worker-gpu"):
        assert seconds(services[name]["stop_grace_period"]) >= 30


def test_services_that_go_on_for_ever_are_started_again(services: dict[str, Any]) -> None:
    restarted = {name for name, s in services.items() if s.get("restart") == "unless-stopped"}
    assert restarted == {"db", "worker", "worker-gpu", "dashboard"}


def test_the_tables_are_there_before_anything_needs_them(services: dict[str, Any]) -> None:
    assert services["init"]["depends_on"]["db"]["condition"] == "service_healthy"
    # While the image makes the database, it answers on a socket.
    assert "127.0.0.1" in services["db"]["healthcheck"]["test"]
    for name, service in ours(services).items():
        if name != "init":
            condition = service["depends_on"]["init"]["condition"]
            assert condition == "service_completed_successfully", name


def test_passwords_are_in_the_environment_as_they_are_and_nowhere_else(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        env = dict(service["environment"])
        database = env.pop("POSTGRES_PASSWORD" if name == "db" else "PGPASSWORD")
        assert database == PASSWORDS["POSTGRES_PASSWORD"]
        if name == "dashboard":
            assert env.pop("TUNER_PASSWORD") == PASSWORDS["TUNER_PASSWORD"]
        rest = json.dumps(service | {"environment": env})
        for password in PASSWORDS.values():
            assert json.dumps(password)[1:-1] not in rest, name


def test_all_use_the_role_and_the_database_that_are_made(services: dict[str, Any]) -> None:
    mount = services["db"]["volumes"][1]
    assert Path(mount["source"]).name == DATABASE.name
    assert mount["target"].startswith("/docker-entrypoint-initdb.d/")
    assert mount["target"].endswith(".sh")
    assert mount["read_only"] is True
    # The superuser is the image's own, and nobody logs on as it.
    assert not {"POSTGRES_USER", "POSTGRES_DB"} & set(services["db"]["environment"])
    for service in ours(services).values():
        url = make_url(service["environment"]["TUNER_STORAGE"])
        assert (url.host, url.username, url.database, url.password) == ("db", ROLE, ROLE, None)
    assert services["db"]["healthcheck"]["test"][-4:] == ["--username", ROLE, "--dbname", ROLE]


def test_every_service_has_limits(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert int(service["mem_limit"]) >= 2**30, name
        assert 100 <= service["pids_limit"] <= 5000, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["cap_drop"] == ["ALL"], name
    for name, service in ours(services).items():
        (temporary,) = service["tmpfs"]
        path, _, size = temporary.partition(":size=")
        assert path == "/tmp", name  # noqa: S108
        assert size == "256m", name
    # A process for each connection, and some of its own.
    (setting,) = [a for a in services["db"]["command"] if a.startswith("max_connections=")]
    assert services["db"]["pids_limit"] > int(setting.partition("=")[2]) + 100


def test_the_database_outlives_its_container(services: dict[str, Any]) -> None:
    volume, _ = services["db"]["volumes"]
    assert re.fullmatch(r"postgres:18\.\d+-\w+", services["db"]["image"])
    # Up to 17 it was a folder below; there the image of 18 refuses to start.
    assert (volume["type"], volume["target"]) == ("volume", "/var/lib/postgresql")


def test_every_service_that_trains_does_so_with_one_thread(services: dict[str, Any]) -> None:
    for name, service in ours(services).items():
        assert ONE_THREAD.items() <= service["environment"].items(), name
        assert service["environment"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_no_service_of_ours_is_root_or_may_become_it(services: dict[str, Any]) -> None:
    for name, service in ours(services).items():
        user = service.get("user", image_user())
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True


def test_gpus_are_asked_for_by_the_service_for_gpus_alone(services: dict[str, Any]) -> None:
    def devices(name: str) -> Any:
        resources = services[name].get("deploy", {}).get("resources", {})
        return resources.get("reservations", {}).get("devices", [])

    assert [name for name in services if devices(name)] == ["worker-gpu"]
    (device,) = devices("worker-gpu")
    assert (device["driver"], device["device_ids"]) == ("nvidia", ["0"])
    gpu = services["worker-gpu"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["environment"]["TUNER_DEVICE"] == "cuda"
    assert gpu["build"]["args"]["TORCH_INDEX"] == "https://pypi.org/simple"
    # Together they take the whole card.
    share = float(gpu["command"][gpu["command"].index("--memory-share") + 1])
    assert share * gpu["deploy"]["replicas"] == 1


def test_the_second_gpu_of_the_page_is_another(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (project(tmp_path, **PASSWORDS) / "docker-compose.override.yml").write_text(text, "utf-8")
    second = read_services(tmp_path)["worker-gpu1"]
    (device,) = second["deploy"]["resources"]["reservations"]["devices"]
    assert device["device_ids"] == ["1"]
    assert second["command"][:2] == ["tuner", "worker"]


def test_commands_have_the_folder_and_the_user_of_their_caller(folder: Path) -> None:
    with (folder / ".env").open("a") as settings:
        settings.write("HOST_UID=1234\nHOST_GID=2345\n")
    command = read_services(folder)["tuner"]
    (mount,) = command["volumes"]
    assert (mount["source"], mount["target"]) == (str(folder), command["working_dir"])
    assert command["user"] == "1234:2345"


def test_the_page_counts_the_connections_that_compose_allows(services: dict[str, Any]) -> None:
    (setting,) = [a for a in services["db"]["command"] if a.startswith("max_connections=")]
    most = int(setting.partition("=")[2])
    said = re.search(r"Compose sets (\d+), for (\d+) processes", page())
    assert said
    assert (int(said[1]), int(said[2])) == (most, (most - 3) // 3)


def test_no_password_is_shipped_and_none_gets_into_git() -> None:
    values = re.findall(r"(?m)^(\w*PASSWORD\w*)=(.*)$", (ROOT / ".env.example").read_text())
    assert dict(values) == dict.fromkeys(PASSWORDS, "''")
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


# The image


def test_hadolint_finds_nothing() -> None:
    assert check("hadolint", "--no-color", DOCKERFILE) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("USER 10001:10001", "USER root", "DL3002"),
        ("FROM python:${PYTHON}-slim-bookworm\n", "FROM python:latest\n", "DL3007"),
        ("COPY --from=build", "ADD", "DL3020"),
    ],
)
def test_hadolint_would_find_it(old: str, new: str, rule: str, tmp_path: Path) -> None:
    code, said = check("hadolint", "--no-color", changed(DOCKERFILE, old, new, tmp_path))
    assert code == 1
    assert rule in said


def test_the_image_takes_what_it_is_made_of_and_nothing_else() -> None:
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


def test_the_image_installs_what_the_package_needs_by_version_and_hash() -> None:
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


def test_the_image_names_what_it_holds_under_the_lesser_general_public_license() -> None:
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


# Kubernetes


def test_kubernetes_takes_the_manifests() -> None:
    assert check("kubernetes-validate", "--strict", "--quiet", MANIFESTS).code == 0


@pytest.mark.parametrize("key", ["parallelism", "podFailurePolicy", "runAsNonRoot", "envFrom"])
def test_kubernetes_refuses_a_misspelt_key(key: str, tmp_path: Path) -> None:
    broken = changed(MANIFESTS, f"{key}:", f"{key}z:", tmp_path)
    code, said = check("kubernetes-validate", "--strict", "--quiet", broken)
    assert code == 1
    assert f"{key}z" in said


def test_a_worker_that_fails_or_is_evicted_is_replaced_by_itself(jobs: dict[str, Any]) -> None:
    workers = jobs["puffin-workers"]
    assert workers["completionMode"] == "Indexed"
    assert workers["completions"] == workers["parallelism"]
    assert workers["backoffLimitPerIndex"] >= 1
    ignored = {"type": "DisruptionTarget", "status": "True"}
    assert {"action": "Ignore", "onPodConditions": [ignored]} in workers["podFailurePolicy"][
        "rules"
    ]
    pod = workers["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 30


def test_pods_have_no_rights_and_the_user_of_the_image(jobs: dict[str, Any]) -> None:
    assert len(jobs) == 2
    for job in jobs.values():
        pod = job["template"]["spec"]
        (container,) = pod["containers"]
        user = pod["securityContext"]
        assert user["runAsNonRoot"] is True
        assert f"{user['runAsUser']}:{user['runAsGroup']}" == image_user()
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_pods_have_one_image_and_one_environment_with_the_password_from_a_secret(
    manifests: list[dict[str, Any]], jobs: dict[str, Any]
) -> None:
    init, workers = (job["template"]["spec"]["containers"][0] for job in jobs.values())
    assert init["image"] == workers["image"]
    assert init["envFrom"] == workers["envFrom"]
    (settings,) = [m for m in manifests if m["kind"] == "ConfigMap"]
    assert not any(m["kind"] == "Secret" for m in manifests)
    sources = [{"configMapRef": settings["metadata"]}, {"secretRef": {"name": "puffin-tuner"}}]
    assert init["envFrom"] == sources
    assert make_url(settings["data"]["TUNER_STORAGE"]).password is None
    assert ONE_THREAD.items() <= settings["data"].items()
    assert "$(STUDY)" in workers["command"]
    assert settings["data"]["STUDY"]


# SLURM


def test_the_shell_takes_the_script_and_shellcheck_finds_nothing(tmp_path: Path) -> None:
    for script in (SLURM, DATABASE):
        assert check("bash", "-n", script) == (0, "")
        assert check("shellcheck", script) == (0, "")
    assert check("bash", "-n", changed(SLURM, "\nfi\n", "\n", tmp_path)).code != 0
    unquoted = changed(SLURM, '"${options[@]}"', "${options[@]}", tmp_path)
    assert "SC2068" in check("shellcheck", unquoted).said


def test_slurm_tells_the_worker_and_not_a_shell_around_it() -> None:
    head, _, body = SLURM.read_text("utf-8").partition("\nset -euo pipefail\n")
    directives = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in head.splitlines()
        if line.startswith("#SBATCH ")
    )
    # SLURM reads no directive below the first command.
    assert "#SBATCH" not in body
    assert directives["signal"] == "B:TERM@60"
    assert re.fullmatch(r"1-\d+", directives["array"])
    assert directives["cpus-per-task"] == "1"
    assert "time" in directives


@pytest.fixture
def slurm(tmp_path: Path) -> Callable[..., Done]:
    """Run the script with a `tuner` that says what it is given, and in which process."""
    stub = tmp_path / "tuner"
    stub.write_text('#!/bin/sh\necho "$PPID $OMP_NUM_THREADS $MKL_NUM_THREADS"\necho "$*"\n')
    stub.chmod(0o755)

    def run(*args: str, **env: str) -> Done:
        return check("bash", SLURM, *args, PATH=f"{tmp_path}:{os.environ['PATH']}", **env)

    return run


def test_the_script_becomes_a_worker_that_ends_before_its_job(slurm: Callable[..., Done]) -> None:
    end = str(int(time.time()) + 3600)
    code, said = slurm("daily", TUNER_STORAGE="postgresql://h/d", SLURM_JOB_END_TIME=end)
    assert code == 0
    process, command = said.splitlines()
    # Its parent is this process: the shell has made room for it.
    assert process == f"{os.getpid()} 1 1"
    given = re.fullmatch(r"worker --study daily --max-time (\d+)", command)
    assert given
    # SIGTERM comes 60 s before the end at the latest, and 120 s at the earliest.
    assert 3600 - 150 < int(given[1]) <= 3600 - 120
    assert mistake(command.split()) is None


@pytest.mark.parametrize("left", [None, 30])
def test_the_script_leaves_the_end_to_the_signal_where_it_cannot_tell(
    left: int | None, slurm: Callable[..., Done]
) -> None:
    end = {} if left is None else {"SLURM_JOB_END_TIME": str(int(time.time()) + left)}
    code, said = slurm("daily", TUNER_STORAGE="postgresql://h/d", **end)
    assert (code, said.splitlines()[1]) == (0, "worker --study daily")


def test_the_script_wants_a_study_and_a_database(slurm: Callable[..., Done]) -> None:
    code, said = slurm(TUNER_STORAGE="postgresql://h/d")
    assert code != 0
    assert "which study?" in said
    code, said = slurm("daily")
    assert code != 0
    assert "export TUNER_STORAGE=" in said


def test_the_submitit_example_of_the_page_does_a_study(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    (text,) = blocks("python")
    for old, new in [('"logs"', '"logs", cluster="local"'), ("range(16)", "range(2)")]:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "workers.py").write_text(text, "utf-8")
    (tmp_path / "daily.toml").write_text(TINY.replace("tiny", "daily"), "utf-8")
    url = f"sqlite:///{tmp_path / 'daily.db'}"
    submitted = command("submit", str(tmp_path / "daily.toml"), "--storage", url)
    assert submitted.code == 0, submitted.err

    env = ONE_THREAD | {"TUNER_STORAGE": url, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "workers.py"],
        cwd=tmp_path,
        env=passed_on() | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "logs").glob("*_result.pkl"))) == 2
    with contextlib.closing(sqlite3.connect(tmp_path / "daily.db")) as database:
        states = [state for (state,) in database.execute("SELECT state FROM trials")]
    assert len(states) == 4
    assert set(states) <= {"COMPLETE", "PRUNED"}


# The page


def page() -> str:
    return (ROOT / PAGE).read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page(), re.DOTALL | re.MULTILINE)


def test_the_links_of_the_page_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", page())
    titles = re.findall(r"^#+ (.*)$", page(), re.MULTILINE)
    anchors = {"#" + title.lower().replace(" ", "-") for title in titles}
    assert targets
    for target in targets:
        assert target in anchors or (ROOT / "docs" / target).exists(), target


def test_the_unit_of_the_page_gives_a_worker_time_and_one_thread() -> None:
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


# Every command that is written down


def mistake(args: list[str]) -> str | None:
    """Say what is wrong with the arguments of a `tuner`, by the command line's own parser."""
    name, *rest = args
    if name not in main.commands:
        return "--help" if args == ["--help"] else f"no command {name}"
    try:
        with main.commands[name].make_context(name, rest):
            return None
    except click.exceptions.Exit:
        return None  # --help
    except click.UsageError as error:
        return f"{name}: {error.format_message()}"


def typed(line: str) -> list[list[str]]:
    """Give the arguments of each `tuner` that a line of a shell starts."""
    words = shlex.split(line, comments=True)
    places = [i for i, word in enumerate(words) if word.rpartition("/")[2] == "tuner"]
    return [words[i + 1 :] for i in places]


def written_down(services: dict[str, Any], jobs: dict[str, Any]) -> list[list[str]]:
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
    # A path is no command: `venv /opt/tuner`, `rm -rf tuner`.
    found += [args for line in in_shells for args in typed(line) if args and args[0].isalpha()]
    found += [json.loads(text)[1:] for text in re.findall(r'\["tuner", .*?\]', page())]
    return found


def test_every_command_that_is_written_down_is_understood(
    services: dict[str, Any], jobs: dict[str, Any]
) -> None:
    found = written_down(services, jobs)
    assert {args[0] for args in found} >= {"init", "submit", "worker", "dashboard", "export"}
    assert len(found) >= 15
    mistakes = {f"tuner {shlex.join(args)}": mistake(args) for args in found}
    assert {command: wrong for command, wrong in mistakes.items() if wrong} == {}


@pytest.mark.parametrize("args", [["worker", "--speed", "9"], ["serve"], ["best"]])
def test_a_command_that_is_wrong_would_be_seen(args: list[str]) -> None:
    assert mistake(args)
    assert typed(f"docker compose run --rm tuner {shlex.join(args)}  # so") == [args]


# The services as plain processes


def passed_on() -> dict[str, str]:
    """Give what any process needs to start, and no setting."""
    names = ("PATH", "PYTHONPATH", "SYSTEMROOT", "TMPDIR")
    return {name: os.environ[name] for name in names if name in os.environ}


def until(ready: Callable[[], object], what: str, within: float = 120.0) -> None:
    end = time.monotonic() + within
    while not ready():
        assert time.monotonic() < end, f"{what} took longer than {within:.0f} s"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def as_the_image_makes_it(server: Any, password: str) -> Iterator[dict[str, Any]]:
    """Run the script of the service `db` as its image does, and have passwords asked for.

    Gives what psycopg needs to connect. A URL would not do: libpq takes no space in one.
    """
    with psycopg.connect(server.new_database(), autocommit=True) as connection:
        connection.execute("CREATE ROLE image LOGIN SUPERUSER PASSWORD 'image'")
    address = {"host": "127.0.0.1", "port": server.port}
    with psycopg.connect(**address, user="image", dbname="postgres", autocommit=True) as admin:
        # The superuser of the tests has the name that the script gives to another role.
        admin.execute(f"ALTER ROLE {ROLE} RENAME TO tests")
        made = {"POSTGRES_USER": "image", "POSTGRES_DB": "postgres", "POSTGRES_PASSWORD": password}
        server_of = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port)}
        done = check("sh", DATABASE, PATH=f"{POSTGRES_BIN}:/usr/bin:/bin", **made, **server_of)
        rules = server.folder / "pg_hba.conf"
        before = rules.read_text()
        try:
            assert done.code == 0, done.said
            rules.write_text(f"host {ROLE} all 127.0.0.1/32 scram-sha-256\n{before}")
            admin.execute("SELECT pg_reload_conf()")
            own = address | {"user": ROLE, "password": password, "dbname": ROLE}
            until(lambda: is_refused(own | {"password": "wrong"}), "asking for passwords")
            yield own
        finally:
            rules.write_text(before)
            admin.execute("SELECT pg_reload_conf()")
            admin.execute(f"DROP DATABASE IF EXISTS {ROLE} WITH (FORCE)")
            admin.execute(f"DROP ROLE IF EXISTS {ROLE}")
            admin.execute(f"ALTER ROLE tests RENAME TO {ROLE}")
    with psycopg.connect(server.new_database(), autocommit=True) as connection:
        connection.execute("DROP ROLE image")


def is_refused(login: dict[str, Any]) -> bool:
    try:
        psycopg.connect(**login).close()
    except psycopg.OperationalError as error:
        return "password authentication failed" in str(error)
    return False


class Stage:
    """Starts services of the compose file by their own commands and environments.

    Only the address of the database and the port of the dashboard are other ones.
    """

    def __init__(self, services: dict[str, Any], address: tuple[str, int], folder: Path) -> None:
        self.services = services
        self.address = address
        self.port = free_port()
        self.folder = folder
        self.started: list[tuple[subprocess.Popen[bytes], Path]] = []

    def _place(self, name: str) -> Path:
        """Give the folder of a service: one that is mounted there, or an empty one."""
        service = self.services[name]
        mounts = {m["target"]: m["source"] for m in service.get("volumes", [])}
        return Path(mounts.get(service.get("working_dir"), self.folder))

    def _environment(self, name: str) -> dict[str, str]:
        given: dict[str, str] = dict(self.services[name]["environment"])
        host, port = self.address
        url = make_url(given["TUNER_STORAGE"]).set(host=host, port=port)
        given["TUNER_STORAGE"] = url.render_as_string(hide_password=False)
        path = f"{BIN}:{os.environ['PATH']}"
        return passed_on() | {"PATH": path, "HOME": str(self.folder)} | given

    def _port(self, words: list[str]) -> list[str]:
        """Put our port in the place of 8080, which may be taken here."""
        changed = [re.sub(r"\b8080\b", str(self.port), word) for word in words]
        assert changed != words
        return changed

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        service = self.services[name]
        command = [*(service["entrypoint"] or []), *service["command"]]
        if service.get("ports"):
            command = self._port(command)
        log = self.folder / f"{name}-{len(self.started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                env=self._environment(name),
                cwd=self._place(name),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.started.append((process, log))
        return process

    def run(self, *args: str) -> Done:
        """Do what ``docker compose run --rm tuner ARGS`` does."""
        done = subprocess.run(
            [*self.services["tuner"]["entrypoint"], *args],
            env=self._environment("tuner"),
            cwd=self._place("tuner"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout + done.stderr)

    def is_healthy(self, name: str) -> bool:
        """Ask what Docker will ask."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        asked = subprocess.run(
            self._port(command), env=self._environment(name), capture_output=True, check=False
        )
        return asked.returncode == 0

    def get(self, path: str, password: str | None = None) -> int:
        """Ask the dashboard, and give the status."""
        headers = {}
        if password is not None:
            word = base64.b64encode(f"anybody:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {word}"
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        ) as connection:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status

    @property
    def said(self) -> str:
        return "\n".join(f"{log.name}:\n{log.read_text()}" for _, log in self.started)

    def end(self) -> None:
        for process, _ in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def database(services: dict[str, Any], postgres: Any) -> Iterator[dict[str, Any]]:
    password = services["db"]["environment"]["POSTGRES_PASSWORD"]
    with as_the_image_makes_it(postgres, password) as login:
        yield login


@pytest.fixture
def stage(
    services: dict[str, Any], database: dict[str, Any], folder: Path, tmp_path: Path
) -> Iterator[Stage]:
    (folder / "tiny.toml").write_text(TINY)
    stage = Stage(services, (database["host"], database["port"]), tmp_path)
    yield stage
    stage.end()


def test_workers_log_on_as_a_role_that_owns_its_database_and_nothing_else(
    database: dict[str, Any],
) -> None:
    with psycopg.connect(**database) as connection:
        rights = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
        query = f"SELECT {rights} FROM pg_roles WHERE rolname = current_user"  # noqa: S608
        assert connection.execute(query).fetchone() == (False,) * 5
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        assert connection.execute(owner).fetchone() == (ROLE,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("COPY (SELECT 1) TO PROGRAM 'true'")
    # Of the superuser there is no password to guess.
    for word in ("image", database["password"], ""):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(**database | {"user": "image", "password": word})


def test_the_services_search_as_plain_processes(stage: Stage, database: dict[str, Any]) -> None:
    def trials(study: str, *states: str) -> int:
        with psycopg.connect(**database) as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM trials JOIN studies USING (study_id)"
                " WHERE study_name = %s AND state::text = ANY(%s)",
                [study, list(states)],
            ).fetchone() or (0,)
        return int(count)

    init = stage.start("init")
    assert init.wait(60) == 0, stage.said
    workers = [stage.start("worker"), stage.start("worker")]
    dashboard = stage.start("dashboard")
    until(lambda: dashboard.poll() is not None or stage.is_healthy("dashboard"), "the dashboard")
    assert dashboard.poll() is None, stage.said

    code, said = stage.run("submit", "tiny.toml")
    assert code == 0, said
    until(lambda: trials("tiny", "COMPLETE", "PRUNED") == 4, f"the study: {stage.said}")
    code, said = stage.run("best", "tiny")
    assert code == 0, said
    assert 'study = "tiny"' in said

    password = stage.services["dashboard"]["environment"]["TUNER_PASSWORD"]
    for path in ("/dashboard/", "/api/studies"):
        assert stage.get(path) == 401
        assert stage.get(path, "wrong") == 401
        assert stage.get(path, password) == 200
    assert stage.get("/healthz") == 200

    # Stopped in the middle of training, as `docker compose stop` does.
    code, said = stage.run("submit", "tiny.toml", *(f"--set={change}" for change in ENDLESS))
    assert code == 0, said
    until(lambda: trials("endless", "RUNNING") >= 1, f"a trial that never ends: {stage.said}")
    assert [worker.poll() for worker in workers] == [None, None], stage.said
    for worker in workers:
        worker.terminate()
    end = time.monotonic() + 10
    assert [w.wait(max(end - time.monotonic(), 0.1)) for w in workers] == [0, 0], stage.said
    assert trials("endless", "RUNNING") == 0
    assert trials("endless", "WAITING") >= 1
    dashboard.terminate()
    dashboard.wait(10)
