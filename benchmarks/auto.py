"""Equal work against neuralforecast's AutoLSTM and its Optuna backend.

Ours draws LSTMs of one width for all layers and trains them for some epochs on every fold, with one
worker a core. AutoLSTM is given the same configurations and as many gradient steps for each, which
it takes on its one training block before the last validation part, with torch's default threads;
it has no weight decay. Both times are of whole commands, from start to exit, in which AutoLSTM
trains its best once more, and ours a network on all bars. Needs the extra `peers`.

    pip install --editable '.[peers]' && python -m benchmarks.auto --trials 12 --epochs 3 --rounds 3
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import plain
from benchmarks.study import Work, ours, seconds

HERE = Path(__file__)


def steps(config: dict[str, Any], bars: int, epochs: int) -> int:
    """Count the gradient steps that ours takes for a configuration, over all folds."""
    sizes = [bars - n * plain.VALID - plain.ONE.longest for n in range(1, plain.FOLDS + 1)]
    batch: int = config["batch_size"]
    return epochs * sum(-(-size // batch) for size in sizes)


def theirs(configs: list[dict[str, Any]], epochs: int) -> list[float]:
    """Have AutoLSTM train the configurations; return its losses."""
    from neuralforecast import NeuralForecast
    from neuralforecast.auto import AutoLSTM
    from neuralforecast.losses.pytorch import MSE

    features, target = plain.series()
    # Of all three it sees, as ours does, the rows before the target.
    frame = pd.DataFrame(
        {"y": target, "return_": features[:, 0], "volume": features[:, 2], "unique_id": "one"}
    )
    frame["ds"] = pd.RangeIndex(len(frame))

    def point(trial: Any) -> dict[str, Any]:
        # It asks once for no trial, to see what the configurations have.
        config = configs[getattr(trial, "number", 0)]
        count = steps(config, len(target), epochs)
        return {
            "input_size": config["lookback"],
            "hist_exog_list": ["return_", "volume"],
            "encoder_n_layers": len(config["hidden_dims"]),
            "encoder_hidden_size": config["hidden_dims"][0],
            "encoder_dropout": config["dropout"],
            "decoder_layers": 1,
            "learning_rate": config["lr"],
            "max_steps": count,
            "val_check_steps": count,
            "windows_batch_size": config["batch_size"],
            "scaler_type": None,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "enable_model_summary": False,
        }

    model = AutoLSTM(
        h=1, loss=MSE(), config=point, num_samples=len(configs), backend="optuna", verbose=False
    )
    forecaster = NeuralForecast([model], freq=1, local_scaler_type="standard")
    forecaster.fit(frame, val_size=plain.VALID)
    return [trial.value for trial in forecaster.models[0].results.trials]


def train_theirs(path: Path, epochs: int) -> None:
    """Be the process of theirs: read configurations, and write losses."""
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    losses = theirs(json.loads(path.read_text()), epochs)
    path.with_name("theirs.json").write_text(json.dumps(losses))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--theirs", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.theirs is not None:
        train_theirs(given.theirs, given.epochs)
        return
    work = Work(given.trials, given.epochs, space=("cell=lstm", "hidden_dim.tied=true"))
    ratios = []
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            own = ours(folder, work, number)
            (folder / "configs.json").write_text(json.dumps(own.trials))
            command: list[str | Path] = [sys.executable, HERE.resolve()]
            command += ["--theirs", folder / "configs.json", f"--epochs={given.epochs}"]
            other = seconds(command, folder)
            losses = json.loads((folder / "theirs.json").read_text())
        ratios.append(other / own.seconds)
        print(
            f"{work.trials} LSTMs, {work.epochs} epochs: ours {own.seconds:.0f} s, "
            f"AutoLSTM {other:.0f} s, ratio {ratios[-1]:.2f}; median loss {own.median_loss:.4f} "
            f"(mean of five parts) and {statistics.median(losses):.4f} (the last, "
            "in units of all bars)",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})")


if __name__ == "__main__":
    main()
