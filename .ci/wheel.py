"""Build sdist and wheel, check their files, install the wheel in a fresh environment, run the demo.

`make wheel` calls it with the Python that is asked for; `--lowest` installs every dependency at its
lowest version (see lowest.py).
"""

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The folders that `puffin/` links to.
_LINKED = ("models", "studies", "tuner")
# A user's module of this name must not stand in the program's way, nor the program in its way.
_SHADOW = 'raise RuntimeError("the program imported the models.py of its user")\n'


def shipped_files(root: Path) -> set[str]:
    """Return every file that a wheel must hold, by its path in the wheel."""
    folders = {"puffin": "puffin"} | {name: f"puffin/{name}" for name in _LINKED}
    return {
        f"{target}/{path.relative_to(root / folder)}"
        for folder, target in folders.items()
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def wheel_problems(names: set[str], root: Path) -> list[str]:
    """Return what is wrong with the files of a wheel, one sentence each."""
    info = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    shipped = shipped_files(root)
    problems = [f"{name} is missing" for name in sorted(shipped - names)]
    problems += [f"{name} does not belong there" for name in sorted(names - info - shipped)]
    for notice in ("LICENSE", "studies/sample/NOTICE"):
        if not any(name.endswith(f".dist-info/licenses/{notice}") for name in info):
            problems.append(f"the licence file {notice} is missing")
    return problems


def build(folder: Path) -> Path:
    """Build sdist and wheel in `folder`, check both, and return the wheel.

    The wheel is built from the sdist and from the checkout; the two must be equal byte for byte.
    """
    builder = _environment(sys.executable, folder / "builder")
    _run(builder, "-m", "pip", "install", "--quiet", "build")
    _run(builder, "-m", "build", "--outdir", str(folder / "sdist"), str(ROOT))
    _run(builder, "-m", "build", "--wheel", "--outdir", str(folder / "checkout"), str(ROOT))
    (sdist,) = (folder / "sdist").glob("*.tar.gz")
    (from_sdist,) = (folder / "sdist").glob("*.whl")
    (wheel,) = (folder / "checkout").glob("*.whl")
    with tarfile.open(sdist) as archive:
        links = [member.name for member in archive.getmembers() if not member.isfile()]
    with zipfile.ZipFile(wheel) as archive:
        problems = wheel_problems(set(archive.namelist()), ROOT)
    problems += [f"{name} in the sdist is no plain file" for name in links]
    if from_sdist.read_bytes() != wheel.read_bytes():
        problems.append("the wheel built from the sdist differs from that of the checkout")
    if problems:
        sys.exit("\n".join([f"{wheel.name}:", *(f"  - {problem}" for problem in problems)]))
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes, the same from {sdist.name}", flush=True)
    return wheel


def check_installed(wheel: Path, python: str, folder: Path, *, lowest: bool) -> None:
    """Install `wheel` for the interpreter `python`, and use it beside a user's own models.py."""
    environment = _environment(python, folder / "environment")
    constraints = folder / "constraints.txt"
    constraints.write_text(_lowest_versions(folder) if lowest else "")
    _run(
        *(environment, "-m", "pip", "install", "--quiet", "--only-binary", ":all:"),
        *("--constraint", str(constraints), str(wheel)),
    )
    _run(environment, "-m", "pip", "check")
    home = folder / "home"
    home.mkdir()
    (home / "models.py").write_text(_SHADOW)
    tuner = str(environment.with_name("tuner"))
    for command in (
        [tuner, "--version"],
        [tuner, "run", "demo"],
        [tuner, "best", "demo"],
        [tuner, "predict", "exports/demo"],
        [str(environment), "-c", "from puffin.deep.rnn import GRUNet; print(GRUNet.__module__)"],
    ):
        _run(*command, cwd=home)


def _lowest_versions(folder: Path) -> str:
    # The builder has the module packaging, because the module build needs it.
    command = [str(folder / "builder/bin/python"), str(ROOT / ".ci/lowest.py")]
    return subprocess.check_output(command, text=True)


def _environment(python: str, folder: Path) -> Path:
    """Make a virtual environment if there is none in `folder`, and return its interpreter."""
    interpreter = folder / "bin/python"
    if not interpreter.exists():
        _run(python, "-m", "venv", str(folder))
    return interpreter


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command that finds nothing of this checkout; end the program if it fails."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, check=False)
    if done.returncode:
        sys.exit(f"failed with {done.returncode}: {' '.join(map(str, command))}")


def main() -> None:
    """Read the options and do all steps in one folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter to install for")
    parser.add_argument("--lowest", action="store_true", help="dependencies at their lowest")
    parser.add_argument(
        "--build-only", action="store_true", help="build and check, install nothing"
    )
    parser.add_argument(
        "--folder", type=Path, help="keep everything here; default: a temporary one"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        wheel = build(folder)
        if not options.build_only:
            check_installed(wheel, options.python, folder, lowest=options.lowest)
    print("ok")


if __name__ == "__main__":
    main()
