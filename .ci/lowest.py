"""Print pip constraints: every dependency at the lowest version that pyproject.toml allows.

torch is left out: of its older versions PyPI has none without CUDA, which is gigabytes.
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

_LEFT_OUT = {"torch"}


def lowest(requirement: str) -> str | None:
    """Return a dependency pinned to its lower bound; None if it is left out."""
    parsed = Requirement(requirement)
    if parsed.name in _LEFT_OUT:
        return None
    (bound,) = (part.version for part in parsed.specifier if part.operator == ">=")
    return f"{parsed.name}=={bound}"


def main() -> None:
    """Print one constraint a line."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    for requirement in tomllib.loads(text)["project"]["dependencies"]:
        if pinned := lowest(requirement):
            print(pinned)


if __name__ == "__main__":
    main()
