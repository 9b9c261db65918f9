"""Samplers and pruners: each works, halving decides where it should, and a divergence is no win."""

import re
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import TrialState, create_trial

from puffin.studies.algorithms import PRUNERS, SAMPLERS

ROOT = Path(__file__).parents[2]
WIDE = FloatDistribution(0.0, 1.0)


def study_of(sampler: BaseSampler, pruner: BasePruner | None = None) -> optuna.Study:
    # Hyperband sorts trials into brackets by the name of the study.
    return optuna.create_study(
        study_name="fixed", sampler=sampler, pruner=pruner or PRUNERS["none"](50)
    )


def last_epoch(study: optuna.Study, curve: Callable[[int], float], epochs: int) -> int:
    """Report a curve from step 1 and give the epoch at which the trial ended."""
    trial = study.ask()
    for epoch in range(1, epochs + 1):
        trial.report(curve(epoch), epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch
    study.tell(trial, curve(epochs))
    return epochs


@pytest.mark.parametrize(("key", "registry"), [("sampler", SAMPLERS), ("pruner", PRUNERS)])
def test_samplers_and_pruners_are_the_documented_ones(
    key: str, registry: dict[str, object]
) -> None:
    page = (ROOT / "docs/study-file.md").read_text()
    (listed,) = re.findall(rf"^{key} = .*# (.*)$", page, re.MULTILINE)
    assert listed.split(" | ") == list(registry)


# Samplers


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_fills_trials_after_those_of_its_start(name: str) -> None:
    study = study_of(SAMPLERS[name].make(0))
    for _ in range(14):
        trial = study.ask()
        x = trial.suggest_float("x", 0.0, 1.0)
        trial.suggest_categorical("kind", ["a", "b"])
        trial.suggest_int("width", 4, 64, log=True)
        study.tell(trial, x)
    assert all(set(t.params) == {"x", "kind", "width"} for t in study.trials)
    assert all(t.state == TrialState.COMPLETE for t in study.trials)


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_is_determined_by_its_seed(name: str) -> None:
    def draw(seed: int) -> list[float]:
        study = study_of(SAMPLERS[name].make(seed))
        return [study.ask().suggest_float("x", 0.0, 1.0) for _ in range(4)]

    assert draw(5) == draw(5)
    assert not set(draw(5)) & set(draw(6))


def test_tpe_learns_conditional_widths_jointly() -> None:
    study = study_of(SAMPLERS["tpe"].make(0))
    for _ in range(12):
        trial = study.ask()
        layers = trial.suggest_int("layers", 1, 2)
        loss = sum(trial.suggest_float(f"width_{i}", 0.0, 1.0) for i in range(layers))
        study.tell(trial, loss)
    assert {len(t.params) for t in study.trials} == {2, 3}
    trial = study.ask()
    assert trial.relative_params is not None
    assert set(trial.relative_params) == {"layers", "width_0", "width_1"}


@pytest.mark.parametrize(("tries", "reached"), [("tpe", 0.05), ("gp", 0.05)], ids=["tpe", "gp"])
def test_learning_sampler_approaches_the_optimum(tries: str, reached: float) -> None:
    study = study_of(SAMPLERS[tries].make(0))
    for _ in range(40 if tries == "tpe" else 16):
        trial = study.ask()
        study.tell(trial, (trial.suggest_float("x", 0.0, 1.0) - 0.3) ** 2)
    early = [abs(t.params["x"] - 0.3) for t in study.trials[:10]]
    late = [abs(t.params["x"] - 0.3) for t in study.trials[-5:]]
    assert sum(late) / 5 < sum(early) / 10
    assert min(late) < reached


# Pruners


@pytest.mark.parametrize("name", PRUNERS)
def test_pruner_never_stops_the_only_trial(name: str) -> None:
    for epochs in (1, 2, 3, 50):
        study = study_of(SAMPLERS["random"].make(0), PRUNERS[name](epochs))
        assert last_epoch(study, lambda epoch: 1.0 / epoch, epochs) == epochs


@pytest.mark.parametrize("name", ["asha", "median"])
def test_pruner_stops_a_trial_worse_than_all_others(name: str) -> None:
    study = study_of(SAMPLERS["random"].make(0), PRUNERS[name](20))
    for i in range(6):
        last_epoch(study, lambda epoch, i=i: 1.0 - i / 100 - epoch / 1000, 20)
    assert last_epoch(study, lambda epoch: 9.0, 20) < 20


def test_hyperband_stops_some_of_ever_worse_trials() -> None:
    study = study_of(SAMPLERS["random"].make(0), PRUNERS["hyperband"](20))
    ends = [last_epoch(study, lambda epoch, i=i: 1.0 + i, 20) for i in range(30)]
    assert ends[0] == 20
    assert 0 < sum(end < 20 for end in ends) < 30
    assert {2, 6} <= set(ends)


def test_no_pruner_stops_nothing() -> None:
    study = study_of(SAMPLERS["random"].make(0), PRUNERS["none"](20))
    assert [last_epoch(study, lambda epoch, i=i: 1.0 + i, 20) for i in range(8)] == [20] * 8


def test_asha_decides_after_epochs_2_8_and_32_only() -> None:
    study = study_of(SAMPLERS["random"].make(0), PRUNERS["asha"](50))

    def stands_still(after: int) -> Callable[[int], float]:
        """A curve that is below all before it until `after`, and is level from then on."""
        ahead = study.trials[-1].number / 100 if study.trials else 0.0
        return lambda epoch: -min(epoch, after) - ahead

    for _ in range(3):
        assert last_epoch(study, stands_still(99), 50) == 50
    last_steps = [1, 2, 3, 7, 8, 9, 31, 32, 33, 50]
    ends = [last_epoch(study, stands_still(after), 50) for after in last_steps]
    assert ends == [2, 8, 8, 8, 32, 32, 32, 50, 50, 50]


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_a_pruner_judges_the_lowest_loss_until_then(name: str) -> None:
    study = study_of(SAMPLERS["random"].make(0), PRUNERS[name](50))
    for i in range(8):
        last_epoch(study, lambda epoch, i=i: 10.0 + i - epoch / 100, 50)
    # Of all trials the best, but only at 1, 4, 7 and so on: at no rung (2, 8, 32; 2, 6, 18).
    for i in range(8):
        best = 1.0 - i / 10
        rough = last_epoch(study, lambda epoch, b=best: b if epoch % 3 == 1 else 99.0, 50)
        assert rough == 50
    # What they were worth is what others are held to.
    ends = [last_epoch(study, lambda epoch: 9.0, 50) for _ in range(8)]
    assert (max if name == "asha" else min)(ends) < 50


def test_pruner_does_not_change_the_reports_of_a_trial() -> None:
    study = study_of(SAMPLERS["random"].make(0), PRUNERS["asha"](50))
    for _ in range(2):
        last_epoch(study, lambda epoch: 1.0 if epoch == 1 else 2.0 + epoch, 8)
    assert study.trials[1].intermediate_values == {1: 1.0, **{e: 2.0 + e for e in range(2, 9)}}


def test_asha_keeps_the_best_quarter_at_each_rung() -> None:
    study = study_of(SAMPLERS["random"].make(0), PRUNERS["asha"](50))
    better_and_better = [last_epoch(study, lambda epoch, i=i: -1.0 * i, 4) for i in range(11)]
    assert better_and_better == [4] * 11
    # of twelve values at epoch 2 the best three go on: behind -10 and -9 -8.5 is third, -8 is not
    assert last_epoch(study, lambda epoch: -8.5, 4) == 4
    assert last_epoch(study, lambda epoch: -8.0, 4) == 2


# A divergence is no success


def early_pruning(x: float) -> optuna.trial.FrozenTrial:
    return create_trial(
        state=TrialState.PRUNED,
        params={"x": x},
        distributions={"x": WIDE},
        intermediate_values={1: 1.0, 2: 1.0},
    )


def late_divergence(x: float, *, marked: bool) -> optuna.trial.FrozenTrial:
    """As the objective leaves it: 40 good epochs, then a loss that is not finite."""
    return create_trial(
        state=TrialState.PRUNED,
        params={"x": x},
        distributions={"x": WIDE},
        intermediate_values=dict.fromkeys(range(1, 41), 0.5),
        constraints={"finite_loss": 1.0} if marked else None,
    )


@pytest.mark.parametrize(("marked", "good"), [(True, "pruned"), (False, "diverged")])
def test_tpe_ranks_a_divergence_below_an_early_pruning(
    marked: bool,  # noqa: FBT001
    good: str,
) -> None:
    study = study_of(SAMPLERS["tpe"].make(0))
    for i in range(10):
        study.add_trial(early_pruning(i / 100))
        study.add_trial(late_divergence(0.9 + i / 100, marked=marked))
    below, above = _split_trials(study, study.trials, n_below=5)
    kinds = {"pruned" if t.params["x"] < 0.5 else "diverged" for t in below}
    assert kinds == {good}
    assert (len(below), len(above)) == (5, 15)


def test_tpe_moves_away_from_where_trials_diverge() -> None:
    def share_near_divergence(*, marked: bool) -> float:
        points = []
        for seed in range(20):
            study = study_of(SAMPLERS["tpe"].make(seed))
            for i in range(15):
                study.add_trial(early_pruning(i / 50))
                study.add_trial(late_divergence(0.7 + i / 50, marked=marked))
            points.append(study.ask().suggest_float("x", 0.0, 1.0))
        return sum(x > 0.5 for x in points) / len(points)

    assert share_near_divergence(marked=True) < 0.3
    assert share_near_divergence(marked=False) > 0.7


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_continues_after_divergences(name: str) -> None:
    study = study_of(SAMPLERS[name].make(0))
    for i in range(16):
        trial = study.ask()
        x = trial.suggest_float("x", 0.0, 1.0)
        if i % 3 == 0:  # at the first epoch: nothing was reported
            trial.set_constraint("finite_loss", 1.0)
            study.tell(trial, state=TrialState.PRUNED)
        elif i % 3 == 1:
            trial.report(0.5, 1)
            trial.set_constraint("finite_loss", 1.0)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, x)
    assert len(study.trials) == 16
    assert all(t.params for t in study.trials)
    assert study.best_trial.value == min(t.params["x"] for t in study.trials[2::3])
