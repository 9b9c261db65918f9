"""The shipped files as Compose and Kubernetes read them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.deploy.tools import MANIFESTS, PASSWORDS, project, read_services


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("compose"), **PASSWORDS)


@pytest.fixture(scope="session")
def services(folder: Path) -> dict[str, Any]:
    return read_services(folder)


@pytest.fixture(scope="session")
def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(MANIFESTS.read_text("utf-8")))


@pytest.fixture(scope="session")
def jobs(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "Job"}
