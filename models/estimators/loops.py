"""Tools for scripts with their own training loop: loaders, loop, schedules, seeds, noise.

They are published in `puffin.deep.training`. Studies train with `FoldTraining` instead.
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

# Batches of inputs and targets, (batch, ...) and (batch, output).
Loader = DataLoader[tuple[Tensor, ...]]
Callback = Callable[[int, float, float, nn.Module], bool | None]
History = dict[str, list[float]]

# Epochs between two printed lines.
PRINT_EVERY = 10


# Seed of the last call of `set_seed`: global state, like the generators that it seeds.
_seed_of_set_seed = 0


def last_seed() -> int:
    """Return the seed of the last call of `set_seed`, or 0 before the first."""
    return _seed_of_set_seed


def default_device() -> torch.device:
    """Return the GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def print_epoch(epoch: int, epochs: int, train_loss: float, val_loss: float) -> None:
    """Print the losses of every tenth epoch; `epoch` counts from 1."""
    if epoch % PRINT_EVERY == 0:
        print(  # noqa: T201  # the published output
            f"Epoch [{epoch}/{epochs}], Train Loss: {train_loss:.4f}, Val Loss: {val_loss:.4f}"
        )


def set_seed(seed: int) -> None:
    """Seed ``random``, numpy's global generator and torch on every device; make cuDNN repeatable.

    The seed is stored globally: forecasters without a `seed` argument, such as `TradingLSTM`, use
    the one of the last call when they train.
    """
    global _seed_of_set_seed  # noqa: PLW0603  # the published interface is global
    _seed_of_set_seed = int(seed)
    random.seed(int(seed))
    np.random.seed(seed)  # noqa: NPY002  # scripts draw from the global generator
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def add_noise(series: Any, noise_level: float = 0.01) -> Any:
    """Return a copy of a series with Gaussian noise added.

    Parameters
    ----------
    series : array or pandas Series, (n,)
    noise_level : float
        Standard deviation of the noise, in standard deviations of the series. Keep it small: noise
        on a price can change the sign of its next return.

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
    """Return class weights ``n / (k * count)``, (k,), in the order of the sorted classes.

    Each class has the same total weight. These are scikit-learn's "balanced" weights, after King
    and Zeng (2001), "Logistic Regression in Rare Events Data", Political Analysis 9(2).
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
        `step` multiplies the rate by `gamma` every `step_size` epochs. `cosine` decreases it to
        `eta_min` along half a cosine over `T_max` epochs (Loshchilov and Hutter 2017, "SGDR",
        equation 5, without restarts) and keeps it there. `warmup_cosine` first increases it
        linearly from 0 to the base rate over `warmup_epochs` of the `T_max` epochs, so that its
        epoch 0 has a rate of 0.

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
        # A warm-up needs no T_max; the error is raised at the epoch where the cosine begins.
        if T_max is None and not warmup:
            raise ValueError(f"T_max must be specified for {schedule_type} schedule")
        if T_max is not None and T_max <= warmup:
            raise ValueError(f"T_max must be above warmup_epochs = {warmup}, but is {T_max}")
        curves = [
            # An earlier schedule may have changed "lr", which is then not the base rate.
            _warmup_cosine(group.get("initial_lr", group["lr"]), warmup, T_max, eta_min)
            for group in optimizer.param_groups
        ]
        self.scheduler = LambdaLR(optimizer, curves)

    def step(self) -> None:
        """Set the rate of the next epoch."""
        self.scheduler.step()

    def get_last_lr(self) -> list[float]:
        """Return the current rate of each parameter group."""
        return [float(rate) for rate in self.scheduler.get_last_lr()]


def _warmup_cosine(
    base: float, warmup: int, t_max: int | None, eta_min: float
) -> Callable[[int], float]:
    """Return a function from an epoch to its rate, as a multiple of the base rate."""
    floor = eta_min / base if base else 0.0

    def factor(epoch: int) -> float:
        if epoch < warmup:
            return epoch / warmup
        if t_max is None:
            raise ValueError("T_max must be specified for warmup_cosine schedule")
        progress = min((epoch - warmup) / (t_max - warmup), 1.0)
        return floor + (1.0 - floor) * (1.0 + math.cos(math.pi * progress)) / 2.0

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
) -> tuple[Loader, Loader]:
    """Create loaders of training and validation samples.

    The last samples are for validation, so that no training sample is later than a validation
    sample. With ``chronological=False`` they are drawn at random, which is right only for samples
    without an order in time.

    Parameters
    ----------
    X : array, (n, ...)
    y : array, (n,) or (n, output)
    batch_size : int
    val_split : float
        Share of the samples for validation, in [0, 1); the number is rounded down.
    shuffle : bool
        Whether training samples are in a new order in each epoch; validation samples never are.
    random_seed : int, optional
        Of the order, and of a random split.

    Returns
    -------
    train_loader, val_loader : DataLoader
        Batches ``(X, y)`` in single precision; a `y` of shape (n,) is returned as (n, 1).

    Raises
    ------
    ValueError
        If X and y differ in length or index, are not in order of time although `chronological` is
        set, or the training or validation part would be empty.
    """
    require_same_index(X=X, y=y)
    if chronological:
        require_time_order("X", X)
        require_time_order("y", y)
    # Copies, because arrays of pandas are read-only, and the caller may change the data later.
    inputs = torch.tensor(np.ascontiguousarray(X), dtype=torch.float32)
    targets = torch.tensor(np.ascontiguousarray(y), dtype=torch.float32)
    count = len(inputs)
    if len(targets) != count:
        raise ValueError(f"X and y must be of one length, but have {count} and {len(targets)}")
    valid = _validation_count(count, val_split)
    data = TensorDataset(inputs, targets[:, None] if targets.ndim == 1 else targets)
    # Without a seed, draws come from torch's global generator, which `set_seed` seeds.
    generator = None if random_seed is None else torch.Generator().manual_seed(random_seed)
    order = list(range(count))
    if not chronological:
        order = torch.randperm(count, generator=generator).tolist()
    train_part = Subset(data, order[: count - valid])
    valid_part = Subset(data, order[count - valid :])
    train_loader = DataLoader(train_part, batch_size, shuffle=shuffle, generator=generator)
    return train_loader, DataLoader(valid_part, batch_size)


def _validation_count(count: int, val_split: float) -> int:
    """Return the number of validation samples among `count`."""
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
    train_loader: Loader,
    val_loader: Loader,
    epochs: int,
    optimizer: torch.optim.Optimizer,
    criterion: nn.Module,
    callbacks: Sequence[Callback] | None = None,
    device: torch.device | str | None = None,
    verbose: bool = True,  # noqa: FBT001, FBT002  # the published signature
) -> History:
    """Train a model for a number of epochs, or until a callback returns True.

    Parameters
    ----------
    model, optimizer, criterion
        The criterion averages over a batch.
    train_loader, val_loader : DataLoader
        Batches ``(X, y)``.
    epochs : int
    callbacks : sequence of callable, optional
        Called with ``(epoch, train_loss, val_loss, model)`` after each epoch, counted from 0; a
        return value of True stops the training.
    device : optional
        Device to which the model is moved; by default the GPU if there is one, otherwise the CPU.
    verbose : bool
        Print every tenth epoch.

    Returns
    -------
    dict
        ``train_loss`` and ``val_loss``, one number per epoch: means over samples, exact also if the
        last batch is smaller. `val_loss` is NaN without validation samples.
    """
    device = torch.device(device) if device is not None else default_device()
    model.to(device)
    history: History = {"train_loss": [], "val_loss": []}
    for epoch in range(epochs):
        model.train()
        train_loss = _run_batches(model, train_loader, criterion, device, optimizer)
        model.eval()
        with torch.no_grad():
            val_loss = _run_batches(model, val_loader, criterion, device)
        history["train_loss"].append(train_loss)
        history["val_loss"].append(val_loss)
        if verbose:
            print_epoch(epoch + 1, epochs, train_loss, val_loss)
        results = [call(epoch, train_loss, val_loss, model) for call in callbacks or ()]
        if any(isinstance(result, (bool, np.bool_)) and result for result in results):
            break
    return history


def _run_batches(
    model: nn.Module,
    loader: Loader,
    criterion: nn.Module,
    device: torch.device,
    optimizer: torch.optim.Optimizer | None = None,
) -> np.float64:
    """Return the mean loss over all batches, with a training step on each if given an optimizer."""
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
