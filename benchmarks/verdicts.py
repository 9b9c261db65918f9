"""One network for all symbols against one for each, searched and judged on the sealed holdout.

The commands that a user would type: `tuner run` and `tuner report` for the three stocks of the
sample, with `data.pooling` "all" and "each", equal trials, epochs and seeds. Losses are means over
symbols of what the winner has on the holdout; skill is against the best simple model of the search.

    python benchmarks/verdicts.py --targets range volatility return --seeds 3
    python benchmarks/verdicts.py --targets range return --seeds 1 --rivals
    python benchmarks/verdicts.py --targets range return --seeds 1 --rivals --loss quantile

With `--rivals` there are also the losses of one of the winner's networks and of every simple model
on the holdout; a star marks those that are in the model confidence set. Of quantiles there are the
shares of the actual values that were below each.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LEVEL = 0.05
SYMBOLS = ("AAPL", "IBM", "MSFT")
STUDY = """
name = "pooling"
[data]
source = "sample"
symbols = ["AAPL", "IBM", "MSFT"]
features = ["return", "range", "volume"]
target = "{target}"
pooling = "{pooling}"
[walk_forward]
folds = 3
valid_bars = 120
holdout_bars = 250
[training]
max_epochs = 20
patience = 5
loss = "{loss}"
[space]
hidden_dim = {{ low = 16, high = 48, log = true }}
batch_size = [64, 128, 256]
[final]
seeds = 3
[search]
trials = {trials}
seed = {seed}
"""


def tuner(folder: Path, *arguments: str) -> str:
    """Run a command in a folder, and return what it wrote."""
    command = str(Path(sys.executable).with_name("tuner"))
    return subprocess.run(  # noqa: S603  # our own command
        (command, *arguments), cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def judge(target: str, pooling: str, seed: int, trials: int, loss: str) -> list[dict[str, Any]]:
    """Search, open the holdouts, and return the reports: one, or one for each symbol."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = STUDY.format(target=target, pooling=pooling, seed=seed, trials=trials, loss=loss)
        (folder / "study.toml").write_text(text)
        tuner(folder, "run", "study.toml", "--workers", "1", "--quiet")
        each = [f"pooling.{symbol}" for symbol in SYMBOLS]
        studies = ["pooling"] if pooling == "all" else each
        report = ("--workers", "1", "--top", "1", "--quiet", "--json")
        return [json.loads(tuner(folder, "report", study, *report)) for study in studies]


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def line(report: dict[str, Any]) -> str:
    """Return outcome, skill against the best simple model of the search, and its name."""
    reference = report["baselines"][0]
    gained = reference["skill_of_winner"]
    return f"{report['verdict']['outcome']} {gained:+.1%} ({reference['name']})"


def rivals(report: dict[str, Any]) -> str:
    """Return the losses of a report on the holdout, the lowest first."""
    holdout = report["holdout"]
    losses = {"winner": (holdout["loss"], holdout["mcs_p"])}
    losses |= {each["name"]: (each["holdout_loss"], each["mcs_p"]) for each in report["baselines"]}
    best = sorted(losses.items(), key=lambda item: item[1][0])
    shown = (f"{name}{'*' * (p is not None and p >= LEVEL)} {loss:.4f}" for name, (loss, p) in best)
    networks = holdout["network_losses"]
    below = "".join(
        f"; {each['below']['share']:.1%} below the quantile of {each['level']:g}"
        f"{'' if each['held'] else ' (does not hold)'}"
        for each in report["quantiles"]
    )
    return (
        f"    {'+'.join(report['forecast_of']['symbols'])}: {', '.join(shown)}; networks alone "
        f"{min(networks):.4f} to {max(networks):.4f}, mean {mean(networks):.4f}{below}"
    )


def main() -> None:
    """Print a row for each target, seed and pooling."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", default=["range", "volatility", "return"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--loss", default="mse")
    parser.add_argument("--rivals", action="store_true")
    given = parser.parse_args()
    print("target     seed network for  search   holdout  seconds  outcome, skill against")
    for target in given.targets:
        for seed in range(given.seeds):
            for pooling in ("all", "each"):
                started = time.perf_counter()
                reports = judge(target, pooling, seed, given.trials, given.loss)
                seconds = time.perf_counter() - started
                losses = mean([each["winner"]["search_loss"] for each in reports])
                held = mean([each["holdout"]["loss"] for each in reports])
                print(
                    f"{target:11}{seed:4} {pooling:9}{losses:10.4f}{held:10.4f}{seconds:9.0f}  "
                    f"{'; '.join(map(line, reports))}",
                    flush=True,
                )
                if given.rivals:
                    print("\n".join(map(rivals, reports)), flush=True)


if __name__ == "__main__":
    main()
