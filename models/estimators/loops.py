"""Training by hand: loaders, a loop with callbacks, learning rate schedules, seeds, noise.

The search trains with `FoldTraining`; these are for scripts that own their loop.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, StepLR
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler
from torch.utils.data import DataLoader, Subset, TensorDataset

from puffin.models.arrays import as_floats, require_finite, require_same_index, require_time_order
from puffin.models.config import check_number

Batches = DataLoader[tuple[Tensor, ...]]
Callback = Callable[[int, float, float, nn.Module], bool | None]
History = dict[str, list[float]]

# Epochs between two printed lines.
PRINT_EVERY = 10


class _LastSeed:
    """What `set_seed` was called with last."""

    value = 0


def last_seed() -> int:
    """Give the seed that `set_seed` was called with last, 0 before."""
    return _LastSeed.value


def default_device() -> torch.device:
    """Give the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def print_epoch(epoch: int, epochs: int, train_loss: float, val_loss: float) -> None:
    """Print every tenth epoch; `epoch` counts from 1."""
    if epoch % PRINT_EVERY == 0:
        print(  # noqa: T201  # the published output
            f"Epoch [{epoch}/{epochs}], Train Loss: {train_loss:.4f}, Val Loss: {val_loss:.4f}"
        )


def set_seed(seed: int) -> None:
    """Seed ``random``, numpy's global generator and torch on every device; make cuDNN repeatable.

    The classes of `trading` take this seed where they are given none of their own.
    """
    _LastSeed.value = int(seed)
    random.seed(int(seed))
    np.random.seed(seed)  # noqa: NPY002  # scripts draw from the global generator
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def add_noise(series: Any, noise_level: float = 0.01) -> Any:
    """Give a copy of a series with Gaussian noise of `noise_level` standard deviations of it.

    Parameters
    ----------
    series : array or pandas Series, (n,)
    noise_level : float
        Standard deviation of the noise over that of the series; small, since noise on a price
        can turn the sign of its next return.

    Returns
    -------
    array, or a Series with the same index, (n,)
        The noise is drawn from numpy's global generator, which `set_seed` seeds.

    Raises
    ------
    ValueError
        If `noise_level` is negative, or a value is not finite.
    """
    check_number("noise_level", noise_level, 0)
    values = as_floats("series", series)
    require_finite("series", values)
    noise = np.random.standard_normal(len(values))  # noqa: NPY002  # set_seed governs it
    return np.add(series, noise_level * values.std() * noise)


def compute_class_weights(y: ArrayLike) -> Tensor:
    """Weigh classes by ``n / (k * count)``, so that each has the same total; (k,), in their order.

    scikit-learn's "balanced" weights, after King and Zeng (2001), "Logistic Regression in Rare
    Events Data", Political Analysis 9(2).
    """
    labels = np.asarray(y).ravel()
    weights = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    return torch.as_tensor(weights, dtype=torch.float32)


class LRScheduler:
    """A learning rate schedule, stepped once an epoch.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Each parameter group keeps its own base rate.
    schedule_type : {"step", "cosine", "warmup_cosine"}
        `step` multiplies by `gamma` every `step_size` epochs. `cosine` goes down to `eta_min` along
        half a cosine over `T_max` epochs (Loshchilov and Hutter 2017, "SGDR", equation 5, without
        restarts) and stays there. `warmup_cosine` climbs from 0 to the base rate first, over
        `warmup_epochs` of the `T_max`: its epoch 0 learns nothing.

    Raises
    ------
    ValueError
        For an unknown type, a missing `T_max`, or one that is not above `warmup_epochs`.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule_type: str = "step",
        step_size: int = 30,
        gamma: float = 0.1,
        warmup_epochs: int = 0,
        T_max: int | None = None,  # noqa: N803  # torch's name
        eta_min: float = 0.0,
    ) -> None:
        self.optimizer = optimizer
        self.schedule_type = schedule_type
        if schedule_type == "step":
            self.scheduler: TorchScheduler = StepLR(optimizer, step_size, gamma)
            return
        if schedule_type not in ("cosine", "warmup_cosine"):
            raise ValueError(f"Unknown schedule type: {schedule_type}")
        warmup = warmup_epochs if schedule_type == "warmup_cosine" else 0
        # A warm-up alone may go without: T_max is asked for where the cosine begins.
        if T_max is None and not warmup:
            raise ValueError(f"T_max must be specified for {schedule_type} schedule")
        if T_max is not None and T_max <= warmup:
            raise ValueError(f"T_max must be above warmup_epochs = {warmup}, but is {T_max}")
        curves = [
            # What an earlier schedule left in "lr" is not the base rate.
            _warmup_cosine(group.get("initial_lr", group["lr"]), warmup, T_max, eta_min)
            for group in optimizer.param_groups
        ]
        self.scheduler = LambdaLR(optimizer, curves)

    def step(self) -> None:
        """Go to the next epoch's rate."""
        self.scheduler.step()

    def get_last_lr(self) -> list[float]:
        """Give the current rate of each parameter group."""
        return [float(rate) for rate in self.scheduler.get_last_lr()]


def _warmup_cosine(
    base: float, warmup: int, t_max: int | None, eta_min: float
) -> Callable[[int], float]:
    """Give the rate of an epoch as a multiple of the base rate, up to `t_max` and beyond it."""
    floor = eta_min / base if base else 0.0

    def factor(epoch: int) -> float:
        if epoch < warmup:
            return epoch / warmup
        if t_max is None:
            raise ValueError("T_max must be specified for warmup_cosine schedule")
        gone = min((epoch - warmup) / (t_max - warmup), 1.0)
        return floor + (1.0 - floor) * (1.0 + math.cos(math.pi * gone)) / 2.0

    return factor


def create_dataloaders(
    X: ArrayLike,  # noqa: N803  # scikit-learn's name
    y: ArrayLike,
    batch_size: int = 64,
    val_split: float = 0.2,
    shuffle: bool = True,  # noqa: FBT001, FBT002  # the published signature
    random_seed: int | None = None,
    *,
    chronological: bool = True,
) -> tuple[Batches, Batches]:
    """Make loaders of training and validation samples.

    Validation takes the last samples, so that nothing that is trained on comes after what is
    judged. With ``chronological=False`` it is drawn at random, which is right only for samples
    without an order in time.

    Parameters
    ----------
    X : array, (n, ...)
    y : array, (n,) or (n, output)
    batch_size : int
    val_split : float
        Share of the samples for validation, in [0, 1); their number is rounded down.
    shuffle : bool
        Whether each epoch takes the training samples in a new order; validation keeps its own.
    random_seed : int, optional
        Of the order, and of a random split.

    Returns
    -------
    train_loader, val_loader : DataLoader
        Batches ``(X, y)`` in single precision; a `y` of (n,) comes as (n, 1).

    Raises
    ------
    ValueError
        If X and y differ in length or index, are not in order of time where `chronological` needs
        it, or a part that is asked for would be empty.
    """
    require_same_index(X=X, y=y)
    if chronological:
        require_time_order("X", X)
        require_time_order("y", y)
    # Copies: what pandas hands out cannot be written to, and what it was made of may change.
    inputs = torch.tensor(np.ascontiguousarray(X), dtype=torch.float32)
    targets = torch.tensor(np.ascontiguousarray(y), dtype=torch.float32)
    count = len(inputs)
    if len(targets) != count:
        raise ValueError(f"X and y must be of one length, but have {count} and {len(targets)}")
    valid = _validation_count(count, val_split)
    data = TensorDataset(inputs, targets[:, None] if targets.ndim == 1 else targets)
    # Without a seed of their own the draws are torch's, which `set_seed` governs.
    generator = None if random_seed is None else torch.Generator().manual_seed(random_seed)
    order = list(range(count))
    if not chronological:
        order = torch.randperm(count, generator=generator).tolist()
    train_part = Subset(data, order[: count - valid])
    valid_part = Subset(data, order[count - valid :])
    train_loader = DataLoader(train_part, batch_size, shuffle=shuffle, generator=generator)
    return train_loader, DataLoader(valid_part, batch_size)


def _validation_count(count: int, val_split: float) -> int:
    """Give the number of validation samples among `count`."""
    check_number("val_split", val_split, 0, below=1)
    valid = int(count * val_split)
    if count == valid or (val_split and not valid):
        raise ValueError(
            f"too few samples: val_split = {val_split} of {count} leaves {count - valid} to train "
            f"on and {valid} to validate on, and each must be at least 1"
        )
    return valid


def training_loop(  # noqa: PLR0913, PLR0917  # the published signature
    model: nn.Module,
    train_loader: Batches,
    val_loader: Batches,
    epochs: int,
    optimizer: torch.optim.Optimizer,
    criterion: nn.Module,
    callbacks: Sequence[Callback] | None = None,
    device: torch.device | str | None = None,
    verbose: bool = True,  # noqa: FBT001, FBT002  # the published signature
) -> History:
    """Train a model for a number of epochs, or until a callback answers True.

    Parameters
    ----------
    model, optimizer, criterion
        The criterion averages over a batch.
    train_loader, val_loader : DataLoader
        Batches ``(X, y)``.
    epochs : int
    callbacks : sequence of callable, optional
        Each is called with ``(epoch, train_loss, val_loss, model)`` after each epoch, counted from
        0; True stops.
    device : optional
        The GPU where there is one when not given; the model moves there.
    verbose : bool
        Print every tenth epoch.

    Returns
    -------
    dict
        ``train_loss`` and ``val_loss``, one number per epoch: means over samples, whatever the size
        of the last batch. `val_loss` is NaN without validation samples.
    """
    device = torch.device(device) if device is not None else default_device()
    model.to(device)
    history: History = {"train_loss": [], "val_loss": []}
    for epoch in range(epochs):
        model.train()
        train_loss = _run(model, train_loader, criterion, device, optimizer)
        model.eval()
        with torch.no_grad():
            val_loss = _run(model, val_loader, criterion, device)
        history["train_loss"].append(train_loss)
        history["val_loss"].append(val_loss)
        if verbose:
            print_epoch(epoch + 1, epochs, train_loss, val_loss)
        answers = [call(epoch, train_loss, val_loss, model) for call in callbacks or ()]
        if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
            break
    return history


def _run(
    model: nn.Module,
    loader: Batches,
    criterion: nn.Module,
    device: torch.device,
    optimizer: torch.optim.Optimizer | None = None,
) -> np.float64:
    """Run all batches, with a step on each where there is an optimizer; give the mean loss."""
    total, count = torch.zeros((), device=device), 0
    for batch in loader:
        x, y = (part.to(device) for part in batch)
        loss = criterion(model(x), y)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total += loss.detach() * len(y)
        count += len(y)
    return np.float64(total.item() / count if count else math.nan)
