"""The Kubernetes manifests, as Kubernetes' own schemas read them."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.acceptance.deploy.tools import MANIFESTS, ONE_THREAD, changed, image_user, run_tool


def test_kubernetes_accepts_the_manifests() -> None:
    assert run_tool("kubernetes-validate", "--strict", "--quiet", MANIFESTS).code == 0


@pytest.mark.parametrize("key", ["parallelism", "podFailurePolicy", "runAsNonRoot", "envFrom"])
def test_kubernetes_refuses_a_misspelt_key(key: str, tmp_path: Path) -> None:
    broken = changed(MANIFESTS, f"{key}:", f"{key}z:", tmp_path)
    code, text = run_tool("kubernetes-validate", "--strict", "--quiet", broken)
    assert code == 1
    assert f"{key}z" in text


def test_a_failed_or_evicted_worker_is_replaced_alone(jobs: dict[str, Any]) -> None:
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


def test_pods_have_no_privileges_and_the_user_of_the_image(jobs: dict[str, Any]) -> None:
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


def test_pods_share_an_image_and_an_environment_with_a_secret(
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
