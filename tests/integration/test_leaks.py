"""A feature that uses the future would win, so a study with one is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from optuna.storages import RDBStorage

import puffin.studies.dataset
from benchmarks import calibrate
from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.features import FEATURES, Bars, Feature
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.lifecycle import submit
from puffin.studies.prices.basket import Basket
from puffin.studies.spec import Spec, load_spec
from puffin.studies.storage.database import open_storage
from puffin.studies.study import study_names
from puffin.tuner.cli import main
from tests.leaks import LEAKS, tomorrow

leaks = pytest.mark.parametrize("compute", LEAKS.values(), ids=LEAKS)


@pytest.fixture
def storage(new_url: Callable[[str], str]) -> RDBStorage:
    return open_storage(new_url("sqlite"), create=True)


Plant = Callable[[Callable[[Bars], Floats]], None]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Register a feature named "leaky"."""

    def put(compute: Callable[[Bars], Floats]) -> None:
        monkeypatch.setitem(FEATURES, "leaky", Feature(("close",), 1, compute))

    return put


@pytest.fixture
def leaky_file(tiny_file: Path) -> Path:
    path, text = tiny_file.with_name("leaky.toml"), tiny_file.read_text()
    path.write_text(text.replace('features = ["return"]', 'features = ["return", "leaky"]'))
    return path


@leaks
def test_study_with_a_leaking_feature_is_refused(
    compute: Callable[[Bars], Floats],
    plant: Plant,
    leaky_file: Path,
    prices: Basket,
    storage: RDBStorage,
) -> None:
    plant(compute)
    spec = load_spec(str(leaky_file))
    with pytest.raises(PuffinError, match=r"^data\.features 'leaky' looks into the future"):
        submit(storage, spec, prices)
    assert study_names(storage) == []


@leaks
def test_check_reports_a_leaking_feature(
    compute: Callable[[Bars], Floats], plant: Plant, leaky_file: Path
) -> None:
    plant(compute)
    result = CliRunner().invoke(main, ["check", str(leaky_file)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "data.features 'leaky' looks into the future: at bar " in result.stderr
    assert "Traceback" not in result.stderr


def test_study_with_causal_user_features_is_accepted(
    plant: Plant, leaky_file: Path, prices: Basket, storage: RDBStorage
) -> None:
    plant(FEATURES["return"].compute)
    submit(storage, load_spec(str(leaky_file)), prices)
    assert study_names(storage) == ["tiny"]


def test_leak_that_begins_in_the_holdout_is_caught_at_the_opening(
    plant: Plant, leaky_file: Path, prices: Basket
) -> None:
    sealed = 20

    def late(columns: Bars) -> Floats:
        own = FEATURES["return"].compute(columns)
        own[len(prices.frames["AAPL"]) - sealed :] = tomorrow(columns)[
            len(prices.frames["AAPL"]) - sealed :
        ]
        return own

    plant(late)
    spec = load_spec(str(leaky_file))
    assert spec.walk_forward.holdout_bars == sealed
    search, holdout = cut_holdout(prices.frames, spec)
    Dataset.build(spec, search)
    with pytest.raises(PuffinError, match=r"^data\.features 'leaky' looks into the future"):
        Dataset.for_holdout(spec, search, holdout)


# The same leaks without the check that catches them


def switched_off(*_: object) -> None:
    """Accept every feature."""


def judged(spec: Spec) -> calibrate.Run:
    return calibrate.run(spec, calibrate.market(0.0, seed=0))


def test_network_without_a_leak_has_no_skill_on_a_random_walk() -> None:
    assert judged(calibrate.study_file(0, 3)).judgement.reference.skill < 0.05


@pytest.mark.parametrize("name", ["tomorrow", "rolled", "centred"])
def test_leak_forecasts_a_random_walk_if_nothing_catches_it(
    name: str, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(LEAKS[name])
    monkeypatch.setattr(puffin.studies.dataset, "require_causal", switched_off)
    found = judged(calibrate.study_file(0, 3, ["return", "leaky"]))
    assert found.baseline("persistence").skill > 0.8
    # A straight line reads it as well, so that alone it would not even be called a victory.
    assert found.skill_of("ridge") > 0.8


def folded(columns: Bars) -> Floats:
    """Return the root of the next return above the lowest, with alternating sign: not linear."""
    ahead = tomorrow(columns)
    return np.sqrt(ahead - ahead.min()) * np.where(np.arange(len(ahead)) % 2, 1.0, -1.0)


def test_nonlinear_leak_wins_by_far_if_nothing_catches_it(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(folded)
    with pytest.raises(PuffinError, match="'leaky' looks into the future"):
        judged(calibrate.study_file(0, 3, ["leaky"]))
    monkeypatch.setattr(puffin.studies.dataset, "require_causal", switched_off)
    found = judged(calibrate.study_file(0, 3, ["leaky"]))
    assert found.judgement.outcome == "better"
    assert found.judgement.reference.skill > 0.8
    assert abs(found.skill_of("ridge")) < 0.05
