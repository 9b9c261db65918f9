"""A report states what the search and the holdout show of the winner."""

import contextlib
import json
import math
from collections.abc import Callable, Container
from copy import copy as copy_trial
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from click.testing import CliRunner
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from safetensors.torch import load_file

import puffin.studies.copy
import puffin.tuner.worker.refit
import puffin.tuner.worker.worker
from puffin.models.config import Config
from puffin.models.evaluation.long_run import LongRunTest
from puffin.models.evaluation.outcome import MARGIN
from puffin.models.evaluation.sharpe import expected_max_sharpe
from puffin.models.networks.rnn import build_network
from puffin.models.training.fold_training import forecast_windows
from puffin.studies.export import write
from puffin.studies.export.read import load_exported
from puffin.studies.lifecycle import _delete_all, delete, submit
from puffin.studies.prices.load import Prices
from puffin.studies.records import RETRAINED_TRIAL, RetrainingJob, VerdictRecord
from puffin.studies.report import build, verdict
from puffin.studies.report.build import Report
from puffin.studies.report.files import report_files
from puffin.studies.retraining import open_seal
from puffin.studies.seeds import one_se_choice
from puffin.studies.spec import Spec, parse_spec
from puffin.studies.storage import registry
from puffin.studies.storage.database import transaction
from puffin.studies.storage.queue import count_finished
from puffin.studies.study import StoredStudy, StudyError, load, study_names
from puffin.tuner.cli import main
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.judging import judge
from tests.leads import lead


def test_the_judged_winner_is_the_exported_one(
    judged: Report, searched: StoredStudy, tmp_path: Path
) -> None:
    folder = write.export(searched, tmp_path / "best")
    opened = searched.holdout_dataset
    config = Config.from_dict(judged.config)
    (fold,) = opened.tensors(config.lookback, torch.device("cpu"))
    weights, runs = load_file(folder / write.WEIGHTS_FILE), []
    for own in ("members.0.", "members.1.", "members.2."):
        network = build_network(config, opened.inputs)
        network.load_state_dict(
            {name.removeprefix(own): w for name, w in weights.items() if name.startswith(own)}
        )
        runs.append(forecast_windows(network, fold.valid.inputs))
    of_each = [float(((run - fold.valid.outputs) ** 2).mean()) for run in runs]
    assert judged.network_losses == pytest.approx(of_each, rel=1e-6)
    loss = float(((sum(runs) / 3 - fold.valid.outputs) ** 2).mean())
    assert loss == pytest.approx(judged.loss, rel=1e-6)
    assert loss < max(of_each)
    persistence = opened.persistence_losses[0]
    # Of a skill near zero a rounding of the loss is a larger share: it is held to the loss judged.
    assert judged.skill == pytest.approx(1 - judged.loss / persistence, rel=1e-12)


def test_report_json_has_the_figures_of_the_verdict(judged: Report) -> None:
    values = json.loads(json.dumps(verdict.to_json(judged), allow_nan=False))
    what = values["forecast_of"]
    assert (what["symbols"], what["target"], what["horizon"]) == (["AAPL"], "return", 1)
    assert what["target_in_words"] == "the return of AAPL over the next bar"
    assert (what["bars"], what["features"], len(what["folds"])) == (440, ["return"], 2)
    assert what["holdout"]["bars"] == 20
    assert {"puffin-tuner", "optuna", "torch"} <= set(what["made_with"])
    assert values["verdict"]["outcome"] == judged.comparison.outcome
    assert values["verdict"]["margin"] == MARGIN
    assert values["holdout"]["most_skill"] == pytest.approx(judged.comparison.evidence.most_skill)
    assert values["holdout"]["openings"] == 1
    assert values["holdout"]["loss"] == judged.loss
    assert values["holdout"]["skill"] == judged.skill
    assert 0 <= values["selection_bias"]["pbo"] <= 1
    deflated = values["selection_bias"]["deflated_sharpe"]
    held = judged.deflated_sharpe
    assert held is not None
    assert deflated is None if math.isnan(held.probability) else 0 <= deflated <= 1
    assert values["backtest"]["buy_and_hold"]["total_return"] is not None
    assert values["verdict"]["sentences"] == verdict.sentences(judged)
    losses = [b["search_loss"] for b in values["baselines"]]
    assert losses == sorted(losses)
    assert "nobody had looked at these bars before" in values["verdict"]["sentences"][2]


def test_pruned_trials_count_as_tried_but_not_as_complete(
    judged: Report, searched: StoredStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = build.trials_with_forecasts(searched)
    pruned = [copy_trial(trial) for trial, _ in trials]
    for trial in pruned:
        trial.state = TrialState.PRUNED
    worse = [(t, [f + 0.01 for f in own]) for t, (_, own) in zip(pruned, trials, strict=True)]
    monkeypatch.setattr(build, "trials_with_forecasts", lambda _: [*worse, *trials])
    found = build.build(searched)
    assert (found.n_networks, found.n_complete) == (2 * judged.n_networks, judged.n_complete)
    assert judged.overfitting is not None
    assert found.overfitting is not None
    assert found.overfitting.trials == judged.n_complete
    assert found.overfitting.logits.tolist() == judged.overfitting.logits.tolist()
    assert judged.deflated_sharpe is not None
    assert found.deflated_sharpe is not None
    assert found.deflated_sharpe.trials == 2 * judged.deflated_sharpe.trials == found.n_networks
    spread = judged.deflated_sharpe.threshold / expected_max_sharpe(1.0, judged.n_networks)
    expected = spread * expected_max_sharpe(1.0, found.n_networks)
    assert found.deflated_sharpe.threshold == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (lead(0.5, 0.01), lead(0.4, 0.04), "better"),
        (lead(0.05, 0.01), lead(-0.05, 0.6), "undecided"),
        (lead(0.001, 0.4), lead(0.1, 0.01), "no better"),
        (lead(-0.5, 0.99), lead(-0.6, 0.9), "worse"),
    ],
)
def test_the_report_says_what_the_tests_say(
    judged: Report, first: LongRunTest, second: LongRunTest, outcome: str
) -> None:
    kept = judged.comparison.reference
    rival = replace(kept, name="ridge", label="rival", holdout_losses=np.ones(20), test=first)
    other = replace(rival, name="ar", label="other", test=second)
    comparison = replace(judged.comparison, loss=1 - first.mean, baselines=[rival, other])
    found = replace(judged, comparison=comparison)
    assert comparison.outcome == outcome
    assert verdict.sentences(found)[0].startswith(f"{outcome.capitalize()}: forecasts of the ")
    assert verdict.to_json(found)["verdict"]["outcome"] == outcome


def test_a_range_has_no_backtest(url: str, storage: RDBStorage, tiny: Spec, prices: Prices) -> None:
    values = tiny.to_json()
    values["data"] |= {"target": "range", "features": ["range"]}
    values["search"] |= {"pruner": "none", "trials": 3}
    study = submit(storage, parse_spec(values, "tiny"), prices)
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    found = judge(study, url, top=1)
    assert (found.backtest, found.deflated_sharpe) == (None, None)
    assert verdict.to_json(found)["selection_bias"]["deflated_sharpe"] is None
    assert verdict.sentences(found)[1].startswith("Volatility timing, ")


def test_a_diverged_retraining_fails_only_the_report_on_its_trial(
    searched: StoredStudy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second best diverges on the holdout, then one network of the winner, then all."""
    whole = judge(searched, url, top=2)
    winner, second = whole.seed_sensitivity.trials
    holdout = load(searched.storage, "tiny.holdout")
    real = puffin.tuner.worker.refit.run_refit

    def diverging(number: int, seeds: Container[int]) -> Callable[..., float]:
        def run(trial: optuna.Trial, rerun: RetrainingJob, *args: Any) -> float:
            value = real(trial, rerun, *args)
            if rerun.trial == number and rerun.seed in seeds:
                raise puffin.tuner.worker.refit.DivergedError(
                    "diverged: the loss on the holdout is nan"
                )
            return value

        return run

    every = range(3)
    for number, seeds in ((second, every), (winner, [1]), (winner, every)):
        delete_holdout(searched)
        monkeypatch.setattr(puffin.tuner.worker.worker, "run_refit", diverging(number, seeds))
        holdout = open_seal(searched, top=2)
        work(url, Interrupt(), WorkerOptions(holdout.name, device="cpu"))
        if number == second:
            found = build.build(searched)
            assert set(found.refits.trial) == set(whole.refits.trial) - {second}
            assert found.loss == whole.loss
            assert second not in found.overtuning.trials
        elif seeds != every:
            kept = whole.network_losses[::2]
            assert build.build(searched).network_losses == kept
        else:
            expected = f"every refit of trial {winner} of study 'tiny' failed: DivergedErr"
            with pytest.raises(StudyError, match=expected):
                build.build(searched)


def delete_holdout(searched: StoredStudy) -> None:
    """Delete the record that the seal was opened; no command does this."""
    storage, name = searched.storage, searched.name + ".holdout"
    with pytest.raises(StudyError, match=r"belongs to study 'tiny' and records when its seal was"):
        delete(storage, name)
    with transaction(storage) as connection:
        creation_id = registry.close(connection, name)
    _delete_all(storage, {name: str(creation_id)})


def test_points_of_a_grid_are_retrained_unchanged(
    url: str, storage: RDBStorage, tiny: Spec, prices: Prices
) -> None:
    values = tiny.to_json()
    values["search"] = {"sampler": "grid", "pruner": "none", "seed": 0}
    values["space"] = {"cell": "lstm", "layers": 1, "hidden_dim": 4, "lr": [0.001, 0.01]}
    searched = submit(storage, parse_spec(values, "tiny"), prices)
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    found = judge(searched, url, top=2)
    assert len(found.refits) == 2 * 3
    assert {t.user_attrs["config"]["lr"] for t in load(storage, "tiny.holdout").trials()} == {
        0.001,
        0.01,
    }


def test_a_horizon_longer_than_the_search_has_a_report(
    url: str, make_study: Callable[..., StoredStudy]
) -> None:
    searched = make_study(
        data={"horizon": 45},
        walk_forward={"holdout_bars": 60},
        search={"pruner": "none", "trials": 2},
    )
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    found = judge(searched, url, top=1)
    assert (found.spa, found.deflated_sharpe, found.backtest) == (None, None, None)
    assert found.no_deflated_sharpe == (
        "it needs at least 3 returns that do not overlap, and the search bars have only 1"
    )
    assert "this study forecasts 45 bars ahead" in verdict.sentences(found)[1]
    page = report_files(searched, found)["report.md"].decode()
    assert "too few" in page


def test_seed_ranks_and_the_one_standard_error_choice(
    judged: Report, searched: StoredStudy
) -> None:
    seeds = load(searched.storage, "tiny.seeds")
    spread = judged.seed_sensitivity
    assert spread.seeds == [1, 2]
    assert spread.trials[0] == judged.winner
    by_hand = {
        (t.user_attrs[RETRAINED_TRIAL], t.user_attrs["seed"]): t.value
        for t in seeds.trials()
        if t.state == TrialState.COMPLETE
    }
    expected = [[by_hand[number, seed] for seed in (1, 2)] for number in spread.trials]
    assert spread.losses.tolist() == expected
    columns = list(zip(*expected, strict=True))
    assert spread.ranks.tolist() == [1 + sum(v < c[0] for v in c) for c in columns]
    means = {n: float(np.mean(row)) for n, row in zip(spread.trials, expected, strict=True)}
    lowest = min(means, key=lambda n: means[n])
    row = expected[spread.trials.index(lowest)]
    bound = means[lowest] + abs(row[0] - row[1]) / 2  # the standard error of two
    assert spread.one_se_bound == pytest.approx(bound)
    sizes = dict(zip(spread.trials, spread.parameters, strict=True))
    within = [n for n in spread.trials if means[n] <= bound]
    assert spread.one_se_choice == min(within, key=lambda n: (sizes[n], means[n]))
    assert one_se_choice(searched).number == spread.one_se_choice
    # The search's own seed is none of them: with it the loss is the trial's to the last bit.
    assert judged.search_loss not in expected[0]


def test_another_trial_is_judged_and_exported_beside_the_best(
    judged: Report, searched: StoredStudy, url: str, tmp_path: Path
) -> None:
    second, storage = judged.seed_sensitivity.trials[1], ["--storage", url]
    chosen = ["--trial", str(second), *storage]
    with contextlib.chdir(tmp_path):
        done = CliRunner().invoke(main, ["report", "tiny", "--top", "3", "--json", *chosen])
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert values["winner"]["trial"] == second
    of_second = judged.refits[judged.refits.trial == second]
    of_each = pytest.approx(of_second.sort_values("seed").loss.tolist())
    assert values["holdout"]["network_losses"] == of_each
    assert values["holdout"]["openings"] == 2
    assert VerdictRecord.read(load(searched.storage, "tiny").optuna_study) is None
    folder = tmp_path / "second"
    done = CliRunner().invoke(main, ["export", "tiny", str(folder), *chosen])
    assert done.exit_code == 0, done.output
    exported = load_exported(folder)
    assert (exported.record.trial, exported.record.refit.seeds) == (second, [0, 1, 2])
    assert exported.record.holdout is not None
    assert exported.record.holdout.loss == values["holdout"]["loss"]
    printed = CliRunner().invoke(main, ["best", "tiny", "--format", "json", *chosen]).stdout
    assert json.loads(printed)["trial"] == second


def test_forecasts_in_a_file_are_judged_in_every_later_report(
    judged: Report, searched: StoredStudy, url: str, tmp_path: Path
) -> None:
    listed = CliRunner().invoke(main, ["targets", "tiny", "--storage", url])
    header, *dates = listed.stdout.splitlines()
    assert (header, len(dates)) == ("date", 20)
    assert "20 targets: the return of AAPL over the next bar" in " ".join(listed.stderr.split())
    (actual,) = searched.holdout_dataset.actuals
    rows = [f"{date},{value}" for date, value in zip(dates, actual + 0.001, strict=True)]
    (tmp_path / "near.csv").write_text("\n".join(["date,forecast", *rows]))
    given = ["judge", "tiny", "--out", "pages", "--json", "--storage", url, "--forecasts"]
    with contextlib.chdir(tmp_path):
        first, again = (CliRunner().invoke(main, [*given, "near.csv"]) for _ in range(2))
    assert first.exit_code == again.exit_code == 0, first.output
    assert again.stdout == first.stdout
    values = json.loads(first.stdout)
    (near,) = values["outside"]
    scale = searched.holdout_dataset.parts[0][0].scaler.target_std
    assert near["loss"] == pytest.approx((0.001 / scale) ** 2)
    assert near["trained_until"] is None
    assert near["may_have_seen"]
    # The same file with the same claim is judged once.
    assert values["holdout"]["openings"] == 2
    assert values["verdict"]["outcome"] == judged.comparison.outcome
    said = values["verdict"]["sentences"][-1]
    assert said.startswith("The outside forecast near had significantly less error than the win")
    assert said.endswith("; its model may have seen these bars.")
    page = (tmp_path / "pages/report.md").read_text()
    assert "## Outside forecasts" in page
    assert "outside forecast near" in page
    later = build.build(load(searched.storage, "tiny"))
    assert [result.name for result in later.outside] == ["near"]


def test_a_file_that_lacks_a_target_opens_nothing(
    searched: StoredStudy, url: str, tmp_path: Path
) -> None:
    (tmp_path / "short.csv").write_text("date,forecast\n2012-01-02,0\n")
    path = str(tmp_path / "short.csv")
    said = CliRunner().invoke(main, ["judge", "tiny", "--forecasts", path, "--storage", url])
    assert said.exit_code == 1
    assert "lacks 20 forecasts of 20" in said.output
    assert study_names(searched.storage) == ["tiny"]


def test_the_report_judges_the_smallest_network_by_the_rule_1se(
    judged: Report, url: str, tmp_path: Path
) -> None:
    smallest = judged.seed_sensitivity.one_se_choice
    command = ["report", "tiny", "--top", "3", "--rule", "1se", "--json", "--storage", url]
    with contextlib.chdir(tmp_path):
        done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["winner"]["trial"] == smallest


@pytest.mark.parametrize("command", [("best",), ("report",), ("export", "folder")])
def test_a_trial_that_is_not_there_or_not_complete_cannot_be_chosen(
    command: tuple[str, ...], searched: StoredStudy, url: str, tmp_path: Path
) -> None:
    name, *rest = command
    given = [name, "tiny", *rest, "--storage", url, "--trial"]
    with contextlib.chdir(tmp_path):
        unknown = CliRunner().invoke(main, [*given, "99"])
    assert unknown.exit_code == 1
    assert "study 'tiny' has no trial 99; `tuner trials tiny` lists them" in unknown.output
    searched.optuna_study.enqueue_trial({})
    with contextlib.chdir(tmp_path):
        waiting = CliRunner().invoke(main, [*given, str(len(searched.trials()) - 1)])
    assert "is waiting, but only a complete trial can be chosen" in waiting.output
    assert study_names(searched.storage) == ["tiny"]


def test_an_unwritable_folder_is_refused_before_the_seal_opens(
    searched: StoredStudy, url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "pages")
    said = CliRunner().invoke(main, ["report", "tiny", "--out", out, "--storage", url])
    assert said.exit_code == 1
    assert f"cannot write the report to {out}: Not a directory; choose another" in said.output
    assert study_names(searched.storage) == ["tiny"]


def test_the_command_trains_once_and_prints_a_finished_report_again(
    searched: StoredStudy, url: str, tmp_path: Path
) -> None:
    pages = tmp_path / "pages"
    options = ["--workers", "1", "--top", "1", "--out", str(pages)]
    command = ["report", "tiny", *options, "--storage", url]
    first = CliRunner().invoke(main, command)
    assert first.exit_code == 0, first.output
    assert "the holdout of study tiny is open" in first.stderr
    written = {path: path.stat().st_mtime_ns for path in pages.rglob("*")}
    count = len(list((pages / "pictures").iterdir()))
    done = f"wrote {pages}/report.html, report.md, report.json and {count} figures"
    assert first.stderr.splitlines()[-1] == done

    again = CliRunner().invoke(main, [*command, "--json"])
    assert again.exit_code == 0, again.output
    message = "the report of study tiny is finished: nothing is trained or opened again"
    assert again.stderr.splitlines() == [message]
    assert {path: path.stat().st_mtime_ns for path in pages.rglob("*")} == written
    values = json.loads(again.stdout)
    assert values["holdout"]["openings"] == 1
    assert all(sentence in first.stdout for sentence in values["verdict"]["sentences"])
    assert all(f"\n{b['label']} " in first.stdout for b in values["baselines"])
    assert json.loads((pages / "report.json").read_text("utf-8")) == values
    holdout = load(searched.storage, "tiny.holdout")
    assert count_finished(holdout.trials()) == len(values["refits"])
