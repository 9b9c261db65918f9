"""The formats in which a configuration is printed."""

import json
import pprint
from collections.abc import Callable
from typing import Any

import tomli_w


def _toml(record: dict[str, Any]) -> str:
    return tomli_w.dumps(record).rstrip()


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=2)


def _python(record: dict[str, Any]) -> str:
    """Return code that builds the network; the user fills in the number of features."""
    config = pprint.pformat(record["config"], sort_dicts=False)
    return "\n".join(
        [
            "from puffin.models.config import Config",
            "from puffin.models.networks.rnn import build_network",
            "",
            f"config = Config.from_dict(\n{config}\n)",
            f"epochs = {record['epochs']}",
            "network = build_network(config, input_dim=...)",
        ]
    )


FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {
    "toml": _toml,
    "json": _json,
    "python": _python,
}
