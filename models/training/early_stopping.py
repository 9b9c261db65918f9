"""Early stopping on a validation loss."""

import copy
import math
from typing import Any

from torch import Tensor, nn


class EarlyStopping:
    """Stop when a loss has not improved for more than `patience` calls.

    After `patience` calls in a row without an improvement, the next such call stops. A loss that is
    not finite is never an improvement.

    Parameters
    ----------
    patience : int
        Calls in a row without an improvement that do not stop.
    min_delta : float
        A loss is an improvement if it is below the best one by more than this.
    restore_best_weights : bool
        Keep a copy of the best weights, and load it into the model when it stops.
    verbose : bool
        Print the counter, and a line when the best weights are restored.
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best_weights: bool = True,  # noqa: FBT001, FBT002  # the published signature
        verbose: bool = True,  # noqa: FBT001, FBT002  # the published signature
    ) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best_weights = restore_best_weights
        self.verbose = verbose
        self.reset()

    def reset(self) -> None:
        """Forget all losses and weights, so that another training can begin."""
        self.counter = 0
        self.best_loss: float | None = None
        self.best_weights: dict[str, Any] | None = None
        self.should_stop = False

    def __call__(self, val_loss: float | Tensor, model: nn.Module) -> bool:
        """Record the next validation loss of `model`; return True to stop training."""
        if isinstance(val_loss, Tensor):
            val_loss = val_loss.item()
        if self._improves(val_loss):
            self.best_loss = val_loss
            self.counter = 0
            if self.restore_best_weights:
                self.best_weights = copy.deepcopy(model.state_dict())
            return False
        self.counter += 1
        if self.verbose:
            print(f"EarlyStopping counter: {self.counter}/{self.patience}")  # noqa: T201  # verbose
        if self.counter > self.patience:
            self.should_stop = True
            self.restore(model)
        return self.should_stop

    def _improves(self, val_loss: float) -> bool:
        if not math.isfinite(val_loss):
            return False
        return self.best_loss is None or val_loss < self.best_loss - self.min_delta

    def restore(self, model: nn.Module) -> None:
        """Load the best weights into `model`, if they were kept."""
        if self.best_weights is None:
            return
        if self.verbose:
            print(f"Restoring best weights (val_loss={self.best_loss:.6f})")  # noqa: T201  # verbose
        model.load_state_dict(self.best_weights)
