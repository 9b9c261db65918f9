import pytest
import torch


@pytest.fixture(autouse=True)
def _restore_global_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as if `set_seed` had not been called, and restore what it sets."""
    monkeypatch.setattr("puffin.models.estimators.loops._seed_of_set_seed", 0)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
