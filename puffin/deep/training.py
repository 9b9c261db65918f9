"""Early stopping, loaders, training loop, schedules, seeds and noise: the published names."""

from puffin.models.estimators.loops import (
    LRScheduler,
    add_noise,
    compute_class_weights,
    create_dataloaders,
    set_seed,
    training_loop,
)
from puffin.models.training.early_stopping import EarlyStopping

__all__ = [
    "EarlyStopping",
    "LRScheduler",
    "add_noise",
    "compute_class_weights",
    "create_dataloaders",
    "set_seed",
    "training_loop",
]
