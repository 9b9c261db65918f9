"""Early stopping by table, and what it prints, restores and forgets."""

import math

import pytest
import torch
from torch import nn

from puffin.models.training.early_stopping import EarlyStopping

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "stops_at", "best", "counter"),
    [
        ([1.0, 0.9, 0.8], 2, 0.0, None, 0.8, 0),
        ([1.0, 1.1, 1.2], 2, 0.0, None, 1.0, 2),
        ([1.0, 1.1, 1.2, 1.3], 2, 0.0, 3, 1.0, 3),
        ([1.0, 1.1, 1.2, 0.9, 1.3, 1.4], 2, 0.0, None, 0.9, 2),
        ([1.0, 1.1, 0.9, 1.3, 1.4, 1.5], 2, 0.0, 5, 0.9, 3),
        # With a patience of 0 the first loss without improvement stops; an equal loss is none.
        ([1.0, 0.5], 0, 0.0, None, 0.5, 0),
        ([1.0, 1.0], 0, 0.0, 1, 1.0, 1),
        ([1.0, 1.0], 1, 0.0, None, 1.0, 1),
        # A loss that is not finite is never the best, not even as the first one.
        ([NAN, 1.0, 0.5, 0.6], 1, 0.0, None, 0.5, 1),
        ([NAN, 1.0], 1, 0.0, None, 1.0, 0),
        ([NAN, NAN], 1, 0.0, 1, None, 2),
        ([NAN], 0, 0.0, 0, None, 1),
        ([1.0, NAN, 0.9, NAN, NAN], 1, 0.0, 4, 0.9, 2),
        ([INF, 2.0], 1, 0.0, None, 2.0, 0),
        ([1.0, INF, INF], 1, 0.0, 2, 1.0, 2),
        ([1.0, -INF], 1, 0.0, None, 1.0, 1),
        # An improvement is more than min_delta below the best.
        ([1.0, 0.75], 0, 0.25, 1, 1.0, 1),
        ([1.0, 0.7499], 0, 0.25, None, 0.7499, 0),
        # Small steps are measured from the best, so they add up.
        ([1.0, 0.9, 0.8, 0.7], 2, 0.25, None, 0.7, 0),
        ([1.0, 0.9, 0.8, 0.76], 2, 0.25, 3, 1.0, 3),
        ([0.0, -1.0], 0, 0.0, None, -1.0, 0),
    ],
)
def test_early_stopping_follows_the_table(
    losses: list[float],
    patience: int,
    min_delta: float,
    stops_at: int | None,
    best: float | None,
    counter: int,
) -> None:
    stopping = EarlyStopping(patience, min_delta, verbose=False)
    model = nn.Linear(1, 1)
    answers = [stopping(loss, model) for loss in losses]
    assert answers == [i == stops_at for i in range(len(losses))]
    assert stopping.best_loss == best
    assert stopping.counter == counter
    assert stopping.should_stop is (stops_at is not None)


def test_a_fresh_early_stopping_has_the_published_defaults() -> None:
    stopping = EarlyStopping()
    assert (stopping.patience, stopping.min_delta) == (10, 0.0)
    assert (stopping.restore_best_weights, stopping.verbose) == (True, True)
    assert (stopping.counter, stopping.best_loss, stopping.best_weights) == (0, None, None)
    assert stopping.should_stop is False


def feed(stopping: EarlyStopping, losses: list[float]) -> nn.Linear:
    """Call it with each loss and a model whose weight is the number of the call, from 0."""
    model = nn.Linear(1, 1)
    for i, loss in enumerate(losses):
        with torch.no_grad():
            model.weight.fill_(float(i))
        stopping(loss, model)
    return model


@pytest.mark.parametrize(
    ("restore", "losses", "weight"),
    [
        (True, [1.0, 0.9, 1.1, 1.2], 1.0),  # the best weights, those of call 1
        (False, [1.0, 0.9, 1.1, 1.2], 3.0),  # as they were at the last call
        (True, [1.0, 0.9, 1.1], 2.0),  # not stopped: nothing is restored
        (True, [NAN, NAN], 1.0),  # there is no best
    ],
)
def test_best_weights_are_restored_on_stopping_if_configured(
    restore: bool,  # noqa: FBT001  # a parameter of the table
    losses: list[float],
    weight: float,
) -> None:
    stopping = EarlyStopping(1, restore_best_weights=restore, verbose=False)
    assert feed(stopping, losses).weight.item() == weight


def test_no_weights_are_copied_if_none_are_to_be_restored() -> None:
    stopping = EarlyStopping(1, restore_best_weights=False, verbose=False)
    feed(stopping, [1.0, 0.9])
    assert stopping.best_weights is None


def test_early_stopping_prints_its_counter_and_the_restoring(
    capsys: pytest.CaptureFixture[str],
) -> None:
    feed(EarlyStopping(1), [1.0, 0.9, 1.1, 1.2])
    assert capsys.readouterr().out == (
        "EarlyStopping counter: 1/1\n"
        "EarlyStopping counter: 2/1\n"
        "Restoring best weights (val_loss=0.900000)\n"
    )


def test_a_silent_early_stopping_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    feed(EarlyStopping(1, verbose=False), [1.0, 0.9, 1.1, 1.2])
    assert capsys.readouterr().out == ""


def test_without_restoring_no_restore_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    feed(EarlyStopping(0, restore_best_weights=False), [1.0, 1.1])
    assert capsys.readouterr().out == "EarlyStopping counter: 1/0\n"


def test_a_reset_forgets_losses_and_keeps_settings() -> None:
    stopping = EarlyStopping(1, 0.25, verbose=False)
    feed(stopping, [1.0, 0.5, 0.6, 0.7])
    assert stopping.should_stop
    stopping.reset()
    assert (stopping.counter, stopping.best_loss, stopping.best_weights) == (0, None, None)
    assert stopping.should_stop is False
    assert (stopping.patience, stopping.min_delta) == (1, 0.25)
    assert (stopping.restore_best_weights, stopping.verbose) == (True, False)


def test_after_a_reset_the_best_loss_and_weights_are_new() -> None:
    stopping = EarlyStopping(0, verbose=False)
    feed(stopping, [0.5, 0.6])
    stopping.reset()
    # Call 1 is the best of this training, although worse than all of the previous one.
    assert feed(stopping, [9.0, 8.0, 8.5]).weight.item() == 1.0
    assert stopping.best_loss == 8.0


def test_a_loss_can_be_a_tensor_and_is_stored_as_a_float() -> None:
    stopping = EarlyStopping(0, verbose=False)
    model = nn.Linear(1, 1)
    losses = [torch.tensor(1.0), torch.tensor(0.5), torch.tensor(0.75)]
    assert [stopping(loss, model) for loss in losses] == [False, False, True]
    assert (stopping.best_loss, type(stopping.best_loss)) == (0.5, float)
