"""Scripts as a reader of the tutorial has them, run as they are on prices from yfinance."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
STUB = HERE.parent / "yahoo_stub.py"
SCRIPTS = sorted((HERE / "tutorial").glob("*.py"))
PUBLISHED = {"puffin.deep.rnn", "puffin.deep.training"}
TOOLS = {"itertools", "numpy", "pandas", "sklearn.metrics", "sklearn.model_selection"}
TOOLS |= {"torch", "typing", "yfinance"}

# What the chapter shows, as it stands in the script that shows it.
ITEMS = [
    ("01_stacked_forward.py", "hidden_dims=[128, 64, 32]"),
    ("01_stacked_forward.py", "torch.randn(16, 20, 1)"),
    ("02_hand_composed.py", "class DeepLSTM(nn.Module):"),
    ("03_gru.py", "GRUNet(input_dim=1, hidden_dim=64, num_layers=2, output_dim=1, dropout=0.2)"),
    ("03_gru.py", "gru.predict(prices, steps=5)"),
    ("04_lstm_or_gru.py", '{"LSTM": TradingLSTM(), "GRU": TradingGRU()}'),
    ("05_dropout.py", "dropout=0.5"),
    ("06_early_stopping.py", "EarlyStopping(patience=5, restore_best_weights=True)"),
    ("06_early_stopping.py", "early_stop(val_loss, model)"),
    ("07_weight_decay.py", "torch.optim.Adam(model.parameters(), lr=0.01, weight_decay="),
    ("07_weight_decay.py", "1e-5"),
    ("08_noise.py", "def add_noise(series: np.ndarray, noise_level: float = 0.01)"),
    ("09_grid.py", "for params in ParameterGrid("),
    ("10_walk_forward.py", "mean_squared_error(actuals, predictions)"),
    ("10_walk_forward.py", "mean_absolute_error(actuals, predictions)"),
    ("10_walk_forward.py", "r2_score(actuals, predictions)"),
    ("10_walk_forward.py", "np.sign(predictions[1:] - actuals[:-1])"),
    ("10_walk_forward.py", "np.sign(actuals[1:] - actuals[:-1])"),
    ("11_backtest.py", "THRESHOLD, CAPITAL = 100, 0.005, 10_000.0"),
    ("11_backtest.py", '"final_capital": final, "total_return": final / CAPITAL - 1, "trades"'),
    ("12_prices.py", 'yf.Ticker("AAPL").history(period="2y")["Close"]'),
    ("13_multivariate.py", 'features["returns"].shift(-1)'),
    ("14_lookbacks.py", "for lookback in ("),
    ("15_training_loop.py", "callbacks=[next_rate, stop]"),
]

# What each script prints: "#" is a number, "@" a word, "..." anything. The sample's last two years
# are 504 bars, of which the last has the adjusted close 56.137353, by the file itself.
PRINTS = {
    "01_stacked_forward.py": """\
        StackedLSTM [128, 64, 32]: (16, 20, 1) -> (16, 1)
        3 layers, 129313 parameters""",
    "02_hand_composed.py": """\
        DeepLSTM (16, 20, 1) -> (16, 1)
        largest difference from StackedLSTM with the same weights: #""",
    "03_gru.py": """\
        GRUNet (32, 20, 1) -> (32, 1), 37889 parameters, LSTMNet 50497
        Epoch [10/10], Train Loss: #, Val Loss: #
        last close 56.14, the next five by TradingGRU: [#, #, #, #, #]""",
    "04_lstm_or_gru.py": """\
        LSTM last val_loss #, next five closes [#, #, #, #, #]
        GRU last val_loss #, next five closes [#, #, #, #, #]
        @ has the lower last val_loss""",
    "05_dropout.py": """\
        LSTMNet: two passes differ by # in train(), by 0.0000 in eval()
        StackedLSTM: two passes differ by # in train(), by 0.0000 in eval()
        dropout 0.0: last train_loss #, val_loss #
        dropout 0.2: last train_loss #, val_loss #
        dropout 0.5: last train_loss #, val_loss #""",
    "06_early_stopping.py": """\
        ...
        EarlyStopping counter: 6/5
        Restoring best weights (val_loss=#)
        stopped after epoch #, best was #
        val_loss: last #, best #, restored #""",
    "07_weight_decay.py": """\
        weight_decay 0: last loss #, norm of weights #
        weight_decay 1e-05: last loss #, norm of weights #
        weight_decay 0.01: last loss #, norm of weights #""",
    "08_noise.py": """\
        noise of # standard deviations; the library's is the same: True
        clean: last val_loss #, next close #
        noisy: last val_loss #, next close #""",
    "09_grid.py": """\
        162 points in the chapter's grid, 8 here
        lowest val_loss # with dropout 0.2, hidden_dim #, lookback #, lr 0.01, num_layers #
        highest val_loss # with dropout 0.2, hidden_dim #, lookback #, lr 0.01, num_layers #""",
    "10_walk_forward.py": """\
        Epoch [10/10], Train Loss: #, Val Loss: #
        84 forecasts: MSE #, MAE #, R2 #
        direction accuracy #%, MSE of 'tomorrow is like today' #""",
    "11_backtest.py": """\
        chapter final_capital #, total_return #%, # trades
        chapter, next bar final_capital #, total_return #%, # trades
        puffin.models.evaluation.backtest final_capital #, total_return #%, # trades
        buy and hold final_capital #, total_return #%, 1 trades""",
    "12_prices.py": """\
        504 closes from 2011-03-01 to 2013-03-01, the last 56.14
        next three closes [#, #, #], whether as Series, array or list""",
    "13_multivariate.py": """\
        Epoch [10/10], Train Loss: #, Val Loss: #
        483 rows of ['close', 'volume', 'high', 'low', 'returns', 'sma', 'volatility']
        last val_loss #, next return #%""",
    "14_lookbacks.py": """\
        lookback 5: #, lookback 10: #, lookback 20: #
        lowest last val_loss at lookback #""",
    "15_training_loop.py": """\
        ...
        228 windows train, 57 validate
        # of 40 epochs, best val_loss # after #
        learning rate from 0.01 to #""",
}

# What a reader may write as well with what the chapter has taught.
IDIOMS = {
    "loaders-of-what-pandas-gives": """\
import pandas as pd
from puffin.deep.rnn import TradingLSTM
from puffin.deep.training import create_dataloaders
prices = pd.Series(range(100), dtype="float64").values
X, y = TradingLSTM().prepare_sequences(prices, 10)
train, val = create_dataloaders(X, prices[10:], batch_size=8)
assert (len(train.dataset), len(val.dataset)) == (72, 18)
""",
    "seeds-of-numpy": """\
import numpy as np
from puffin.deep.training import set_seed
draws = []
for seed in np.arange(2).repeat(2):
    set_seed(seed)
    draws.append(np.random.rand())
assert draws[0] == draws[1] != draws[2] == draws[3]
""",
    "hyperparameters-of-numpy": """\
import numpy as np
from sklearn.model_selection import ParameterGrid
from puffin.deep.rnn import TradingLSTM
space = {"hidden_dim": np.array([4, 8]), "num_layers": np.arange(1, 3), "batch_size": np.array([8])}
for point in ParameterGrid(space):
    batch_size = point.pop("batch_size")
    model = TradingLSTM(**point)
    model.fit(np.arange(60.0), lookback=np.int64(5), epochs=1, batch_size=batch_size)
    assert model.predict(np.arange(60.0)).shape == (1,)
""",
    "widths-of-numpy": """\
import numpy as np
import pandas as pd
from puffin.deep.rnn import MultivariateLSTM
rng = np.random.default_rng(0)
frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "target"])
model = MultivariateLSTM()
model.fit(frame, "target", lookback=5, epochs=1, hidden_dims=np.array([4, 2]))
assert model.predict(frame).shape == (1,)
""",
    "weights-kept-in-a-file": """\
import numpy as np
import torch
from puffin.deep.rnn import LSTMNet, TradingLSTM
model = TradingLSTM(hidden_dim=8)
model.fit(np.arange(60.0), lookback=5, epochs=1)
torch.save(model.model.state_dict(), "weights.pt")
net = LSTMNet(input_dim=1, hidden_dim=8)
net.load_state_dict(torch.load("weights.pt"))
net.eval()
window = torch.arange(55.0, 60.0).reshape(1, 5, 1)
scaled = net((window - model.mean) / model.std).item()
assert abs(scaled * model.std + model.mean - model.predict(np.arange(60.0))[0]) < 1e-4
""",
}

# Importing torch (and _dynamo, as its first optimiser does), scikit-learn and yfinance takes long.
# So one process imports them, and nothing of ours, and each script runs in a process forked off it.
NURSERY = """
import gc, os, runpy, sys
import pandas, scipy.stats, sklearn.model_selection, torch._dynamo, yfinance
torch.set_num_threads(1)
gc.freeze()  # or each child goes through all of it when it ends
for line in sys.stdin:
    script, folder = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        os.chdir(folder)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
        sys.argv = [script]
        runpy.run_path(script, run_name="__main__")
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Run(NamedTuple):
    """What a script left: its exit code, what it printed and said, and what Yahoo was asked."""

    code: int
    out: str
    err: str
    asked: list[dict[str, Any]]

    @property
    def charts(self) -> list[dict[str, str]]:
        """The queries for a stretch of AAPL's prices."""
        path = "/v8/finance/chart/AAPL"
        return [a["query"] for a in self.asked if a["path"] == path and "events" in a["query"]]


Runner = Callable[[Path, Path], Run]


@pytest.fixture(scope="module")
def stub() -> list[str]:
    """Give the words in front of a command that asks the stub instead of Yahoo."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl for a certificate")
    return [sys.executable, str(STUB)]


@pytest.fixture(scope="module")
def run(stub: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Run a script in a folder, where a warning of ours that is meant for users is an error."""
    folder = tmp_path_factory.mktemp("tutorial")
    log = folder / "asked"
    log.touch()
    strict = ["-W", "always", "-W", "error::UserWarning"]
    command = [*stub, "--log", str(log), sys.executable, *strict, "-c", NURSERY]
    with (
        (folder / "err").open("w") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as nursery,
    ):
        assert nursery.stdin is not None
        assert nursery.stdout is not None

        def run_(script: Path, cwd: Path) -> Run:
            before = len(log.read_text().splitlines())
            print(script, cwd, sep="\t", file=nursery.stdin, flush=True)
            code = nursery.stdout.readline().strip()
            assert code, (folder / "err").read_text()
            asked = [json.loads(line) for line in log.read_text().splitlines()[before:]]
            return Run(int(code), (cwd / "out").read_text(), (cwd / "err").read_text(), asked)

        yield run_


def imports(source: str) -> set[str]:
    """Give the modules that a script imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


def pattern(expected: str) -> str:
    """Make a regular expression of a text with marks, in which blanks are all alike."""
    text = re.escape(" ".join(expected.split()))
    number = r"[-+]?\d+(\.\d+)?(e[-+]\d+)?"
    return text.replace(r"\#", number).replace("@", r"\w+").replace(r"\.\.\.", ".*")


def warned(err: str) -> list[str]:
    """Give the files that a warning points to, but for yfinance's own."""
    files: list[str] = re.findall(r"^(\S+):\d+: \w*Warning", err, re.MULTILINE)
    return [file for file in files if "/site-packages/yfinance/" not in file]


def test_everything_that_the_chapter_shows_has_a_script() -> None:
    sources = {script.name: script.read_text("utf-8") for script in SCRIPTS}
    assert set(sources) == {name for name, _ in ITEMS} == set(PRINTS)
    missing = [(name, words) for name, words in ITEMS if words not in sources[name]]
    assert missing == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_imports_nothing_of_ours_but_what_the_tutorial_publishes(script: Path) -> None:
    own = imports(script.read_text("utf-8")) - TOOLS
    extensions = {"puffin.models.evaluation.backtest"} if script.name == "11_backtest.py" else set()
    assert own <= PUBLISHED | extensions
    assert own & PUBLISHED


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_runs_as_it_is(script: Path, run: Runner, tmp_path: Path) -> None:
    done = run(script, tmp_path)

    assert done.code == 0, done.err
    assert re.fullmatch(pattern(PRINTS[script.name]), " ".join(done.out.split())), done.out
    assert warned(done.err) == []
    wants_prices = "yfinance" in imports(script.read_text("utf-8"))
    assert [query["range"] for query in done.charts] == (["2y"] if wants_prices else [])


@pytest.mark.parametrize("idiom", IDIOMS)
def test_a_reader_may_also_write(idiom: str, run: Runner, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(IDIOMS[idiom])
    done = run(script, tmp_path)
    assert done.code == 0, done.err
    assert warned(done.err) == []


def test_a_script_runs_by_hand(stub: list[str], tmp_path: Path) -> None:
    script = HERE / "tutorial" / "12_prices.py"
    command = [*stub, sys.executable, str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(pattern(PRINTS[script.name]), " ".join(done.stdout.split())), done.stdout


def test_the_stub_answers_for_every_other_host_itself(run: Runner, tmp_path: Path) -> None:
    script = tmp_path / "other.py"
    script.write_text(
        "from curl_cffi import requests\n"
        "plain = requests.get('http://elsewhere.invalid/a')\n"
        "secure = requests.get('https://elsewhere.invalid/b', verify=False)\n"
        "print(plain.status_code, secure.status_code)\n"
        "try:\n"
        "    requests.get('https://elsewhere.invalid/c')\n"
        "except requests.exceptions.RequestException:\n"
        "    print('not certified')\n"
    )
    done = run(script, tmp_path)
    assert done.code == 0, done.err
    assert done.out == "404 404\nnot certified\n"
    assert [(a["host"], a["path"]) for a in done.asked] == [
        ("elsewhere.invalid", "/a"),
        ("elsewhere.invalid", "/b"),
    ]
