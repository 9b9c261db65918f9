"""The shipped files and the tools that read them."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from tests.studies import tiny_values

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
LOCK = ROOT / "deploy/requirements.lock"
BUILD_LOCK = ROOT / "deploy/build-requirements.lock"
MANIFESTS = ROOT / "deploy/kubernetes.yaml"
SLURM = ROOT / "deploy/slurm.sh"
DATABASE = ROOT / "deploy/database.sh"  # creates the role
ROLE = "puffin"
# With characters that are special in a URL, a shell or Compose.
PASSWORDS = {"POSTGRES_PASSWORD": r'p@s/s:w%72$HOME #"\n', "TUNER_PASSWORD": "d$a: %2F#b"}


ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


TINY = tomli_w.dumps(tiny_values(search={"trials": 4}))


class Output(NamedTuple):
    code: int
    text: str


def run_tool(tool: str, *args: str | Path, cwd: Path = ROOT, **env: str) -> Output:
    """Run one of the tools that check the shipped files, without the user's settings."""
    program = shutil.which(tool, path=BIN) or shutil.which(tool)
    assert program, tool
    own = {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir(), "PWD": str(cwd)}
    done = subprocess.run(
        [program, *args], cwd=cwd, env=own | env, capture_output=True, text=True, check=False
    )
    return Output(done.returncode, done.stdout + done.stderr)


def changed(path: Path, old: str, new: str, folder: Path) -> Path:
    """Write a copy of a file with a mistake in it."""
    text = path.read_text("utf-8")
    assert old in text
    copy = folder / path.name
    copy.write_text(text.replace(old, new), "utf-8")
    return copy


def project(folder: Path, **passwords: str) -> Path:
    """Copy docker-compose.yml and fill in .env.example, as docs/deploy.md asks."""
    shutil.copy(COMPOSE, folder)
    text = (ROOT / ".env.example").read_text("utf-8")
    for name, password in passwords.items():
        assert f"\n{name}=''\n" in text
        text = text.replace(f"\n{name}=''\n", f"\n{name}='{password}'\n")
    (folder / ".env").write_text(text, "utf-8")
    return folder


def read_services(folder: Path) -> dict[str, Any]:
    """Return the services of a folder as Compose reads them, of all profiles."""
    code, text = run_tool(
        "docker-compose", "--profile", "*", "config", "--format", "json", cwd=folder
    )
    assert code == 0, text
    services: dict[str, Any] = json.loads(text.replace("$$", "$"))["services"]
    return services


def ours(services: dict[str, Any]) -> dict[str, Any]:
    """Return the services except the database."""
    return {name: service for name, service in services.items() if name != "db"}


def image_user() -> str:
    return re.findall(r"^USER (\S+)", DOCKERFILE.read_text("utf-8"), re.MULTILINE)[-1]


def page() -> str:
    return (ROOT / "docs/deploy.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page(), re.DOTALL | re.MULTILINE)


def passed_on() -> dict[str, str]:
    """Return the environment that any process needs, without settings."""
    names = ("PATH", "PYTHONPATH", "SYSTEMROOT", "TMPDIR")
    return {name: os.environ[name] for name in names if name in os.environ}
