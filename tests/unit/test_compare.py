"""Comparison of trials by one hyperparameter, on trials made by hand."""

import itertools
import re
from types import SimpleNamespace
from typing import Any

import click
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from puffin.models.config import Config
from puffin.studies.comparison import COMPARABLE, SYMBOL, Group, compare
from puffin.studies.records import TrainingRun, TrialRecord
from puffin.studies.study import StudyError
from puffin.tuner.cli import compare as command
from tests.trials import scores

COMPLETE, PRUNED, FAILED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
WAITING, RUNNING = TrialState.WAITING, TrialState.RUNNING


def trial(
    loss: float | None = 0.5,
    *folds: float,
    state: TrialState = COMPLETE,
    run: tuple[float, int] | None = (1.0, 1),
    curve: tuple[float, ...] | None = None,
    **config: Any,
) -> FrozenTrial:
    """Return a finished trial; `run` holds seconds and epochs, `curve` the losses."""
    if curve is None:
        curve = () if loss is None else (loss,)
    record = TrialRecord(
        config=Config(**config).to_dict(),
        scores=None if loss is None else scores(loss, fold_losses=folds or (loss, loss)),
        run=None if run is None else TrainingRun(seconds=run[0], epochs=run[1]),
        failure="out of memory" if state == FAILED else None,
    )
    return create_trial(
        state=state,
        value=loss if state == COMPLETE else None,
        user_attrs=record.to_attrs(),
        intermediate_values=dict(enumerate(curve, start=1)),
    )


def study(*trials: FrozenTrial) -> Any:
    """Return the part of a study that `compare` reads."""
    for number, own in enumerate(trials):
        own.number = number
    return SimpleNamespace(name="x", trials=lambda: list(trials))


def losses(groups: list[Group]) -> dict[str, float | None]:
    """Return the median loss of each group, in order."""
    return {group.label: group.median_loss for group in groups}


def numbers(groups: list[Group]) -> dict[str, int]:
    return {group.label: group.trials for group in groups}


# One group


def test_a_group_counts_its_trials_by_state() -> None:
    gru, lstm = {"cell": "gru"}, {"cell": "lstm"}
    groups = compare(
        study(
            trial(0.3, **lstm),
            trial(0.5, **lstm),
            trial(0.9, state=PRUNED, **lstm),
            trial(None, state=FAILED, **lstm),
            trial(0.6, **gru),
        )
    )
    assert [group.label for group in groups] == ["LSTM", "GRU"]
    first, second = groups
    assert (first.trials, first.complete, first.pruned, first.failed) == (4, 2, 1, 1)
    assert (second.trials, second.complete, second.pruned, second.failed) == (1, 1, 0, 0)


def test_the_best_of_a_group_is_its_first_lowest_complete_trial() -> None:
    (group, _) = compare(
        study(
            trial(0.5),
            trial(0.4),
            trial(0.4),
            trial(0.1, state=PRUNED),
            trial(0.9, cell="gru"),
        )
    )
    assert group.best is not None
    assert group.best.number == 1


def at_epoch(groups: list[Group]) -> dict[str, tuple[int | None, float | None]]:
    """Return where the losses of each group are compared, and the loss there."""
    return {group.label: (group.epoch, group.loss_at_epoch) for group in groups}


def test_cells_with_complete_trials_are_compared_at_their_best_epochs() -> None:
    groups = compare(
        study(
            trial(0.5, curve=(0.9, 0.7, 0.5)),
            trial(0.4, state=PRUNED, curve=(0.4,)),
            trial(0.6, curve=(0.8, 0.6), cell="gru"),
        )
    )
    assert [group.best.value for group in groups if group.best] == [0.5, 0.6]
    assert at_epoch(groups) == {"LSTM": (None, None), "GRU": (None, None)}


def test_a_pruned_cell_is_compared_at_the_last_common_epoch() -> None:
    """All LSTMs were pruned, the longest after its third epoch; a GRU came to its end."""
    groups = compare(
        study(
            trial(0.72, state=PRUNED, curve=(0.9, 0.72)),
            trial(0.75, state=PRUNED, curve=(0.8, 0.75, 0.79)),
            trial(0.5, curve=(0.88, 0.71, 0.74, 0.5), cell="gru"),
            trial(0.70, state=PRUNED, curve=(0.70,), cell="gru"),
        )
    )
    assert at_epoch(groups) == {"LSTM": (3, 0.72), "GRU": (3, 0.70)}
    lstm, gru = groups
    assert (lstm.best, lstm.folds_won, lstm.median_loss) == (None, None, None)
    assert gru.best is not None
    assert (gru.best.value, gru.folds_won) == (0.5, None)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_earliest_pruned_group_sets_the_common_epoch(order: tuple[int, ...]) -> None:
    kinds = [
        trial(0.6, state=PRUNED, curve=(0.9, 0.8, 0.7, 0.6), lookback=5),
        trial(0.8, state=PRUNED, curve=(0.95, 0.8), lookback=10),
        trial(0.3, curve=(0.9, 0.85, 0.4, 0.3), lookback=20),
    ]
    groups = compare(study(*(kinds[i] for i in order)), "lookback")
    assert at_epoch(groups) == {"5": (2, 0.8), "10": (2, 0.8), "20": (2, 0.85)}


def test_a_group_without_any_loss_keeps_the_others_from_nothing() -> None:
    groups = compare(
        study(
            trial(None, state=PRUNED, curve=(), lookback=5),
            trial(None, state=FAILED, curve=(0.1, 0.1), lookback=5),
            trial(0.8, state=PRUNED, curve=(0.95, 0.8), lookback=10),
            trial(0.3, curve=(0.9, 0.85, 0.3), lookback=20),
        ),
        "lookback",
    )
    assert at_epoch(groups) == {"5": (2, None), "10": (2, 0.8), "20": (2, 0.85)}


@pytest.mark.parametrize("state", [PRUNED, FAILED])
def test_a_group_without_losses_has_no_best_or_median(state: TrialState) -> None:
    (group, other) = compare(study(trial(None, state=state), trial(0.9, cell="gru")))
    assert (group.trials, group.best, group.median_loss, group.folds_won) == (1, None, None, None)
    assert other.folds_won is None, "alone it beats nobody"


def test_the_median_is_of_the_complete_trials_alone() -> None:
    groups = compare(
        study(
            *(trial(loss) for loss in (0.2, 0.9, 0.3)),
            trial(0.01, state=PRUNED),
            *(trial(loss, cell="gru") for loss in (0.8, 0.4)),
        )
    )
    assert losses(groups) == {"LSTM": 0.3, "GRU": pytest.approx(0.6)}


def test_seconds_per_epoch_are_the_median_over_whatever_has_run() -> None:
    # 6 / 3 = 2, 10 / 2 = 5, 4 / 4 = 1, and 7 before the end of a first epoch.
    runs = [(6.0, 3, COMPLETE), (10.0, 2, PRUNED), (4.0, 4, COMPLETE)]
    lstms = [trial(0.5, state=state, run=(took, epochs)) for took, epochs, state in runs]
    gru = {"cell": "gru"}
    silent = trial(None, state=FAILED, run=None, **gru)
    groups = compare(study(*lstms, silent, trial(None, state=PRUNED, run=(7.0, 0), **gru)))
    assert [group.seconds_per_epoch for group in groups] == [2.0, 7.0]
    groups = compare(study(*lstms, silent))
    assert [group.seconds_per_epoch for group in groups] == [2.0, None]


def test_a_fold_goes_to_the_group_with_the_lowest_loss() -> None:
    groups = compare(
        study(
            trial(0.5, 0.2, 0.4, 0.9, lookback=5),
            trial(0.7, 0.1, 0.1, 1.9, lookback=5),  # not the best, and wins nothing
            trial(0.6, 0.3, 0.7, 0.8, lookback=10),
            trial(0.4, 0.1, 0.5, 0.6, lookback=20),
        ),
        "lookback",
    )
    assert {group.label: group.folds_won for group in groups} == {"5": 1, "10": 0, "20": 2}


def test_a_fold_that_two_win_alike_counts_once() -> None:
    groups = compare(study(trial(0.5, 0.5, 0.5), trial(0.5, 0.5, 0.5, cell="gru")))
    assert sum(group.folds_won or 0 for group in groups) == 2


# Who is in


def test_trials_that_are_not_finished_are_left_out() -> None:
    # Failed without a reason: its ticket went to another trial.
    given_back = create_trial(
        state=FAILED, user_attrs=TrialRecord(config=Config().to_dict()).to_attrs()
    )
    groups = compare(
        study(
            trial(0.5),
            trial(0.6, cell="gru"),
            trial(0.1, state=RUNNING),
            trial(0.1, state=WAITING),
            given_back,
        )
    )
    assert numbers(groups) == {"LSTM": 1, "GRU": 1}


def test_trials_without_a_configuration_are_left_out() -> None:
    bare = create_trial(
        state=FAILED, user_attrs=TrialRecord(failure="no memory to begin with").to_attrs()
    )
    foreign = create_trial(state=COMPLETE, value=0.1)
    groups = compare(study(bare, foreign, trial(0.5), trial(0.6, cell="gru")))
    assert numbers(groups) == {"LSTM": 1, "GRU": 1}
    assert losses(groups) == {"LSTM": 0.5, "GRU": 0.6}


def test_dropout_of_one_layer_says_nothing_and_is_left_out() -> None:
    deep = {"hidden_dims": (4, 4)}
    trials = study(
        trial(0.5, dropout=0.0, **deep),
        trial(0.6, dropout=0.3, **deep),
        trial(0.1, dropout=0.3, hidden_dims=(4,)),
        trial(0.2, dropout=0.0, hidden_dims=(4,)),
    )
    assert losses(compare(trials, "dropout")) == {"0": 0.5, "0.3": 0.6}


# The groups


@pytest.mark.parametrize(
    "trials", [[trial(0.5)], [trial(0.5, cell="gru")], [trial(0.5), trial(0.5, cell="gru")]]
)
def test_both_cells_have_their_column_always_and_in_one_order(trials: list[FrozenTrial]) -> None:
    groups = compare(study(*trials))
    assert [group.label for group in groups] == ["LSTM", "GRU"]
    assert sum(group.trials for group in groups) == len(trials)


@pytest.mark.parametrize(
    ("by", "configs", "labels"),
    [
        (
            "layers",
            [{"hidden_dims": w} for w in ((4,), (4, 9), (4, 4, 4), (9, 4))],
            {"1": 0.0, "2": 2.0, "3": 2.0},
        ),
        # The width of the first layer, whatever the others have.
        (
            "hidden_dim",
            [{"hidden_dims": w} for w in ((8, 2), (4, 8), (8,), (16, 4))],
            {"4": 1.0, "8": 1.0, "16": 3.0},
        ),
        ("lookback", [{"lookback": v} for v in (20, 5, 100, 5)], {"5": 2.0, "20": 0.0, "100": 2.0}),
        (
            "lr",
            [{"lr": v} for v in (0.01, 1e-5, 0.01, 0.00123)],
            {"1e-05": 1.0, "0.00123": 3.0, "0.01": 1.0},
        ),
        (
            "weight_decay",
            [{"weight_decay": v} for v in (0.0, 1e-4, 0.0, 0.0)],
            {"0": 2.0, "0.0001": 1.0},
        ),
        ("batch_size", [{"batch_size": v} for v in (64, 32, 64, 32)], {"32": 2.0, "64": 1.0}),
        ("noise", [{"noise": v} for v in (0.1, 0.0, 0.1, 0.5)], {"0": 1.0, "0.1": 1.0, "0.5": 3.0}),
    ],
)
def test_trials_of_one_value_are_one_group_and_groups_ascend(
    by: str, configs: list[dict[str, Any]], labels: dict[str, float]
) -> None:
    # The loss of a trial is its place, so a median tells which trials a group has.
    groups = compare(study(*(trial(float(i), **c) for i, c in enumerate(configs))), by)
    assert losses(groups) == labels
    assert list(losses(groups)) == list(labels)


def test_five_values_are_five_groups() -> None:
    trials = [trial(0.5, lookback=v) for v in (5, 4, 3, 2, 1) * 3]
    assert numbers(compare(study(*trials), "lookback")) == dict.fromkeys("12345", 3)


def test_six_values_are_three_groups_with_their_ranges() -> None:
    trials = [trial(0.5, lookback=v) for v in (60, 10, 20, 30, 40, 50)]
    labels = [group.label for group in compare(study(*trials), "lookback")]
    assert len(labels) == 3
    assert labels[0].startswith("10")
    assert labels[-1].endswith("60")
    for low, high in (label.split(" to ") for label in labels):
        assert float(low) <= float(high)


@pytest.mark.parametrize("count", [6, 7, 8, 9, 10, 20, 30])
def test_thirds_of_different_values_are_thirds(count: int) -> None:
    trials = [trial(0.5, lookback=v) for v in range(1, count + 1)]
    sizes = list(numbers(compare(study(*trials), "lookback")).values())
    assert len(sizes) == 3
    assert max(sizes) - min(sizes) <= 1


def test_thirds_of_nine_learning_rates() -> None:
    rates = [1e-5, 2e-5, 3e-5, 1e-4, 2e-4, 3e-4, 1e-3, 2e-3, 3e-3]
    trials = [trial(float(i), lr=lr) for i, lr in enumerate(rates)]
    assert losses(compare(study(*trials), "lr")) == {
        "1e-05 to 3e-05": 1.0,
        "0.0001 to 0.0003": 4.0,
        "0.001 to 0.003": 7.0,
    }


def test_equal_values_are_never_in_two_thirds() -> None:
    values = [1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 6, 6]
    groups = compare(study(*(trial(0.5, lookback=v) for v in values)), "lookback")
    assert sum(group.trials for group in groups) == 12
    ranges = [[int(end) for end in group.label.split(" to ")] for group in groups]
    for (*_, high), (low, *_) in itertools.pairwise(ranges):
        assert high < low


@pytest.mark.parametrize("common", [1, 4, 9])
def test_a_frequent_value_does_not_merge_with_others(common: int) -> None:
    # A sampler that has found a good value takes it again and again.
    values = [*range(1, 10), *[common] * 30]
    groups = compare(study(*(trial(0.5, lookback=v) for v in values)), "lookback")
    assert len(groups) >= 2
    assert sum(group.trials for group in groups) == 39


@pytest.mark.parametrize(
    ("by", "configs"),
    [
        ("batch_size", [{"batch_size": 1001}, {"batch_size": 1004}]),
        ("lr", [{"lr": 0.0012341}, {"lr": 0.0012342}]),
        ("hidden_dim", [{"hidden_dims": (1024,)}, {"hidden_dims": (1023,)}]),
    ],
)
def test_values_that_nearly_agree_lose_no_trial(by: str, configs: list[dict[str, Any]]) -> None:
    groups = compare(study(*(trial(0.5, **config) for config in configs)), by)
    assert sum(group.trials for group in groups) == 2


def test_whole_numbers_are_shown_whole() -> None:
    trials = study(trial(0.5, batch_size=1024), trial(0.5, batch_size=2048))
    assert list(numbers(compare(trials, "batch_size"))) == ["1024", "2048"]


# Nothing to compare


NONE = "study 'x' has no finished trial yet: there is nothing to compare before `tuner worker`"
FAILURES = "all finished trials of study 'x' (2) failed before an epoch had ended: there is nothing"


@pytest.mark.parametrize(
    ("by", "trials", "said"),
    [
        ("cell", [], NONE),
        ("lookback", [], NONE),
        ("lookback", [trial(0.1, state=RUNNING)], NONE),
        ("cell", [trial(None, state=FAILED, run=None)] * 2, FAILURES),
        (
            "cell",
            [create_trial(state=FAILED, user_attrs=TrialRecord(failure="no memory").to_attrs())]
            * 2,
            FAILURES,
        ),
        ("lookback", [trial(0.1, lookback=7)] * 3, "have lookback = 7: "),
        ("layers", [trial(0.1), trial(0.2, hidden_dims=(9, 9))], "have layers = 2: "),
        ("lr", [trial(0.1, lr=0.00123)], "have lr = 0.00123: "),
        (
            "dropout",
            [trial(0.1, hidden_dims=(4,), dropout=d) for d in (0.0, 0.5)],
            "have one layer, where dropout does nothing: ",
        ),
        (
            "dropout",
            [trial(0.1, dropout=0.5), trial(0.1, hidden_dims=(4,), dropout=0.1)],
            "have dropout = 0.5: ",
        ),
    ],
)
def test_one_kind_of_trials_is_nothing_to_compare(
    by: str, trials: list[FrozenTrial], said: str
) -> None:
    if said.startswith("have "):
        said = f"all finished trials of study 'x' {said}there is nothing to compare; name another"
    with pytest.raises(StudyError, match=f"^{re.escape(said)}"):
        compare(study(*trials), by)


# The command line, which must not import the studies to know what it offers


def test_the_command_offers_every_way_to_compare_and_no_other() -> None:
    (option,) = [parameter for parameter in command.params if parameter.name == "by"]
    assert isinstance(option.type, click.Choice)
    assert sorted(option.type.choices) == sorted([*COMPARABLE, SYMBOL])
    assert option.default == "cell"


def test_every_hyperparameter_of_a_configuration_can_be_compared() -> None:
    config = Config(features="return + range")
    told = {name: value(config.to_dict()) for name, value in COMPARABLE.items()}
    widths = {"layers": 2, "hidden_dim": 64}
    rest = {k: v for k, v in config.to_dict().items() if k != "hidden_dims"}
    assert told == rest | widths
