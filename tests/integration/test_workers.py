"""Two workers serve every sampler with every pruner; each ticket finishes exactly once."""

import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState

from puffin.models.config import Config
from puffin.studies import records, versions
from puffin.studies.algorithms import PRUNERS, SAMPLERS
from puffin.studies.lifecycle import submit
from puffin.studies.space import suggest
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.optuna_internals import running_trial, study_id
from puffin.studies.storage.queue import count_by_state
from puffin.studies.study import StoredStudy, load
from tests.integration.helpers import TUNER, Start, aapl, spec_of, spent

PAIRS = [(s, p) for s in SAMPLERS for p in PRUNERS if s != "gp" or p == "none"]


# Samplers that learn do so after ten trials.
BUDGET = {"tpe": 12, "gp": 11, "random": 6, "grid": 12}


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(getattr(request, "param", "sqlite"))


@dataclass
class Fleet:
    url: str
    workers: list[Any]
    codes: list[int]

    def handle(self, name: str) -> StoredStudy:
        return load(open_storage(self.url), name)


@pytest.fixture(scope="module")
def fleet(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Every sampler with every pruner, and a study that diverges, served by a pool of two."""
    url = f"sqlite:///{tmp_path_factory.mktemp('fleet') / 'fleet.db'}"
    storage = open_storage(url, create=True)
    specs = [
        spec_of(f"{s}-{p}", search={"sampler": s, "pruner": p, "trials": BUDGET[s]})
        for s, p in PAIRS
    ]
    hot = {"lr": {"low": 1e30, "high": 1e31, "log": True}, "cell": ["lstm", "gru"]}
    specs.append(spec_of("diverges", space=hot, search={"trials": 4}))
    for spec in specs:
        submit(storage, spec, aapl(spec))
    workers = [start(url, TUNER, "worker") for _ in range(2)]
    return Fleet(url, workers, [worker.end(120) for worker in workers])


def test_each_worker_logs_a_line_per_trial_and_ends_with_0(fleet: Fleet) -> None:
    assert fleet.codes == [0, 0], [worker.said for worker in fleet.workers]
    assert [worker.printed for worker in fleet.workers] == ["", ""]
    packages = versions.installed_versions().items()
    listed = ", ".join(f"{name} {number}" for name, number in packages)
    written: Counter[str] = Counter()
    for worker in fleet.workers:
        prefix = f" INFO {socket.gethostname()}:{worker.process.pid}"
        events = [line.partition(prefix)[2] for line in worker.said.splitlines()]
        assert events[0] == f": starts on cpu, {fleet.url}; {listed}"
        assert events[-1].startswith(": ends after ")
        assert events[-1].endswith(" 0 failed; no work is left")
        trials = [event.replace(", new best", "") for event in events if " trial " in event]
        assert sum(": begins: " in event for event in trials) == len(trials) // 2
        written.update(event for event in trials if ": begins: " not in event)
    ended = {
        f" {name} trial {t.number}: {t.state.name.lower()}, "
        f"loss {t.user_attrs['best_loss']:#.4g} at epoch {t.user_attrs['best_epoch']}, "
        for name in ("tpe-asha", "grid-none")
        for t in spent(fleet.handle(name)).values()
    }
    lines = [line for line in written if line.startswith((" tpe-asha ", " grid-none "))]
    assert {line.partition("skill ")[0] for line in lines} == ended
    assert set(written.values()) == {1}
    assert len(written) == sum(BUDGET[s] for s, _ in PAIRS) + 4


@pytest.mark.parametrize(("sampler", "pruner"), PAIRS)
def test_every_ticket_finishes_once_with_any_sampler_and_pruner(
    fleet: Fleet, sampler: str, pruner: str
) -> None:
    study = fleet.handle(f"{sampler}-{pruner}")
    trials = spent(study)
    states = Counter(t.state for t in trials.values())
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert states[TrialState.COMPLETE] >= 1
    assert len(study.trials()) == BUDGET[sampler], "no other trial may be there"
    assert all(t.params and t.intermediate_values for t in trials.values())
    if pruner == "none":
        assert states[TrialState.PRUNED] == 0


def test_two_workers_share_the_trials(fleet: Fleet) -> None:
    pids = Counter(
        int(t.user_attrs[records.WORKER].split(":")[-1])
        for sampler, pruner in PAIRS
        for t in spent(fleet.handle(f"{sampler}-{pruner}")).values()
    )
    assert set(pids) == {worker.process.pid for worker in fleet.workers}
    assert min(pids.values()) > len(PAIRS)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_two_workers_run_each_grid_point_once(fleet: Fleet, pruner: str) -> None:
    trials = spent(fleet.handle(f"grid-{pruner}")).values()
    points = [
        (len(c["hidden_dims"]), c["hidden_dims"][0], c["dropout"], c["lookback"])
        for c in (t.user_attrs["config"] for t in trials)
    ]
    one = [(1, width, 0.0, lookback) for width in (4, 8) for lookback in (3, 5)]
    two = [(2, w, drop, lb) for w in (4, 8) for drop in (0.1, 0.3) for lb in (3, 5)]
    assert sorted(points) == sorted(one + two)


def test_a_trial_records_configuration_scores_run_and_forecasts(fleet: Fleet) -> None:
    study = fleet.handle("tpe-asha")
    trials = spent(study).values()
    assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in trials:
        attrs = trial.user_attrs
        curve = trial.intermediate_values
        fixed = optuna.trial.FixedTrial(trial.params)
        assert Config.from_dict(attrs["config"]) == suggest(fixed, study.spec.parsed_space)
        assert list(curve) == list(range(1, attrs["run"]["epochs"] + 1))
        assert attrs["best_loss"] == min(curve.values()) == curve[attrs["best_epoch"]]
        assert attrs["best_loss"] == pytest.approx(sum(attrs["fold_losses"]) / 2, rel=1e-12)
        assert attrs["run"]["targets_sha256"] == study.record.targets_sha256
        metas = get_all_artifact_meta(trial, storage=study.storage)
        assert [m.filename for m in metas] == ["forecasts.csv"]
        body = study.store.open_reader(metas[0].artifact_id).read().decode()
        assert len(body.splitlines()) == 1 + 2 * 20
        if trial.state == TrialState.COMPLETE:
            assert trial.value == attrs["best_loss"]
        else:
            assert attrs["reason"] == f"pruned at epoch {attrs['run']['epochs']}"


def test_pruned_trials_feed_the_sampler(fleet: Fleet) -> None:
    study = fleet.handle("tpe-asha")
    states = Counter(t.state for t in study.trials())
    assert states[TrialState.COMPLETE] < 10 <= sum(states.values()), "TPE starts after ten trials"
    study.optuna_study.sampler = study.sampling.sampler_of(99)
    key = study.storage.create_new_trial(study_id(study.optuna_study))
    trial = running_trial(study.optuna_study, key)
    assert {"cell", "layers", "lr", "lookback"} <= set(trial.relative_params or {})
    study.optuna_study.tell(trial, state=TrialState.FAIL)


def test_diverged_trials_are_pruned_as_infeasible(
    fleet: Fleet,
) -> None:
    trials = spent(fleet.handle("diverges")).values()
    assert len(trials) == 4
    for trial in trials:
        assert trial.state == TrialState.PRUNED
        assert trial.user_attrs["reason"].startswith("diverged: the loss is ")
        assert trial.constraints == {"finite_loss": 1.0}
        assert trial.params


def test_two_processes_compute_bit_for_bit_identical_losses(start: Start, tmp_path: Path) -> None:
    spec = spec_of("twin", search={"sampler": "random", "pruner": "none", "trials": 6})
    urls = [f"sqlite:///{tmp_path / name}.db" for name in ("early", "late")]
    early = start(urls[0], TUNER, "worker", "--study", "twin")
    early.until(lambda: "waiting for it" in early.said, "it says that it waits")
    submit(open_storage(urls[1], create=True), spec, aapl(spec))
    late = start(urls[1], TUNER, "worker", "--study", "twin")
    other = spec_of("another", search={"trials": 2})
    submit(open_storage(urls[0], create=True), other, aapl(other))  # the file, but not the study
    time.sleep(1.5)
    assert early.process.poll() is None, early.said
    submit(open_storage(urls[0]), spec, aapl(spec))
    assert [program.end(60) for program in (early, late)] == [0, 0]
    twins = [spent(load(open_storage(url), "twin")) for url in urls]
    assert count_by_state(load(open_storage(urls[0]), "another").trials()) == {}
    kept: list[list[Any]] = [[], []]
    for side, trials in zip(kept, twins, strict=True):
        for number in range(6):
            trial = trials[number]
            attrs = trial.user_attrs
            curve = [loss.hex() for loss in trial.intermediate_values.values()]
            folds = [loss.hex() for loss in attrs["fold_losses"]]
            side.append([attrs["config"], folds, curve, attrs["best_epoch"]])
    assert kept[0] == kept[1]
    pids = [
        {int(t.user_attrs[records.WORKER].split(":")[-1]) for t in trials.values()}
        for trials in twins
    ]
    assert pids == [{early.process.pid}, {late.process.pid}]
    assert len({str(folds) for _, folds, *_ in kept[0]}) > 1, "the trials must differ"
