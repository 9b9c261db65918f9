"""What commands load, and what training asks of the system."""

import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from puffin.studies.study import StoredStudy
from puffin.tuner.worker.worker import Worker

# Networks whose gates are 4 MB a layer, and the pages that the last epoch took.
TRAIN = """
import resource
import sys
import torch
from puffin.tuner.worker import objective, process, worker
from puffin.models.config import Config
from puffin.models.losses import LOSSES
from puffin.models.networks.rnn import build_network
from puffin.models.training.trainer import Trainer, loss_function
from puffin.models.windows import Windows

process.setup_torch("cpu", 1.0)
windows = Windows.of(torch.randn(670, 3), torch.randn(641, 1), 30)
for cell in ("gru", "lstm"):
    config = Config(cell=cell, hidden_dims=(128, 64, 32), lookback=30, batch_size=64)
    trainer = Trainer(build_network(config, 3), windows, config, loss_function(LOSSES["mse"]), 0)
    trainer.run_epoch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
trainer.run_epoch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(*sorted({"torch", "sklearn", "scipy", "matplotlib", "torch._dynamo"} & set(sys.modules)))
"""


def test_a_worker_loads_no_slow_modules_and_keeps_its_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True, cwd="/"
    )
    pages, loaded = done.stdout.splitlines()
    assert loaded.split() == ["torch"]
    # As glibc is by itself, 23,000 to 61,000 in six runs; other C libraries do as they like.
    assert platform.libc_ver()[0] != "glibc" or int(pages) < 5_000


LOOK_AFTER = """
import contextlib
import sys
from puffin.tuner.cli import main

for command in (
    ["submit", "demo"],
    ["status"],
    ["pause", "demo"],
    ["compare", "demo"],
    ["delete", "demo", "--yes"],
):
    with contextlib.suppress(SystemExit):  # compare has nothing to compare yet
        main(command, standalone_mode=False)
print(*sorted({"torch", "sklearn", "scipy", "matplotlib"} & set(sys.modules)))
"""


EXPORT = """
import contextlib
import sys
from pathlib import Path

from puffin.studies.storage.database import open_storage
from puffin.studies.study import load
from puffin.tuner.cli import main

for command in ("status", "status tiny", "trials tiny", "best tiny", "compare tiny"):
    with contextlib.suppress(SystemExit):  # there is nothing to compare
        main([*command.split(), "--storage", sys.argv[1]], standalone_mode=False)
assert not {"torch", "pandas", "alembic.config"} & set(sys.modules)
from puffin.studies.export.write import export

export(load(open_storage(sys.argv[1]), "tiny"), Path("out"))
print(*sorted({"torch", "sklearn", "scipy", "matplotlib"} & set(sys.modules)))
"""


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_sealed_export_loads_only_torch_and_looking_not_even_pandas(
    make_study: Callable[..., StoredStudy],
    make_worker: Callable[..., Worker],
    url: str,
    tmp_path: Path,
) -> None:
    study, worker = make_study(search={"trials": 1, "pruner": "none"}), make_worker()
    while worker.step(study) is not None:
        pass
    for _ in range(2):  # the second replaces the first
        done = subprocess.run(
            [sys.executable, "-c", EXPORT, url],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        assert done.stdout.splitlines()[-1] == "torch"


def test_commands_that_manage_studies_do_not_load_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK_AFTER], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "demo" in done.stdout
    assert done.stdout.splitlines()[-1] == ""
