"""The pages of a report have all its figures, as Markdown, as one HTML file and as JSON."""

import io
import json
import math
import re
import shlex
from collections import Counter
from dataclasses import dataclass, replace
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import matplotlib.text
import numpy as np
import optuna
import pandas as pd
import pytest

from puffin.studies.lifecycle import submit
from puffin.studies.report import build, verdict
from puffin.studies.report.build import Report
from puffin.studies.report.figures.registry import FIGURES, Drawn, DrawnFigure
from puffin.studies.report.figures.style import svg
from puffin.studies.report.figures.time_series import draw_folds, draw_forecasts, draw_recent
from puffin.studies.report.files import PAGES, report_files
from puffin.studies.report.markdown import to_markdown
from puffin.studies.report.page import report_page
from puffin.studies.retraining import open_seal, read_artifact, retrain_with_seeds
from puffin.studies.spec import load_spec
from puffin.studies.storage.database import open_storage
from puffin.studies.study import StoredStudy, load
from puffin.studies.text import loss, minute, percent, signed
from puffin.tuner import cli
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.integration.helpers import aapl
from tests.leads import lead

SMALL = [
    "data.start=2011-06-01",
    'data.features=["return", "range"]',
    "walk_forward.folds=2",
    "walk_forward.valid_bars=20",
    "walk_forward.holdout_bars=20",
    "training.max_epochs=3",
    "space.hidden_dim=[4, 8]",
    "space.lookback={low=3, high=5}",
]


@dataclass(frozen=True)
class Case:
    """A search, its report and the files of the report."""

    search: StoredStudy
    report: Report
    files: dict[str, bytes]

    @property
    def page(self) -> str:
        return self.files["report.md"].decode()

    @property
    def figures(self) -> dict:
        return json.loads(self.files["report.json"])


def judged(
    tmp_path_factory: pytest.TempPathFactory, *overrides: str, flat_bars: int = 0, top: int = 2
) -> tuple[StoredStudy, Report]:
    """Search, train the best again and open the holdout; the last bars may be flat."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{tmp_path_factory.mktemp('pages') / 'test.db'}"
    spec = load_spec("demo", ["name=a_b-c", *SMALL, *overrides])
    storage = open_storage(url, create=True)
    prices = aapl(spec)
    frame = prices.frames["AAPL"]
    flat = frame.index[len(frame) - flat_bars :]
    frame.loc[flat, ["open", "high", "low", "close"]] = 100.0
    search = submit(storage, spec, prices)
    work(url, Interrupt(), WorkerOptions(search.name, device="cpu"))
    search = load(storage, search.name)
    for again in (retrain_with_seeds(search, top), open_seal(search, top)):
        work(url, Interrupt(), WorkerOptions(again.name, device="cpu"))
    return search, build.build(search)


def make(tmp_path_factory: pytest.TempPathFactory, *overrides: str) -> Case:
    search, found = judged(tmp_path_factory, *overrides)
    return Case(search, found, report_files(search, found))


@pytest.fixture(scope="module")
def returns(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A search whose trials are all complete, and enough for every figure."""
    return make(tmp_path_factory, "data.target=return", "search.trials=12", "search.pruner=none")


@pytest.fixture(scope="module")
def ranges(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A search with pruned trials and few complete ones."""
    return make(tmp_path_factory, "data.target=range", "search.trials=8", "search.pruner=asha")


OF_BASKETS = {"symbols.svg", "lead.svg"}


@pytest.fixture(params=["returns", "ranges"])
def case(request: pytest.FixtureRequest) -> Case:
    return request.getfixturevalue(request.param)


def markdown(search: StoredStudy, report: Report, drawn: Drawn | None = None) -> str:
    return to_markdown(report_page(search, report, drawn or {}))


def drawn(case: Case) -> set[str]:
    return {n.removeprefix("pictures/") for n in case.files if n not in PAGES}


def test_a_report_has_every_file_and_every_drawable_figure(returns: Case, ranges: Case) -> None:
    assert set(PAGES) <= set(returns.files)
    single = {"overtuning.svg"} if len(returns.report.overtuning.trials) == 1 else set()
    assert drawn(returns) == set(FIGURES) - OF_BASKETS - single
    missing = {"importance.svg", "overfitting.svg"}
    single = {"overtuning.svg"} if len(ranges.report.overtuning.trials) == 1 else set()
    assert drawn(ranges) == set(FIGURES) - OF_BASKETS - missing - single


def test_each_figure_is_a_small_self_contained_svg(case: Case) -> None:
    for name in drawn(case):
        body = case.files[f"pictures/{name}"]
        root = ET.fromstring(body)  # noqa: S314  # our own
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        assert width == 360, name
        assert 100 < height < 800, name
        tags = Counter(element.tag.rpartition("}")[2] for element in root.iter())
        assert tags["path"] > 20, name
        # Letters are paths: they look alike whichever fonts there are.
        assert not set(tags) & {"text", "image", "script"}, name
        links = {v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")}
        assert all(link.startswith("#") for link in links), name
        assert len(body) < 150_000, name


def test_a_report_is_drawn_and_written_alike_each_time(case: Case) -> None:
    assert report_files(case.search, case.report) == case.files


class Page(HTMLParser):
    """Every tag of a page with its attributes; open ones are counted to the end."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(body.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_html_page_is_self_contained(case: Case) -> None:
    body = case.files["report.html"]
    page = Page(body)
    assert page.open == []
    assert ("html", {"lang": "en"}) in page.tags
    assert f"<title>a_b-c: {case.report.comparison.outcome}</title>".encode() in body
    kinds = Counter(tag for tag, _ in page.tags)
    assert not set(kinds) & {"script", "link", "iframe", "object", "base", "form", "img", "image"}
    links = {v for _, attrs in page.tags for k, v in attrs.items() if k.endswith("href")}
    names = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    # Links and figures refer to elements of the page, and each name is given once.
    assert links <= {f"#{name}" for name in names}
    assert max(Counter(names).values()) == 1
    for _, attrs in page.tags:
        assert not {"src", "srcset", "background"} & set(attrs)
        assert not [name for name in attrs if name.startswith("on")]
    images = [attrs for _, attrs in page.tags if attrs.get("role") == "img"]
    assert len(images) == kinds["svg"] == kinds["figure"] == len(drawn(case))
    assert all(len(image["aria-label"]) > 20 for image in images)
    assert not re.search(rb"url\((?!#)|@import|file:|pictures/", body)
    assert set(re.findall(rb"https?://[^/\"]*", body)) == {b"http://www.w3.org"}


def test_both_pages_state_the_same_figures(case: Case) -> None:
    html = case.files["report.html"].decode().partition("</style>")[2].replace("\u00a0", " ")
    html = unescape(re.sub(r"<svg.*?</svg>|<[^>]*>", " ", html, flags=re.DOTALL))
    text = re.sub(r"pictures/\S+|\]\(#[^)]*\)|^\* (?=\[)", " ", case.page, flags=re.MULTILINE)
    shown, written = (
        Counter(re.findall(r"[+-]?\d[\d,.:-]*\d|\d", page.replace("\\", "")))
        for page in (html, text)
    )
    assert len(written) > 100
    assert shown == written


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of each row of each table by its first cell, without escapes."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    cells = [[c.strip().replace("\\", "") for c in line.strip("|").split(" |")] for line in lines]
    return {first: rest for first, *rest in cells}


def test_the_page_begins_with_the_answer(case: Case) -> None:
    title, answer, facts, *_ = case.page.split("\n\n")
    comparison, data = case.report.comparison, case.search.spec.data
    assert title.replace("\\", "") == "# Is the best of a_b-c any good?"
    assert re.fullmatch(
        rf"\*\*{comparison.outcome.capitalize()}: [\d.]+ % (less|more) error than the best simple "
        r"model\*\*",
        answer,
    )
    said = dict(line.removeprefix("* ").split(": ", 1) for line in facts.splitlines())
    assert list(said) == [
        "Forecast",
        "Data",
        "Judged on",
        "Against",
        "How sure",
        "The best",
        "Luck",
        "Would have earned",
        "Seal",
    ]
    assert said["Data"] == "Sample AAPL, 440 bars from 2011-06-01 to 2013-03-01"
    assert said["Judged on"].startswith("The last 20 bars, 2013-02-01 to 2013-03-01, ")
    assert f"of {len(comparison.baselines)} simple models" in said["Against"]
    earned = said["Would have earned"]
    assert ("by volatility timing" in earned) is (data.target == "range")
    assert said["Seal"].endswith(" UTC; nobody had looked at these bars before")


@pytest.mark.parametrize(
    ("ratio", "p_better", "first", "first_command"),
    [
        (0.5, 0.01, "", "export a_b-c exports/a_b-c-all --refit all"),
        (
            0.9,
            0.2,
            "Do not rely on this forecaster yet.",
            "run STUDY.toml --set name=a_b-c-2 --set walk_forward.holdout_bars=40",
        ),
        (
            0.999,
            0.4,
            "Use a simpler one: ",
            'run STUDY.toml --set name=a_b-c-2 --set \'data.features=["return","range","rsi"]\'',
        ),
        (
            1.5,
            0.99,
            "Do not use this forecaster: ",
            'run STUDY.toml --set name=a_b-c-2 --set \'data.features=["return","range","rsi"]\'',
        ),
    ],
)
def test_the_next_steps_fit_the_outcome_and_are_commands_that_there_are(
    returns: Case, ratio: float, p_better: float, first: str, first_command: str
) -> None:
    comparison = returns.report.comparison
    other = comparison.reference.holdout_loss
    rivals = [replace(comparison.reference, test=lead((1 - ratio) * other, p_better))]
    loss = ratio * other
    text = markdown(
        returns.search,
        replace(returns.report, comparison=replace(comparison, loss=loss, baselines=rivals)),
    )
    section = text.split("## What to do next\n")[1].split("\n## ")[0]
    assert first in section
    commands = re.findall(r"^\$ tuner (.*)$", section, re.MULTILINE)
    assert commands[0] == first_command
    for name, *words in map(shlex.split, commands):
        options = {opt for parameter in cli.main.commands[name].params for opt in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options


def test_the_page_says_what_was_forecast_from_what(case: Case) -> None:
    section = case.page.split("## What was forecast\n\n")[1].split("\n\n##")[0]
    target = case.search.spec.data.target
    words = {
        "return": "return of AAPL over the next bar",
        "range": "high-low range of AAPL one bar",
    }
    assert f"* Target: the {words[target]}" in section
    assert "* Data: sample AAPL, 440 bars from 2011-06-01 to 2013-03-01\n" in section
    assert "* Features: return, range of each bar\n" in section
    assert "* Holdout: 20 bars from 2013-02-01 to 2013-03-01\n" in section
    assert "* Made with: puffin-tuner " in section
    for number, dates in enumerate(case.figures["forecast_of"]["folds"], start=1):
        spans = [f"{dates[f'{p}_first']} to {dates[f'{p}_last']}" for p in ("train", "valid")]
        assert rows(section)[str(number)] == spans


def test_forecasts_are_drawn_in_trader_units_with_persistence_and_band(
    case: Case,
) -> None:
    unit = {"return": "return, %", "range": "high above low, %"}[case.search.spec.data.target]
    (recent,) = draw_recent(case.search, case.report).figure.axes
    assert recent.get_title(loc="left") == unit
    names = {text.get_text() for text in recent.texts}
    assert names == {"90 % band", "actual", "persistence", "forecast"}
    assert len(draw_folds(case.search, case.report).figure.axes) == 2
    whole = draw_forecasts(case.search, case.report)
    (axes,) = whole.figure.axes
    (whole_prices,) = case.search.load_all_prices().values()
    prices, closes = whole_prices[-20:], whole_prices["close"][-21:].to_numpy()
    expected = {
        "return": 100 * (closes[1:] / closes[:-1] - 1),
        "range": 100 * (prices["high"] / prices["low"] - 1).to_numpy(),
    }[case.search.spec.data.target]
    for drawn in (recent, axes):
        assert np.allclose(np.asarray(drawn.get_lines()[0].get_ydata(), dtype=float), expected)
    # At a width of 390 pixels a point of the figure is more than a pixel.
    letters = [text for drawn in (recent, axes) for text in drawn.findobj(matplotlib.text.Text)]
    assert min(text.get_fontsize() for text in letters if text.get_text()) >= 11
    held = re.search(r"(\d+) % of the bars in the 90 % band", whole.title)
    assert held is not None
    assert 0 <= int(held[1]) <= 100


def test_the_last_forecasts_are_tabled_in_trader_units(returns: Case, ranges: Case) -> None:
    (prices,) = returns.search.load_all_prices().values()
    dates, closes = [str(d.date()) for d in prices.index[-5:]], prices["close"].to_numpy()[-6:]
    table = rows(returns.page)
    for i, date in enumerate(dates):
        moved, price = 100 * (closes[i + 1] / closes[i] - 1), closes[i + 1]
        forecast, low, high, persistence, actual, guess, paid = map(float, table[date])
        assert (persistence, actual, paid) == pytest.approx((0.0, moved, price), abs=0.006)
        assert low < forecast < high
        assert guess == pytest.approx(closes[i] * (1 + forecast / 100), abs=0.03)
    highs = (100 * (prices["high"] / prices["low"] - 1)).to_numpy()[-6:]
    for i, date in enumerate(dates):
        shown = [float(cell) for cell in rows(ranges.page)[date]]
        assert shown[3:] == pytest.approx([highs[i], highs[i + 1]], abs=0.006)
    assert "A forecast of the range is a median" in ranges.page
    assert "| bar | median forecast, % | 90 % from | to |" in ranges.page
    assert "| bar | forecast, % | 90 % from | to |" in returns.page
    assert "median:" not in returns.page.split("## What to do next")[0]


def test_no_share_is_negative_zero_and_no_p_value_zero(case: Case) -> None:
    assert not re.search(r"-0\.0 %|\| -?0\.000 \|$|p = 0\.000", case.page, re.MULTILINE)


def p(value: float | None) -> str:
    if value is None:
        return "undefined"
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def test_every_figure_of_a_table_is_one_of_the_report(case: Case) -> None:
    before, after = case.page.split("## Direction")
    found, table = case.figures, rows(after) | rows(before)
    for key, value in found["winner"]["config"].items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        assert table[key] == [f"{shown:.3g}" if isinstance(shown, float) else str(shown)]
    own = [found["winner"]["search_loss"], found["holdout"]["loss"]]
    assert table["winner"] == [*map(loss, own), "", "", "", p(found["holdout"]["mcs_p"])]
    for rival in found["baselines"]:
        losses = [loss(rival[key]) for key in ("search_loss", "holdout_loss")]
        nested = rival["clark_west"]
        tests = [p(rival["test"]["p_better"]), p(nested["p_better"]) if nested else "-"]
        tests.append(p(rival["mcs_p"]))
        assert (nested is None) is (rival["name"] not in ("persistence", "drift", "mean"))
        assert table[rival["label"]] == [*losses, signed(rival["skill_of_winner"]), *tests]
    for opening in found["holdout"]["opened"]:
        assert table[minute(opening["time"])] == [opening["study"], f"trial {opening['trial']}"]
    assert (
        f"the number of trials: p = {p(found['spa']['consistent'])}, the probability" in case.page
    )
    assert {"consistent", "lower", "upper", "reality_check"} <= set(found["spa"])
    assert table["rank of the best"][2:-1] == [str(r) for r in found["seeds"]["ranks_of_best"]]


def test_a_page_says_which_baseline_is_left_out_for_want_of_a_package(ranges: Case) -> None:
    comparison = replace(ranges.report.comparison, not_installed=("A needs the package b",))
    assert "Left out: A needs the package b." in markdown(
        ranges.search, replace(ranges.report, comparison=comparison)
    )
    assert {"har", "lhar", "ewma"} <= {each.name for each in comparison.baselines}


def test_direction_accuracies_of_winner_and_baselines_are_tabled(case: Case) -> None:
    direction, page = case.figures["direction"], case.page.split("## Direction")[1]
    table = rows(page.split("## Seeds")[0])
    assert table["winner"] == [percent(direction["accuracy"])]
    for rival in case.figures["baselines"]:
        accuracy = rival["direction_accuracy"]
        assert (accuracy is None) is (rival["name"] == "persistence")
        assert table[rival["label"]] == ["-" if accuracy is None else percent(accuracy)]


def test_shares_and_widths_of_intervals_are_tabled_beside_one_width(case: Case) -> None:
    found, section = case.figures["intervals"], case.page.split("## Intervals")[1].split("\n## ")[0]
    shares, widths = (rows(part) for part in section.split("| level | width"))
    assert [each["level"] for each in found["levels"]] == [0.5, 0.8, 0.95]
    for each in found["levels"]:
        level, inside, plain = percent(each["level"], 0), each["inside"], each["unconditional"]
        ends = f"{100 * inside['low']:.0f} to {100 * inside['high']:.0f}"
        assert shares[level][0] == f"{percent(inside['share'])} ({ends})"
        thirds = [percent(share["share"]) for share in each["by_volatility"].values()]
        assert [cell.split(" (")[0] for cell in shares[level][1:]] == thirds
        numbers = [each["mean_width"], each["interval_score"]]
        plainly = [plain["mean_width"], plain["interval_score"]]
        assert [float(cell) for cell in widths[level][:2]] == pytest.approx(numbers, abs=6e-4)
        assert [float(cell) for cell in widths[level][3:]] == pytest.approx(plainly, abs=6e-4)
        assert widths[level][2] == percent(plain["inside"]["share"])
    assert found["sentence"] in section


def test_intervals_that_are_too_few_or_without_end_are_shown_as_such(returns: Case) -> None:
    none = replace(returns.report, intervals=[])
    assert "No interval was judged, because" in markdown(returns.search, none)
    assert FIGURES["coverage.svg"].draw(returns.search, none) is None
    endless = [replace(each, width=math.inf, score=math.inf) for each in returns.report.intervals]
    text = markdown(returns.search, replace(returns.report, intervals=endless))
    assert "| 95 % | infinite | infinite | " in text


def test_a_range_has_no_pesaran_timmermann_test_and_a_reason(returns: Case, ranges: Case) -> None:
    assert ranges.figures["direction"]["pesaran_timmermann"] is None
    assert returns.figures["direction"]["no_pesaran_timmermann"] is None
    assert "There is no Pesaran-Timmermann test: the last range alone may" in ranges.page
    assert "Pesaran-Timmermann p" not in ranges.page
    assert "random forecasts with the same" not in ranges.page
    assert returns.figures["direction"]["pesaran_timmermann"]["moves"] == 20
    assert "Pesaran-Timmermann p: " in returns.page


def test_folds_of_the_forecasts_are_numbered_from_one(case: Case) -> None:
    table = pd.read_csv(io.BytesIO(read_artifact(case.search, case.search.best())))
    assert table["fold"].value_counts(sort=False).to_dict() == {1: 20, 2: 20}


def test_seeds_and_overtuning_are_tabled_trial_by_trial(case: Case) -> None:
    found = case.figures
    before, after = case.page.split("### Did the longer search pay off?")
    seeds, tuned = rows(before), rows(after)
    for i, trial in enumerate(found["seeds"]["trials"]):
        losses = found["seeds"]["losses"][i]
        shown = [loss(v) for v in (*losses, float(np.mean(losses)))]
        assert seeds[f"trial {trial}"][0] == f"{found['seeds']['parameters'][i]:,}"
        assert seeds[f"trial {trial}"][2:] == shown
    over = found["selection_bias"]["overtuning"]
    for i, trial in enumerate(over["trials"]):
        losses = [loss(over[key][i]) for key in ("search_losses", "holdout_losses", "overtuning")]
        relative = (
            "-"
            if over["relative_overtuning"][i] is None
            else f"{over['relative_overtuning'][i]:.2f}"
        )
        assert tuned[f"trial {trial}"] == [*losses, relative]


def test_the_backtest_is_set_beside_holding(returns: Case) -> None:
    found, table = returns.figures["backtest"], rows(returns.page)
    hold = found["buy_and_hold"]
    assert table["total return"] == [signed(v["total_return"]) for v in (found, hold)]
    assert table["maximum drawdown"] == [percent(v["max_drawdown"]) for v in (found, hold)]
    for performed, shown in zip((found, hold), table["annual Sharpe ratio"], strict=True):
        assert shown == f"{performed['sharpe']:.2f} ± {performed['sharpe_error']:.2f}"
    assert table["trades"] == [str(len(found["trades"])), "1"]
    assert table["bars in the market"] == [percent(found["exposure"]), "100.0 %"]


def test_volatility_timing_is_set_beside_a_constant_weight_and_a_rival(ranges: Case) -> None:
    page = ranges.page.split("## Volatility timing")[1].split("## Direction")[0]
    found, table = ranges.figures["volatility_timing"], rows(page)
    held = [found[name] for name in ("winner", "constant", "rival")]
    assert ranges.figures["backtest"] is None
    assert table["total return"] == [signed(each["total_return"]) for each in held]
    assert table["annual volatility"] == [percent(each["volatility"]) for each in held]
    assert table["mean weight"] == [f"{each['exposure']:.2f}" for each in held]
    assert held[0]["exposure"] == pytest.approx(held[1]["exposure"])
    assert found["rival_label"] == ranges.figures["baselines"][0]["label"]
    for constant, rival in zip(found["over_constant"], found["over_rival"], strict=True):
        fees = [f"{fee['value']:,.0f} ± {fee['error']:,.0f}" for fee in (constant, rival)]
        assert table[f"{constant['risk_aversion']:g}"] == fees


def test_the_weight_of_a_bar_is_set_by_the_forecast_of_that_bar(ranges: Case) -> None:
    (part,) = ranges.search.holdout_dataset.parts[0]
    train, valid = part.fold.train, part.fold.valid
    high_low = np.exp(part.member.series.target)
    usual = np.sqrt(np.mean(high_low[train.start : train.stop] ** 2))
    weights = np.minimum(usual / np.exp(ranges.report.forecasts) / 2, 1.0)
    closes = part.member.closes[valid.start - 1 : valid.stop]
    # Two basis points of costs; what the weight drifts to in a bar is a trade back.
    gained, drifted = [], 0.0
    for weight, move in zip(weights, closes[1:] / closes[:-1] - 1, strict=True):
        gained.append(weight * move - 0.0002 * abs(weight - drifted))
        drifted = weight * (1 + move) / (1 + gained[-1])
    expected = np.prod(1 + np.array(gained)) - 1
    winner = ranges.figures["volatility_timing"]["winner"]
    assert winner["total_return"] == pytest.approx(expected)


def test_the_page_counts_complete_and_pruned_networks(case: Case) -> None:
    bias = case.figures["selection_bias"]
    pruned = bias["trials"] - bias["complete"]
    tried = f"tried {bias['trials']} different networks: {bias['complete']} complete"
    assert f"{tried} and {pruned} pruned." in case.page


def test_overfitting_compares_the_complete_trials(returns: Case) -> None:
    bias, page = returns.figures["selection_bias"], returns.page
    assert bias["pbo_trials"] == bias["complete"] == 12
    assert f"(PBO) is {percent(bias['pbo'], 0)}: this share of" in page
    assert f"splits of {bias['pbo_blocks']} blocks of bars" in page
    assert "It compares the 12 complete trials." in page
    assert f"equally good, it would be {percent(bias['pbo_chance_level'], 0)}." in page
    assert bias["no_pbo"] is None
    assert "slope" not in page


def test_too_few_complete_trials_have_no_probability_of_overfitting(ranges: Case) -> None:
    bias, page = ranges.figures["selection_bias"], ranges.page
    complete = sum(t.state.name == "COMPLETE" for t in ranges.search.trials())
    assert bias["complete"] == complete < build.FEWEST_COMPLETE
    assert bias["pbo"] is bias["pbo_trials"] is None
    reason = (
        f"it needs at least 6 different complete networks, and there are {complete}, "
        f"beside {bias['trials'] - complete} pruned ones"
    )
    assert bias["no_pbo"] == reason
    assert f"There is no probability of overfitting: {reason}." in page


def test_missing_results_have_a_reason(ranges: Case) -> None:
    complete = ranges.search.trials()
    assert any(t.state.name == "PRUNED" for t in complete)
    for words in (
        "A range cannot be bought, but its forecast can size a position",
        "There is no deflated Sharpe ratio: a range cannot be bought.",
        "importance of the hyperparameters is not shown: at least 10 complete trials are needed",
        "Most trials are pruned; search more of them, or with search.pruner = ",
    ):
        assert words in ranges.page
    assert "PED-ANOVA" not in ranges.page


def test_importance_says_what_it_was_computed_from(returns: Case) -> None:
    assert "Optuna's PED-ANOVA from 12 complete trials: the best 5 are compared" in returns.page


def test_a_report_states_the_reason_for_each_missing_figure(returns: Case) -> None:
    assert returns.report.direction_test is not None
    bare = replace(
        returns.report,
        spa=None,
        overfitting=None,
        no_overfitting=build.why_no_overfitting(19, 12, 12),
        backtest=None,
        direction_test=replace(
            returns.report.direction_test,
            statistic=float("nan"),
            p_better=float("nan"),
            forecast_up_share=1.0,
        ),
        seed_sensitivity=replace(
            returns.report.seed_sensitivity, one_se_choice=None, one_se_bound=float("nan")
        ),
    )
    missing = {"overfitting.svg", "equity.svg"} | OF_BASKETS
    for name in missing:
        assert FIGURES[name].draw(returns.search, bare) is None
    shown = {name: DrawnFigure("title", b"", "caption") for name in set(FIGURES) - missing}
    text = markdown(returns.search, bare, shown)
    for words in (
        "at least as many as the horizon, and there are too few.",
        "no probability of overfitting: it needs at least 20 search bars, and there are 19",
        "Pesaran-Timmermann p: undefined, because all forecasts have the same sign.",
        "Every configuration diverged with at least one seed, so the one-standard-error rule",
    ):
        assert words in text
    assert not [name for name in missing if name in text]


def test_forecasts_that_are_far_too_large_have_a_report(ranges: Case) -> None:
    wild = np.full(20, 5.0)  # the logarithm of a range of e^5
    files = report_files(ranges.search, replace(ranges.report, forecasts=wild))
    (last,) = (row for name, row in rows(files["report.md"].decode()).items() if "03-01" in name)
    assert last[0] == "2.9e+66"
    assert set(files) == set(ranges.files)


def test_a_diverged_training_is_shown_as_such(returns: Case) -> None:
    losses = returns.report.seed_sensitivity.losses.copy()
    losses[-1, 0] = np.inf
    sensitivity = replace(returns.report.seed_sensitivity, losses=losses)
    report = replace(returns.report, seed_sensitivity=sensitivity)
    text = markdown(returns.search, report)
    row = rows(text.split("## Selection bias")[0])[f"trial {sensitivity.trials[-1]}"]
    assert (row[2], row[-1]) == ("diverged", "diverged")
    drawing = FIGURES["seeds.svg"].draw(returns.search, report)
    assert drawing is not None
    assert svg(drawing.figure) != returns.files["pictures/seeds.svg"]


def test_a_holdout_that_never_moves_has_a_report(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # The second fold and the holdout, and the bar before them.
    search, found = judged(tmp_path_factory, "search.trials=2", flat_bars=41, top=1)
    values, text = verdict.to_json(found), markdown(search, found)
    assert values["verdict"]["outcome"] == "undecided"
    assert values["holdout"]["skill"] is None
    lines = text.splitlines()
    assert lines[2].startswith("**Undecided: Nothing can be judged, because the target never")
    assert "Its skill against persistence is undefined, because persistence is always right" in text
    assert any(re.match(r"Fold 2 \(\S+ to \S+\): the target never moves", line) for line in lines)
    assert not re.search(r"\bnan\b|its loss is - ", text, re.IGNORECASE)
    titles = [axes.get_title(loc="left") for axes in draw_folds(search, found).figure.axes]
    assert titles[1].startswith("fold 2: skill undefined ")
    assert draw_forecasts(search, found).title.startswith("The whole holdout: skill undefined")
