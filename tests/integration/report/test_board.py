"""What the dashboard shows of a search and its retraining, and what it counts."""

import json
from typing import Any

import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from puffin.studies import summary
from puffin.studies.board.note import study_note
from puffin.studies.board.plots import draw_plots
from puffin.studies.records import Scores, VerdictRecord, WalkRecord
from puffin.studies.report.build import Report
from puffin.studies.report.document import Items
from puffin.studies.report.page import report_page
from puffin.studies.report.stored import store_report
from puffin.studies.report.verdict import sentences
from puffin.studies.storage.tally import tallies
from puffin.studies.study import StoredStudy, load
from puffin.tuner.dashboard.home import study_lines


def test_the_note_names_the_best_trial_and_the_command_that_judges_it(
    searched: StoredStudy,
) -> None:
    note, best = study_note(searched), searched.best()
    assert f"trial {best.number}: {best.params['cell']} " in note
    assert "8 of 8 trials done: 8 complete, 0 pruned, 0 failed." in note
    assert "the holdout of 20 bars is sealed" in note
    assert "`tuner report tiny` judges the best on the sealed holdout" in note
    assert searched.record.data.sha256["prices-search.csv"][:12] in note


def test_the_plots_show_the_losses_and_forecasts_of_the_best_trial(searched: StoredStudy) -> None:
    plots, best = draw_plots(searched), searched.best()
    json.dumps(plots, allow_nan=False)
    steps = plots["skill"]["data"][1]["y"]
    assert steps == sorted(steps)
    assert steps[-1] == pytest.approx(100 * Scores.read(best).skill, abs=0.01)
    losses = Scores.read(best).fold_losses
    shown = plots["folds"]["data"][0]["y"]
    assert shown == pytest.approx(
        [
            100 * (1 - a / b)
            for a, b in zip(losses, searched.record.persistence_losses, strict=True)
        ],
        abs=0.01,
    )
    names = [line["name"] for line in plots["forecasts"]["data"]]
    assert names == ["actual", "persistence", "forecast"]
    assert {len(line["y"]) for line in plots["forecasts"]["data"]} == {2 * 20}


def test_a_search_without_a_complete_trial_has_a_note_and_no_plots(make_study: Any) -> None:
    study = make_study("empty")
    assert draw_plots(study) == {}
    assert "No trial is complete yet" in study_note(study)
    assert "`tuner worker --study empty` continues the search" in study_note(study)


def test_the_database_counts_as_the_status_does(searched: StoredStudy) -> None:
    state, tally = summary.status(searched), tallies(searched.storage)["tiny"]
    assert tally.finished == state.finished == 8
    assert tally.states["complete"] == state.complete
    assert (tally.best_trial, tally.best_loss) == (state.best_trial, state.best_loss)
    assert tally.best_attrs["skill"] == state.best_skill


def test_a_requeued_trial_is_not_counted_as_failed(make_study: Any, storage: RDBStorage) -> None:
    queue = make_study().queue
    lost, failed = (queue.start_next([]) for _ in range(2))
    queue.requeue(lost._trial_id)
    storage.set_trial_user_attr(failed._trial_id, "failure", "ValueError: no")
    storage.set_trial_state_values(failed._trial_id, state=TrialState.FAIL)
    tally = tallies(storage)["tiny"]
    assert (tally.finished, tally.states["failed"]) == (1, 1)


def test_a_stored_report_is_shown_until_another_trial_is_the_best(
    searched: StoredStudy, judged: Report
) -> None:
    (line,) = study_lines(searched.storage, [])
    assert (line.state, line.outcome, line.report) == ("searched", "", "")
    for page in (b"first", b"second"):
        store_report(searched, judged, page)
    study = load(searched.storage, "tiny")
    verdict = VerdictRecord.read(study.optuna_study)
    assert verdict is not None
    assert study.store.read(verdict.page) == b"second"
    assert list(verdict.sentences) == sentences(judged)
    assert "Verdict on the sealed holdout" in study_note(study)
    (line,) = study_lines(study.storage, [])
    assert (line.state, line.outcome, line.report) == (
        "judged",
        judged.comparison.outcome,
        "/reports/tiny",
    )
    VerdictRecord(judged.winner + 1, "better", (), verdict.page).write(study.optuna_study)
    (line,) = study_lines(study.storage, [])
    assert (line.state, line.outcome, line.report) == ("searched", "", "/reports/tiny")
    assert "Verdict on the sealed holdout" not in study_note(load(study.storage, "tiny"))


def test_report_and_note_show_the_last_walk(searched: StoredStudy, judged: Report) -> None:
    assert "The walk" not in [s.title for s in report_page(searched, judged, {}).sections]
    WalkRecord("better", ("It pays.", "On 3 of 4 blocks."), "page").write(searched.optuna_study)
    (section,) = [s for s in report_page(searched, judged, {}).sections if s.title == "The walk"]
    assert Items(("It pays.", "On 3 of 4 blocks.")) in section.blocks
    note = study_note(searched)
    assert "It pays. On 3 of 4 blocks.\n\n[The walk](/walks/tiny)" in note
    (line,) = study_lines(searched.storage, [])
    assert (line.walk, line.walk_outcome) == ("/walks/tiny", "better")
