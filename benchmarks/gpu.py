"""What a GPU is worth to a search, in one run that ends in time: figures as JSON, and as tables.

* `step`: a training step of ours beside the bare torch step, the same on the CPU, and peak memory.
* `folds`: a step of all folds in a loop, stacked, on streams, and each as a CUDA graph.
* `epochs`: epochs of a trial of five folds; on CUDA the first two load and record what is replayed.
* `study`: whole commands with 1, 2, 4 and 8 workers that share the GPU, a plain script on the GPU,
  and a worker for each CPU core without it. Trials per hour and the busy share are of the
  time from the start of the first trial to the end of the last: torch takes seconds to load.

Each part has a budget of seconds. What it does not come to is left out and listed, and what was
measured so far is written after each row. Nothing comes from a network. On a CPU all lines run but
those of CUDA itself:

    python -m benchmarks.gpu --device cpu --tiny --out /tmp/gpu
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks import fold_step, step
from puffin.models.cells import CELLS
from puffin.models.config import Config, TrainingConfig
from puffin.models.folds import Span
from puffin.models.training.fold_training import FoldTraining
from puffin.models.windows import FoldTensors, Windows
from puffin.tuner.worker.process import setup_torch

T = TypeVar("T")
VALID = 120  # targets of a validation part
Row = dict[str, Any]
Shape = tuple[int, int, tuple[int, ...]]


@dataclass(frozen=True)
class Size:
    """How much is measured, and how long it may take.

    Attributes
    ----------
    shapes, fold_shapes : batch, lookback and widths
    bars : rows that steps train on
    pairs, rounds, steps : repetitions of a step, of the candidates for folds, and steps of each
    trial_epochs : of a trial whose epochs are timed
    workers : how many share the device, run by run
    cpu_workers : of the run without it
    trials, epochs : of a study
    plain_trials : how many of them the plain script trains
    space : changes to its search space
    seconds : budget of each part
    """

    shapes: Sequence[Shape] = tuple(step.SHAPES)
    fold_shapes: Sequence[Shape] = tuple(fold_step.SHAPES)
    bars: int = step.BARS
    pairs: int = 5
    rounds: int = 5
    steps: int = 10
    trial_epochs: int = 6
    workers: Sequence[int] = (1, 2, 4, 8)
    cpu_workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    trials: int = 48
    epochs: int = 8
    plain_trials: int = 4
    space: tuple[str, ...] = ()
    seconds: tuple[float, float, float, float] = (50.0, 70.0, 15.0, 265.0)


TINY = Size(
    shapes=((8, 3, (4,)),),
    fold_shapes=((8, 3, (4,)),),
    bars=40,
    trial_epochs=3,
    pairs=1,
    rounds=1,
    steps=1,
    workers=(1,),
    cpu_workers=1,
    trials=1,
    epochs=1,
    plain_trials=1,
    space=("hidden_dim=[4, 5]", "layers=1", "lookback=5", "batch_size=512"),
)


@dataclass
class Part:
    """What a part has found.

    Attributes
    ----------
    seconds : that it took
    rows : its table
    left_out : what it did not come to, and why
    """

    name: str
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def measure_steps(part: Part, size: Size, device: torch.device, deadline: float) -> Iterator[Row]:
    """Measure a step of ours and the bare one, here and on the CPU, for each cell and shape."""
    cases = list(itertools.product(CELLS, size.shapes))
    for cell, (batch, lookback, widths) in _in_time(part, cases, deadline):
        config = Config(cell=cell, hidden_dims=widths, lookback=lookback, batch_size=batch)
        _reset_peak(device)
        own, bare, ratios = step.measure(config, size.pairs, device, size.bars)
        memory = _peak(device)
        on_cpu, _, _ = step.measure(config, 1, torch.device("cpu"), size.bars)
        yield _shape(config) | {
            "ours_ms": own,
            "bare_ms": bare,
            "ratio": statistics.median(ratios),
            "ratio_min": ratios[0],
            "ratio_max": ratios[-1],
            "cpu_ms": on_cpu,
            "cpu_over_device": on_cpu / own,
            "peak_mib": memory,
        }


def measure_folds(part: Part, size: Size, device: torch.device, deadline: float) -> Iterator[Row]:
    """Measure a step of all folds in each of the ways that the device knows."""
    cases = list(itertools.product(CELLS, size.fold_shapes))
    for cell, (batch, lookback, widths) in _in_time(part, cases, deadline):
        config = Config(cell, widths, dropout=0.0, lookback=lookback, batch_size=batch)
        _reset_peak(device)
        found = fold_step.measure(config, size.rounds, size.steps, device)
        peak = _peak(device)
        for way, (took, ratios) in found.items():
            yield _shape(config) | {
                "way": way,
                "ms": took,
                "ratio": statistics.median(ratios),
                "ratio_min": ratios[0],
                "ratio_max": ratios[-1],
                "peak_mib": peak,
            }


def measure_epochs(part: Part, size: Size, device: torch.device, deadline: float) -> Iterator[Row]:
    """Time the epochs of a trial, for each cell and shape."""
    cases = list(itertools.product(CELLS, size.fold_shapes))
    for cell, (batch, lookback, widths) in _in_time(part, cases, deadline):
        config = Config(cell, widths, lookback=lookback, batch_size=batch)
        folds = [
            _random_fold(size.bars + fold * VALID, lookback, device)
            for fold in range(fold_step.FOLDS)
        ]
        _reset_peak(device)
        limits = TrainingConfig(max_epochs=size.trial_epochs, patience=size.trial_epochs)
        training = iter(FoldTraining(folds, config, limits, seed=0))
        times = []
        for _ in range(size.trial_epochs):
            started = time.perf_counter()
            next(training)  # it ends with a wait for the device
            times.append(1e3 * (time.perf_counter() - started))
        first, second, *others = times
        yield _shape(config) | {
            "first_ms": first,
            "second_ms": second,
            "others_ms": statistics.median(others),
            "reserved_mib": _reserved(device),
        }


def _random_fold(targets: int, lookback: int, device: torch.device) -> FoldTensors:
    """Return a fold of so many training targets and `VALID` more to validate on, all noise."""
    bars = torch.randn(targets + VALID + lookback - 1, fold_step.FEATURES, device=device)
    y = torch.randn(targets + VALID, 1, device=device)
    train, valid = (
        Windows(bars, y, (span,), lookback)
        for span in (Span(0, targets), Span(targets, targets + VALID))
    )
    return FoldTensors(train, valid, (np.arange(VALID),))


def measure_study(part: Part, size: Size, device: torch.device, deadline: float) -> Iterator[Row]:
    """Time whole searches, and a plain script on the configurations of the first."""
    try:
        # Here: the other parts need torch, and neither Optuna nor a database.
        from benchmarks import study
    except ImportError as error:
        part.left_out.append(f"all: {error}; install this project")
        return
    if study.console_script() is None:
        part.left_out.append("all: the console script `tuner` is missing; install this project")
        return
    configs: list[dict[str, Any]] = []
    runs: dict[str, tuple[str, int | None]] = {
        f"{n} worker{'s' * (n > 1)}": (device.type, n) for n in size.workers
    }
    runs["plain script"] = (device.type, None)
    if device.type != "cpu":
        runs[f"{size.cpu_workers} on the CPU"] = ("cpu", size.cpu_workers)
    for run in _in_time(part, runs, deadline):
        on, workers = runs[run]
        work = study.Work(
            size.trials,
            size.epochs,
            on,
            workers,
            size.space,
            limit=max(deadline - time.monotonic(), 1.0),
        )
        with tempfile.TemporaryDirectory() as folder, study.Busy(on) as busy:
            try:
                if workers is None:
                    done = study.plain(Path(folder), work, configs[: size.plain_trials])
                else:
                    done = study.ours(Path(folder), work, seed=0)
                    configs = configs or done.trials
            except (subprocess.SubprocessError, OSError) as error:
                part.left_out.append(f"{run}: {_reason(error)}")
                continue
        yield {
            "run": run,
            "trials": len(done.trials),
            "seconds": done.seconds,
            "training_seconds": done.training_seconds,
            "trials_per_hour": 3600 * len(done.trials) / done.training_seconds,
            "gpu_busy_percent": busy.mean() * done.seconds / done.training_seconds
            if busy.shares
            else None,
            "median_loss": done.median_loss,
        }


def _in_time(part: Part, cases: Iterable[T], deadline: float) -> Iterator[T]:
    """Pass on the cases until the part's time is up, and list those that are left."""
    for case in cases:
        if time.monotonic() < deadline:
            yield case
        else:
            part.left_out.append(f"{case}: no time was left")


def _shape(config: Config) -> Row:
    return {
        "cell": config.cell,
        "batch": config.batch_size,
        "lookback": config.lookback,
        "widths": list(config.hidden_dims),
    }


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> float | None:
    """Return the most memory that tensors took since it was reset, in MiB; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None


def _reserved(device: torch.device) -> float | None:
    """Return the most memory that torch held since it was reset, in MiB; None on a CPU."""
    return torch.cuda.max_memory_reserved(device) / 2**20 if device.type == "cuda" else None


def _reason(error: Exception) -> str:
    """Say in a line why a command came to no figure."""
    if isinstance(error, subprocess.CalledProcessError):
        return (str(error.stderr).strip().splitlines() or [f"exit code {error.returncode}"])[-1]
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not done within {error.timeout:.0f} s"
    return str(error)


def describe(device: torch.device) -> Row:
    """Name what the figures were measured on."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
    }


def table(part: Part) -> str:
    """Write a part as Markdown."""
    lines = [f"## {part.name}, {part.seconds:.0f} s", ""]
    if part.rows:
        lines.append(_line(part.rows[0]))
        lines.append(_line("---" for _ in part.rows[0]))
        lines += [_line(map(_cell, row.values())) for row in part.rows]
        lines.append("")
    lines += [f"* left out: {what}" for what in part.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write(folder: Path, machine: Row, parts: Sequence[Part]) -> None:
    """Write ``gpu.json`` and ``gpu.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"machine": machine, "parts": {part.name: asdict(part) for part in parts}}
    (folder / "gpu.json").write_text(json.dumps(values, indent=2) + "\n")
    head = "\n".join(f"* {key}: {value}" for key, value in machine.items())
    (folder / "gpu.md").write_text(
        f"# A search on a GPU\n\n{head}\n\n" + "\n".join(map(table, parts))
    )


PARTS: dict[str, Callable[[Part, Size, torch.device, float], Iterator[Row]]] = {
    "step": measure_steps,
    "folds": measure_folds,
    "epochs": measure_epochs,
    "study": measure_study,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all parts, and end with 1 if one of them broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument(
        "--tiny", action="store_true", help="one small shape of each, to see it run"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args(arguments)
    device = setup_torch(options.device, 1.0)
    size = TINY if options.tiny else Size()
    machine, parts, broken = describe(device), [], False
    for (name, measure), budget in zip(PARTS.items(), size.seconds, strict=True):
        if name not in options.parts:
            continue
        part, started = Part(name), time.monotonic()
        parts.append(part)
        try:
            for row in measure(part, size, device, started + budget):
                part.rows.append(row)
                part.seconds = time.monotonic() - started
                write(options.out, machine, parts)
        except Exception as error:  # noqa: BLE001  # the figures of the other parts are worth having
            broken = True
            part.left_out.append(f"the rest: {type(error).__name__}: {error}")
        part.seconds = time.monotonic() - started
        write(options.out, machine, parts)
        print(table(part), flush=True)
    if broken:
        sys.exit(1)


if __name__ == "__main__":
    main()
