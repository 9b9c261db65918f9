"""The likely time of a search: epochs that are counted by hand, and steps that are timed."""

from dataclasses import replace
from typing import Any

import pytest

from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.search_cost import SearchCost, mean_epochs, search_cost, walk_cost
from puffin.studies.spec import Spec, override
from tests.prices import bars
from tests.studies import tiny_spec


def spec_of(pruner: str, max_epochs: int, **space: Any) -> Spec:
    training = {"max_epochs": max_epochs, "patience": 4}
    changed = {"space": space} if space else {}
    return tiny_spec(training=training, search={"pruner": pruner, "trials": 30}, **changed)


@pytest.mark.parametrize(
    ("pruner", "max_epochs", "least", "most"),
    [
        # Least: all train 2 epochs, a quarter 6 more, a sixteenth 12 more.
        # Most: all reach epoch 2, and of the later epochs two in e reach e.
        ("asha", 20, 2 + 6 / 4 + 12 / 16, 3 + 2 * sum(1 / e for e in range(3, 20))),
        ("asha", 2, 2, 2),
        ("asha", 1, 1, 1),
        ("none", 20, 5, 20),
        ("none", 3, 3, 3),
        ("median", 5, 3 + 2 / 3 + 2 / 4, 5),
    ],
)
def test_the_epochs_of_a_trial_are_those_that_its_pruner_leaves(
    pruner: str, max_epochs: int, least: float, most: float
) -> None:
    assert mean_epochs(spec_of(pruner, max_epochs)) == pytest.approx((least, most))


def test_workers_share_the_trials_after_they_have_started() -> None:
    least, most = SearchCost(100.0, 300.0).seconds(10)
    assert most - least == pytest.approx(20.0)
    assert 10.0 < least < 20.0


def test_a_search_of_wider_networks_takes_longer() -> None:
    costs = [search_cost(dataset_of(hidden_dim=width, lr=[1e-3, 1e-2])) for width in (8, 256)]
    small, large = (cost.least for cost in costs if cost is not None)
    assert large > 2 * small > 0


def test_a_walk_costs_its_searches_and_the_trainings_of_their_winners() -> None:
    dataset = dataset_of(hidden_dim=8, lr=[1e-3, 1e-2])
    many = replace(dataset, spec=override(dataset.spec, ["final.seeds=100"]))
    search = search_cost(dataset)
    walk = walk_cost([dataset] * 4)
    longer = walk_cost([many] * 4)
    assert search is not None
    assert walk is not None
    assert longer is not None
    # Both are timed, and a shared machine makes one timing several times another.
    assert 4 / 5 < walk.least / search.least < 4 * 5
    # The trainings of winners take as long in both.
    assert 1 < walk.most / walk.least < search.most / search.least
    assert longer.least > 2 * walk.least


def test_a_network_that_is_too_large_to_try_is_not_built() -> None:
    assert search_cost(dataset_of(hidden_dim=1_000_000, lr=[1e-3, 1e-2])) is None


def dataset_of(**space: Any) -> Dataset:
    spec = spec_of("none", 10, **space)
    return Dataset.build(spec, cut_holdout({"A": bars()}, spec)[0])
