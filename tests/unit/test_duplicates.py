"""No network is trained twice: samplers are asked again, and small spaces are counted."""

from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from puffin.models.config import Config
from puffin.studies import records
from puffin.studies.algorithms import PRUNERS, SAMPLERS
from puffin.studies.duplicates import DistinctSampler, distinct, find_trained, identity
from puffin.studies.networks import describe_networks, list_networks
from puffin.studies.records import DUPLICATE_OF
from puffin.studies.space import parse_space, suggest
from puffin.studies.spec import load_spec
from puffin.tuner.commands.tables import grid_note

COMPLETE, PRUNED = TrialState.COMPLETE, TrialState.PRUNED
FOUR: dict[str, Any] = {"cell": ["lstm", "gru"], "layers": 1, "hidden_dim": [8, 16]}

# Of each space: how many networks a person counts in it; 0 where they are many, or without end.
COUNTED: list[tuple[dict[str, Any], int]] = [
    (FOUR, 4),
    # Dropout is inert at one layer: 2, and 2 * 2 widths with each of 3 rates.
    ({"layers": [1, 2], "hidden_dim": [4, 8], "dropout": [0.0, 0.1, 0.2]}, 2 + 2 * 2 * 3),
    ({"layers": 1, "hidden_dim": [4, 8], "dropout": {"low": 0.0, "high": 0.5}}, 2),
    ({"layers": 1, "hidden_dim": 4, "dropout": [0.1, 0.2]}, 1),
    ({"layers": [1, 2], "hidden_dim": 4, "dropout": {"low": 0.0, "high": 0.5}}, 0),
    # Funnels: (2, 1), (3, 1), (2, 1, 1) and (3, 1, 1).
    ({"layers": [2, 3], "hidden_dim": {"low": 2, "high": 3, "funnel": True}}, 4),
    ({"layers": [1, 2], "hidden_dim": {"choices": [4, 8], "tied": True}, "dropout": 0.1}, 4),
    ({"lookback": {"low": 5, "high": 30, "step": 5}, "cell": ["lstm", "gru"]}, 12),
    ({"lookback": {"low": 5, "high": 14}}, 10),
    ({"lookback": {"low": 5, "high": 14, "log": True}}, 10),
    ({"lr": {"low": 0.1, "high": 0.3, "step": 0.1}}, 3),
    ({"lr": {"low": 0.1, "high": 0.3}}, 0),
    ({"lr": {"low": 0.1, "high": 0.3, "log": True}}, 0),
    ({"lr": {"low": 0.1, "high": 0.1}, "lookback": [3, 4]}, 2),
    ({"lookback": {"low": 1, "high": 2_000}}, 2_000),
    ({"lookback": {"low": 1, "high": 2_001}}, 0),
    ({"lookback": {"low": 1, "high": 1_000_000}, "hidden_dim": {"low": 1, "high": 100_000}}, 0),
]


@pytest.mark.parametrize(("values", "count"), COUNTED, ids=str)
def test_the_networks_of_a_small_space_are_counted(values: dict[str, Any], count: int) -> None:
    space = parse_space(values)
    points = list_networks(space)
    configs = {suggest(optuna.trial.FixedTrial(point), space) for point in points}
    assert (len(points), len(configs)) == (count, count)


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        (
            10,
            (
                "the space holds 4 distinct networks, fewer than the 10 trials: the other 6 will "
                "repeat results without training; widen [space], or set search.trials = 4"
            ),
        ),
        (4, "the space holds 4 distinct networks"),
    ],
)
def test_a_small_space_is_described(trials: int, said: str) -> None:
    assert describe_networks(parse_space(FOUR), trials) == said
    assert describe_networks(parse_space({"lr": {"low": 0.1, "high": 0.3}}), trials) == ""


def test_check_and_run_print_the_number_of_networks() -> None:
    fixed = ["lr=0.01", "weight_decay=0.0", "batch_size=32", "lookback=20", "layers=1"]
    settings = [f"space.{key}" for key in [*fixed, "hidden_dim=[8, 16]"]]
    note = grid_note(load_spec("demo", settings))
    assert note is not None
    assert note.startswith("the space holds 4 distinct networks, fewer than the 40 trials: ")
    assert grid_note(load_spec("demo")) is None


# A search whose loss is the width, so that TPE would take the same network again and again


def search(
    sampler: str, values: dict[str, Any], trials: int, state: TrialState = COMPLETE, **given: Any
) -> list[Config]:
    """Return the configuration of each trial of a search, each trained in no time."""
    space = parse_space(values)
    study = optuna.create_study(pruner=given.get("pruner", PRUNERS["none"](9)), study_name="s")
    configs = []
    for number in range(trials):
        study.sampler = DistinctSampler(
            SAMPLERS[sampler].make(number),
            space,
            lambda: study.get_trials(deepcopy=False),
            lambda: list_networks(space) if given.get("listed", True) else [],
            number,
        )
        trial = study.ask(fixed_distributions=None)
        config = suggest(trial, space)
        trial.set_user_attr(records.CONFIG, config.to_dict())
        configs.append(config)
        trial.report(float(config.hidden_dims[0]), 1)
        study.tell(trial, None if state == PRUNED else float(config.hidden_dims[0]), state=state)
    return configs


@pytest.mark.parametrize(
    ("sampler", "given"),
    [
        ("tpe", {}),
        ("gp", {}),
        ("tpe", {"state": PRUNED}),
        ("tpe", {"pruner": PRUNERS["hyperband"](9)}),
    ],
    ids=["tpe", "gp", "tpe, all pruned", "tpe, hyperband"],
)
def test_every_network_is_tried_before_one_is_tried_again(
    sampler: str, given: dict[str, Any]
) -> None:
    configs = search(sampler, FOUR, 6, **given)
    assert len(set(configs[:4])) == 4
    assert set(configs[4:]) <= set(configs[:4])


def test_learning_sampler_finds_all_networks_of_a_larger_space() -> None:
    values = {
        "layers": [1, 2],
        "hidden_dim": [4, 8],
        "dropout": [0.0, 0.1, 0.2],
        "lookback": [3, 4],
    }
    configs = search("tpe", values, 28)
    assert len(set(configs)) == len(configs) == 28


def test_large_space_has_few_duplicates() -> None:
    values = {"lookback": {"low": 3, "high": 20}, "hidden_dim": {"low": 4, "high": 9}, "layers": 1}
    bare = len(set(search("tpe", values, 40, listed=False)))
    assert bare > 34, "of 108 networks, of which TPE by itself tries 34"


def test_distinct_sampler_draws_like_the_wrapped_one_without_duplicates() -> None:
    values = FOUR | {"layers": [1, 2], "lr": {"low": 1e-4, "high": 1e-1, "log": True}}
    space = parse_space(values)
    study = optuna.create_study()
    expected = []
    for number in range(16):
        study.sampler = SAMPLERS["tpe"].make(number)
        trial = study.ask()
        expected.append(suggest(trial, space))
        trial.report(float(expected[-1].hidden_dims[0]), 1)
        study.tell(trial, float(expected[-1].hidden_dims[0]))
    assert search("tpe", values, 16) == expected


def test_networks_in_training_or_failed_are_not_proposed() -> None:
    space = parse_space(FOUR)
    study = optuna.create_study()

    def ask() -> tuple[optuna.Trial, Config]:
        study.sampler = DistinctSampler(
            SAMPLERS["tpe"].make(7), space, study.get_trials, lambda: list_networks(space), 7
        )
        trial = study.ask()
        config = suggest(trial, space)
        trial.set_user_attr(records.CONFIG, config.to_dict())
        return trial, config

    pairs = [ask() for _ in range(3)]
    failed, _ = pairs[0]
    failed.set_user_attr(records.FAILURE, "it broke")
    study.tell(failed, state=TrialState.FAIL)
    pairs.append(ask())
    assert len({config for _, config in pairs}) == 4
    known, config = pairs[1]
    study.tell(known, 1.0)
    # None is left: the ticket takes the one whose result is known, not those in training.
    assert [ask()[1] for _ in range(3)] == [config] * 3


# Trials of one network


def trial(
    number: int, loss: float = 1.0, state: TrialState = COMPLETE, **config: Any
) -> FrozenTrial:
    attrs = config.pop("attrs", {}) | {records.CONFIG: Config(**config).to_dict()}
    made = create_trial(state=state, value=loss if state == COMPLETE else None, user_attrs=attrs)
    made.number = number
    return made


def numbers(trials: list[FrozenTrial]) -> Iterator[int]:
    return (t.number for t in trials)


def test_each_network_counts_once_by_its_best_complete_trial() -> None:
    trials = [
        trial(0, state=PRUNED),
        trial(1, 0.5),
        trial(2, 0.4),  # the same on another kind of machine
        trial(3, 0.4, attrs={DUPLICATE_OF: 2}),
        trial(4, state=PRUNED, lookback=3),
        trial(5, state=PRUNED, lookback=3),
    ]
    assert [*numbers(distinct(trials))] == [2, 4]


def test_known_result_is_from_a_trained_and_finished_trial() -> None:
    running = trial(0, state=TrialState.RUNNING)
    failed = trial(1, state=TrialState.FAIL, attrs={records.FAILURE: "it broke"})
    repeated = trial(2, 0.4, attrs={DUPLICATE_OF: 9})
    assert find_trained([running, failed, repeated, trial(3, lookback=3)], Config()) is None
    pruned = trial(4, state=PRUNED)
    found = find_trained([running, pruned, trial(5)], Config())
    assert found is not None
    assert found.number == 5
    assert find_trained([repeated, pruned], Config()) is pruned


def test_rounding_of_steps_does_not_change_the_identity_of_a_network() -> None:
    first, second = (Config(hidden_dims=(8, 8), dropout=d) for d in (0.3, 0.1 + 0.1 + 0.1))
    assert first != second
    assert identity(first.to_dict()) == identity(second.to_dict())
    other = Config(hidden_dims=(8, 8), dropout=0.3, lr=1e-3 + 1e-9)
    assert identity(first.to_dict()) != identity(other.to_dict())
