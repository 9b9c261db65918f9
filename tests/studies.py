"""A study that trains in a blink, with some settings changed."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from puffin.studies.spec import Spec, parse_spec

TINY = """
name = "tiny"
[data]
symbol = "AAPL"
start = 2011-06-01
features = ["return"]
[walk_forward]
folds = 2
valid_bars = 20
holdout_bars = 20
[training]
max_epochs = 3
patience = 3
[space]
cell = ["lstm", "gru"]
layers = { low = 1, high = 2 }
hidden_dim = [4, 8]
dropout = { low = 0.0, high = 0.4 }
lookback = { low = 3, high = 5 }
lr = { low = 1e-3, high = 1e-2, log = true }
[search]
trials = 8
[final]
seeds = 3
"""


def tiny_values(name: str = "tiny", **sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the study file, some settings of some sections changed.

    Parameters
    ----------
    name : str
    **sections : mapping
        Settings of a section that are added or changed; None drops a setting.
    """
    values = tomllib.loads(TINY) | {"name": name}
    for section, changes in sections.items():
        merged = {**values.get(section, {}), **changes}
        values[section] = {key: value for key, value in merged.items() if value is not None}
    return values


def tiny_spec(name: str = "tiny", **sections: Mapping[str, Any]) -> Spec:
    """Return the spec of the study, changed as `tiny_values` does."""
    return parse_spec(tiny_values(name, **sections), name)


def write_tiny(path: Path, name: str = "tiny", **sections: Mapping[str, Any]) -> Path:
    """Write the study file, changed as `tiny_values` does; return its path."""
    path.write_text(tomli_w.dumps(tiny_values(name, **sections)), "utf-8")
    return path
