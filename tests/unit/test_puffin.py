"""The tutorial's import paths: what they give, with which signatures, and nothing of their own."""

import ast
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import puffin
import puffin.deep
from puffin.deep import rnn, training
from puffin.models.estimators import loops, multivariate, univariate
from puffin.models.networks import rnn as networks
from puffin.models.training import early_stopping

REQUIRED = inspect.Parameter.empty
NET = {"input_dim": 1, "hidden_dim": 64, "num_layers": 2, "output_dim": 1, "dropout": 0.2}
STACK = {"input_dim": REQUIRED, "hidden_dims": None, "output_dim": 1, "dropout": 0.2}
FIT = {"lookback": 20, "epochs": 50, "lr": 0.001, "batch_size": 32, "validation_split": 0.2}
SCHEDULE = {
    "schedule_type": "step",
    "step_size": 30,
    "gamma": 0.1,
    "warmup_epochs": 0,
    "T_max": None,
    "eta_min": 0.0,
}


HOMES: dict[str, ModuleType] = {
    "GRUNet": networks,
    "LSTMNet": networks,
    "StackedGRU": networks,
    "StackedLSTM": networks,
    "TradingGRU": univariate,
    "TradingLSTM": univariate,
    "MultivariateGRU": multivariate,
    "MultivariateLSTM": multivariate,
    "EarlyStopping": early_stopping,
    **dict.fromkeys(
        [
            "LRScheduler",
            "add_noise",
            "compute_class_weights",
            "create_dataloaders",
            "set_seed",
            "training_loop",
        ],
        loops,
    ),
}


def required(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, REQUIRED)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            rnn,
            [
                "GRUNet",
                "LSTMNet",
                "MultivariateGRU",
                "MultivariateLSTM",
                "StackedGRU",
                "StackedLSTM",
                "TradingGRU",
                "TradingLSTM",
            ],
        ),
        (
            training,
            [
                "EarlyStopping",
                "LRScheduler",
                "add_noise",
                "compute_class_weights",
                "create_dataloaders",
                "set_seed",
                "training_loop",
            ],
        ),
    ],
)
def test_a_module_exports_exactly_its_names(module: ModuleType, names: list[str]) -> None:
    assert module.__all__ == names
    assert {name for name in vars(module) if not name.startswith("__")} == set(names)


@pytest.mark.parametrize(("name", "home"), HOMES.items())
def test_a_published_name_is_the_one_of_models(name: str, home: ModuleType) -> None:
    shim = rnn if name in rnn.__all__ else training
    assert getattr(shim, name) is getattr(home, name)
    assert getattr(shim, name).__module__ == home.__name__


def test_every_published_name_has_a_home() -> None:
    assert set(HOMES) == {*rnn.__all__, *training.__all__}


def test_the_stacks_are_the_networks_that_the_search_trains() -> None:
    assert networks.network_class("lstm") is rnn.StackedLSTM
    assert networks.network_class("gru") is rnn.StackedGRU


def is_shim(node: ast.stmt) -> bool:
    """Whether a statement is the docstring, an import of names of models, or ``__all__``."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if isinstance(node, ast.ImportFrom):
        return str(node.module).startswith("puffin.models.") and not any(
            a.asname for a in node.names
        )
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


@pytest.mark.parametrize("module", [puffin.deep, rnn, training], ids=lambda m: m.__name__)
def test_a_module_holds_a_docstring_imports_and_all_and_no_logic(module: ModuleType) -> None:
    body = ast.parse(Path(str(module.__file__)).read_text("utf-8")).body
    assert ast.get_docstring(ast.Module(body, []))
    assert [ast.unparse(node) for node in body if not is_shim(node)] == []


def test_these_are_all_modules_of_puffin() -> None:
    root = Path(str(puffin.__file__)).parent
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py")) == [
        "__init__.py",
        "deep/__init__.py",
        "deep/rnn.py",
        "deep/training.py",
    ]
    assert importlib.import_module("puffin.deep.rnn") is rnn


@pytest.mark.parametrize(
    ("function", "published"),
    [
        (rnn.LSTMNet, NET),
        (rnn.GRUNet, NET),
        (rnn.StackedLSTM, STACK),
        (rnn.StackedGRU, STACK),
        *[(net.forward, required("x")) for net in (rnn.LSTMNet, rnn.GRUNet)],
        *[(net.forward, required("x")) for net in (rnn.StackedLSTM, rnn.StackedGRU)],
        *[(cls, {}) for cls in (rnn.TradingLSTM, rnn.TradingGRU)],
        *[(cls, {}) for cls in (rnn.MultivariateLSTM, rnn.MultivariateGRU)],
        (rnn.TradingLSTM.prepare_sequences, required("series", "lookback")),
        (rnn.TradingGRU.prepare_sequences, required("series", "lookback")),
        (rnn.MultivariateLSTM.prepare_sequences, required("features", "target", "lookback")),
        (rnn.MultivariateGRU.prepare_sequences, required("features", "target", "lookback")),
        (rnn.TradingLSTM.fit, required("series") | FIT),
        (rnn.TradingGRU.fit, required("series") | FIT),
        *[
            (cls.fit, required("features_df", "target_col") | FIT | {"hidden_dims": None})
            for cls in (rnn.MultivariateLSTM, rnn.MultivariateGRU)
        ],
        (rnn.TradingLSTM.predict, required("series") | {"steps": 1}),
        (rnn.TradingGRU.predict, required("series") | {"steps": 1}),
        (rnn.MultivariateLSTM.predict, required("features_df")),
        (rnn.MultivariateGRU.predict, required("features_df")),
        (
            training.EarlyStopping,
            {"patience": 10, "min_delta": 0.0, "restore_best_weights": True, "verbose": True},
        ),
        (training.EarlyStopping.__call__, required("val_loss", "model")),
        (training.LRScheduler, required("optimizer") | SCHEDULE),
        (training.LRScheduler.step, {}),
        (training.LRScheduler.get_last_lr, {}),
        (
            training.create_dataloaders,
            required("X", "y")
            | {"batch_size": 64, "val_split": 0.2, "shuffle": True, "random_seed": None},
        ),
        (
            training.training_loop,
            required("model", "train_loader", "val_loader", "epochs", "optimizer", "criterion")
            | {"callbacks": None, "device": None, "verbose": True},
        ),
        (training.compute_class_weights, required("y")),
        (training.set_seed, required("seed")),
        (training.add_noise, required("series") | {"noise_level": 0.01}),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_signature_extends_the_published_one_by_optional_arguments(
    function: Callable[..., Any], published: dict[str, Any]
) -> None:
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    first, more = parameters[: len(published)], parameters[len(published) :]
    assert [(p.name, p.default) for p in first] == list(published.items())
    assert {p.kind for p in first} <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    assert REQUIRED not in [p.default for p in more]
    # The published forecasters are made with (), so what theirs are made with is ours.
    if published:
        assert {p.kind for p in more} <= {inspect.Parameter.KEYWORD_ONLY}
