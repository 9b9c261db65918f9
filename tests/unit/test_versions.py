"""Which versions may work on a study, and the messages about others."""

import pytest

from puffin.studies.versions import (
    PACKAGES,
    VersionMismatchError,
    check_versions,
    installed_versions,
)

MADE = {"puffin-tuner": "0.1.0", "optuna": "5.0.1", "torch": "2.13.0+cpu"}
NOTHING, WARNING, REFUSAL = "nothing", "warning", "refusal"


@pytest.mark.parametrize(
    ("package", "stored", "own", "answer"),
    [
        ("torch", "2.13.0", "2.13.0", NOTHING),
        ("torch", "2.13.0+cpu", "2.13.0+cu130", NOTHING),
        ("torch", "2.13.0+cpu", "2.13.0", NOTHING),
        ("torch", "2.13.0", "2.13.1", WARNING),
        ("torch", "2.13.1+cpu", "2.13.0+cu130", WARNING),
        ("torch", "2.13.0", "2.12.0", REFUSAL),
        ("torch", "2.9.0", "2.13.0", REFUSAL),
        ("torch", "2.1.3", "2.13.0", REFUSAL),
        ("torch", "2.13.0", "3.13.0", REFUSAL),
        ("torch", "2.13.0+cpu", "2.14.0+cpu", REFUSAL),
        ("optuna", "5.0.0", "5.0.1", WARNING),
        ("optuna", "5.0.0", "5.1.0", REFUSAL),
        ("optuna", "5.0.0", "5.0.0rc1", WARNING),
        ("optuna", "4.9.0", "5.0.0", REFUSAL),
        ("puffin-tuner", "0.1.0", "0.1.9", WARNING),
        ("puffin-tuner", "0.1.0", "0.2.0", REFUSAL),
        ("puffin-tuner", "0.1.0", "1.1.0", REFUSAL),
    ],
)
def test_a_minor_version_refuses_a_patch_warns_and_builds_are_equal(
    package: str, stored: str, own: str, answer: str
) -> None:
    theirs, ours = MADE | {package: stored}, MADE | {package: own}
    if answer == REFUSAL:
        with pytest.raises(VersionMismatchError) as caught:
            check_versions(theirs, ours)
        assert str(caught.value) == (
            f"it was made with {package} {stored}, but this is {package} {own}: its losses could "
            "not be compared; install those versions here, or submit a new study"
        )
    else:
        said = [f"it was made with {package} {stored}, this is {own}"]
        assert check_versions(theirs, ours) == (said if answer == WARNING else [])


def test_a_refusal_names_every_package_that_differs_and_no_other() -> None:
    theirs = {"puffin-tuner": "0.1.3", "optuna": "4.0.0", "torch": "2.9.0"}
    with pytest.raises(VersionMismatchError) as caught:
        check_versions(theirs, MADE)
    assert "made with optuna 4.0.0, torch 2.9.0, but this is optuna 5.0.1, torch 2.13.0" in str(
        caught.value
    )
    assert "puffin" not in str(caught.value)


def test_a_package_of_unknown_version_is_refused() -> None:
    with pytest.raises(
        VersionMismatchError, match=r"with numpy 2\.3\.0, but this is numpy of unknown"
    ):
        check_versions(MADE | {"numpy": "2.3.0"}, MADE)


def test_an_installation_knows_its_own_versions_and_accepts_them() -> None:
    own = installed_versions()
    assert tuple(own) == PACKAGES
    assert all(version[0].isdigit() for version in own.values())
    assert check_versions(own, own) == []
