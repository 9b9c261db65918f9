"""A search of a small space trains each network once, and spends its budget to the trial."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from puffin.models.training.fold_training import FoldTraining
from puffin.studies import records, summary
from puffin.studies.comparison import compare
from puffin.studies.duplicates import identity, trained
from puffin.studies.records import DUPLICATE_OF
from puffin.studies.report.build import build, trials_with_forecasts
from puffin.studies.report.markdown import to_markdown
from puffin.studies.report.page import report_page
from puffin.studies.retraining import open_seal, retrain_with_seeds
from puffin.studies.storage.optuna_internals import FIXED_PARAMS, study_id
from puffin.studies.storage.queue import count_finished
from puffin.studies.study import StoredStudy, StudyError
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker

FOUR = {
    "cell": ["lstm", "gru"],
    "layers": 1,
    "hidden_dim": [4, 8],
    "dropout": 0.1,
    "lookback": 4,
    "lr": 0.01,
}
SCORES = ("config", "best_epoch", "best_loss", "fold_losses", "skill", "direction_interval")
Make = Callable[..., StoredStudy]


@pytest.fixture
def url(new_url: Callable[[str], str]) -> str:
    """Return a new SQLite: nothing here depends on the kind of database."""
    return new_url("sqlite")


def make(make_study: Make, sampler: str, pruner: str = "none", **space: Any) -> StoredStudy:
    search = {"sampler": sampler, "pruner": pruner, "trials": 7}
    return make_study(sampler, search=search, space=FOUR | space)


def work_off(study: StoredStudy, worker: Worker) -> list[FrozenTrial]:
    while worker.step(study):
        pass
    return study.trials()


def test_search_of_four_networks_trains_each_once(
    make_study: Make,
    make_worker: Callable[..., Worker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainings: list[object] = []
    begin = FoldTraining.__init__

    def counted(*args: Any) -> None:
        trainings.append(args)
        begin(*args)

    monkeypatch.setattr(FoldTraining, "__init__", counted)
    study = make(make_study, "tpe", "asha")
    trials = work_off(study, make_worker())
    assert [t.user_attrs[records.TICKET] for t in trials] == list(range(7))
    assert count_finished(trials) == 7
    first, repeated = trials[:4], trials[4:]
    assert len(trainings) == len({identity(t.user_attrs["config"]) for t in first}) == 4
    assert trained(trials) == first
    for trial in repeated:
        original = trials[trial.user_attrs[DUPLICATE_OF]]
        assert original in first
        assert (trial.state, trial.value) == (original.state, original.value)
        assert [trial.user_attrs[key] for key in SCORES] == [
            original.user_attrs[key] for key in SCORES
        ]
        assert trial.user_attrs.get("reason") == original.user_attrs.get("reason")
        assert "run" not in trial.user_attrs, "it took no time"
    assert sum(group.trials for group in compare(study)) == 4
    assert summary.status(study).finished == 7


def test_random_search_of_a_small_space_is_independent_of_the_workers(make_study: Make) -> None:
    study, again = make(make_study, "random"), make(make_study, "random")
    points = study.sampling.initial_params
    assert points == again.sampling.initial_params
    assert len(points) == 4
    assert {(p["cell"], p["hidden_dim_0"]) for p in points} == {
        (cell, width) for cell in ("lstm", "gru") for width in (4, 8)
    }
    seeded = make_study("b", search={"sampler": "random", "seed": 3}, space=FOUR)
    assert seeded.sampling.initial_params != points


def test_a_report_counts_each_network_once(
    make_study: Make, make_worker: Callable[..., Worker]
) -> None:
    study, worker = make(make_study, "tpe"), make_worker()
    trials = work_off(study, worker)
    for again in (retrain_with_seeds(study, 9), open_seal(study, 9)):
        assert len({job.trial for job in again.record.jobs}) == 4, "each network once"
        work_off(again, worker)
    assert len(trials_with_forecasts(study)) == 4
    found = build(study)
    assert (found.n_networks, found.winner) == (4, study.best().number)
    page = " ".join(to_markdown(report_page(study, found, {})).split())
    assert "has the lowest loss of 4 complete trials. Pruned: 0. Failed: 0." in page
    assert "Duplicates, not trained again: 3." in page
    assert len(trials) == 7


def test_duplicate_is_never_the_best_trial(
    make_study: Make, make_worker: Callable[..., Worker]
) -> None:
    study, worker = make(make_study, "random", hidden_dim=4), make_worker()
    points = study.sampling.initial_params
    # The first trial waits until another one has trained the network that it asks for.
    keys = []
    for number, point in enumerate((points[0], *points)):
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            system_attrs={FIXED_PARAMS: point},
            user_attrs={records.TICKET: number},
        )
        keys.append(study.storage.create_new_trial(study_id(study.optuna_study), template))
    for key in (*keys[1:], keys[0]):
        worker._run(study, study.storage.get_trial(key))
    duplicate, original = study.trials()[:2]
    assert duplicate.user_attrs[DUPLICATE_OF] == original.number == 1
    assert duplicate.value == original.value
    assert study.best().number != 0


def test_requeued_ticket_keeps_its_network_and_epochs(
    make_study: Make, make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, interrupt = make(make_study, "tpe"), Interrupt()
    epoch = FoldTraining._run_epoch

    def stopped(training: FoldTraining) -> Any:
        interrupt._event.set()
        return epoch(training)

    with monkeypatch.context() as patch:
        patch.setattr(FoldTraining, "_run_epoch", stopped)
        make_worker(interrupt).step(study)
    trials = work_off(study, make_worker())
    given_back, resumed = (t for t in trials if t.user_attrs[records.TICKET] == 0)
    assert given_back.state == TrialState.FAIL
    assert resumed.user_attrs["run"]["resumed_after"] == 1
    assert resumed.user_attrs["config"] == given_back.user_attrs["config"]
    assert len(trained(t for t in trials if t.state == TrialState.COMPLETE)) == 4
    assert count_finished(trials) == 7


def test_what_diverged_is_repeated_as_infeasible(
    make_study: Make, make_worker: Callable[..., Worker]
) -> None:
    study = make(make_study, "tpe", lr=1e30, hidden_dim=4)
    trials = work_off(study, make_worker())
    assert [t.state for t in trials] == [TrialState.PRUNED] * 7
    assert [t.constraints for t in trials] == [{"finite_loss": 1.0}] * 7
    assert sum(summary.failure_reasons(study).values()) == 2, "of two networks"
    with pytest.raises(StudyError) as caught:
        study.best()
    assert str(caught.value) == (
        "study 'tpe' has found nothing: none of its 7 trials is complete (7 diverged): lower "
        "space.lr, and start a study with another name (--set name=...)"
    )
