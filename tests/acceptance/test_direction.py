"""The direction accuracy of the best, printed, recorded and on the card."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.artifacts import get_all_artifact_meta
from scipy.fft import dct
from scipy.stats import t

from puffin.studies.storage.artifacts import SqlArtifactStore
from puffin.studies.storage.database import open_storage
from tests.acceptance.helpers import Command, Finished

pytestmark = pytest.mark.usefixtures("empty_folder")


def direction_of(finished: Finished, trial: optuna.trial.FrozenTrial) -> tuple[float, float, float]:
    """Return a trial's accuracy and its interval, computed from its recorded forecasts.

    Wilson (1927): centre ``(p + z² / 2n) / (1 + z² / n)``, and the half width on either side, with
    n the moves that have the variance over time, and z the quantile of its Student's t.
    """
    storage = open_storage(finished.url)
    (meta,) = get_all_artifact_meta(trial, storage=storage)
    with SqlArtifactStore(storage.engine).open_reader(meta.artifact_id) as reader:
        table = pd.read_csv(reader)
    moved = table[table["actual"] != table["persistence"]]
    up, rose = (moved[name] > moved["persistence"] for name in ("forecast", "actual"))
    hits, moves = (up == rose).to_numpy(), len(moved)
    p, slowest = float(hits.mean()), int(0.4 * moves ** (2 / 3))
    projections = dct(hits - hits.mean(), norm="ortho")[1 : slowest + 1]
    n, z = min(p * (1 - p) / (projections**2).mean() * moves, moves), t.ppf(0.975, slowest)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return p, centre - half, centre + half


def test_run_prints_the_direction_accuracy_with_its_interval(
    finished: Finished,
) -> None:
    found = re.search(
        r"direction accuracy ([\d.]+) %, 95 % interval ([\d.]+) % to ([\d.]+) %; "
        r"of the training mean ([\d.]+) %",
        finished.first.out,
    )
    assert found
    own = direction_of(finished, finished.best_trial())
    assert list(found.groups()[:3]) == [f"{100 * share:.1f}" for share in own]
    assert own[1] < own[0] < own[2]


def test_best_records_its_direction_accuracy_with_its_interval(
    finished: Finished, command: Command
) -> None:
    out = command("best", "tiny-study", "--storage", finished.url, "--format", "json").out
    scores = json.loads(out)["scores"]
    p, low, high = direction_of(finished, finished.best_trial())
    assert scores["direction_accuracy"] == pytest.approx(p, rel=1e-12)
    assert scores["direction_interval"] == pytest.approx([low, high], rel=1e-9)


def test_the_card_has_the_direction_accuracy_with_its_interval(
    finished: Finished, exported: Path, config: dict[str, Any]
) -> None:
    p, low, high = direction_of(finished, finished.best_trial())
    card = (exported / "README.md").read_text("utf-8")
    p_text, low_text, high_text = (f"{100 * x:.1f} %" for x in (p, low, high))
    assert f"| direction accuracy | {p_text} ({low_text} to {high_text}) |\n" in card
    mean = config["scores"]["mean_direction_accuracy"]
    assert f"| direction accuracy of the training mean | {100 * mean:.1f} % |\n" in card
