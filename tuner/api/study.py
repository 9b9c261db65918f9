"""A study for scripts and notebooks: its trials as DataFrames, figures, report and export."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from puffin.models.features import TARGETS
from puffin.studies import summary
from puffin.studies.export.write import export
from puffin.studies.frames import curves_frame, forecasts_frame, trials_frame
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, loss, signed
from puffin.tuner.api import plots
from puffin.tuner.api.forecaster import Forecaster, load_forecaster
from puffin.tuner.api.html import table
from puffin.tuner.api.report import Report, judge
from puffin.tuner.api.workers import work_on


class Study:
    """A search in a database. Everything is read when it is asked for.

    Use `puffin.search` or `puffin.open_study` to get one.
    """

    def __init__(self, stored: StoredStudy, storage: str) -> None:
        self._stored = stored
        self._storage = storage

    @property
    def name(self) -> str:
        """Name of the study."""
        return self._stored.name

    @property
    def status(self) -> summary.Status:
        """State of the study: trials done, workers, the best so far, time left."""
        return summary.status(self._stored)

    @property
    def trials(self) -> pd.DataFrame:
        """A row for each trial: state, loss, skill, epochs, seconds and configuration."""
        return trials_frame(self._stored)

    @property
    def best(self) -> "pd.Series[Any]":
        """The row of the complete trial with the lowest loss.

        Raises
        ------
        StudyError
            If no trial is complete.
        """
        return self.trials.T[self._stored.best().number]

    def curves(self) -> pd.DataFrame:
        """Return the validation loss of each trial (column) after each epoch (row)."""
        return curves_frame(self._stored)

    def forecasts(self, trial: int | None = None) -> pd.DataFrame:
        """Return the forecasts of a trial on the validation part of each fold.

        Parameters
        ----------
        trial : int, optional
            Its number; the best by default.

        Raises
        ------
        StudyError
            If there is no such trial, or it has stored no forecasts.
        """
        return forecasts_frame(self._stored, self._number(trial))

    def report(self, *, workers: int | None = None, device: str = "auto", top: int = 5) -> Report:
        """Judge the best trial on the holdout, which this opens, as ``tuner report`` does.

        The opening is recorded, and the verdict is worth less the more often one looks. A finished
        report is returned again without any training.

        Parameters
        ----------
        workers, device
            As of `puffin.search`.
        top : int
            Best configurations that are trained again, on the folds and for the holdout.

        Raises
        ------
        StudyError
            If the search is not done.
        """
        return judge(
            self._stored, lambda study: work_on(study, self._storage, workers, device), top
        )

    def export(self, folder: str | Path) -> Forecaster:
        """Export the best trial into a folder, and return its forecaster.

        Raises
        ------
        PuffinError
            If no trial is complete, or the folder holds other files.
        """
        return load_forecaster(export(self._stored, Path(folder)))

    def plot_history(self) -> Figure:
        """Draw the loss of each trial and the lowest so far."""
        return plots.history(self.trials, self._title)

    def plot_curves(self) -> Figure:
        """Draw the validation loss of each trial over the epochs, the best in colour."""
        return plots.curves(self.curves(), self._stored.best().number, self._title)

    def plot_folds(self) -> Figure:
        """Draw the loss of the best trial on each fold beside that of persistence."""
        best = self._stored.best()
        losses = summary.best_record(self._stored)["scores"]["fold_losses"]
        return plots.folds(losses, self._stored.dataset.persistence_losses, best.number)

    def plot_forecasts(self, trial: int | None = None, fold: int | None = None) -> Figure:
        """Draw forecasts beside what came, of one fold, by default the last."""
        number = self._number(trial)
        unit = TARGETS[self._stored.spec.data.target].unit
        return plots.forecasts(self.forecasts(number), fold, number, unit)

    def _number(self, trial: int | None) -> int:
        return self._stored.best().number if trial is None else trial

    @property
    def _title(self) -> str:
        return f"{self.name}: loss on the validation parts"

    def __repr__(self) -> str:
        state = self.status
        best = "" if state.best_loss is None else f", best loss {loss(state.best_loss)}"
        trials = counted(state.tickets, "trial")
        return f"<Study {self.name}: {state.finished} of {trials} done{best}>"

    def _repr_html_(self) -> str:
        """Show the study in a notebook: its state and its best configuration."""
        state = self.status
        rows = {"trials": f"{state.finished} of {state.tickets} done", "state": state.state}
        if state.best_loss is not None:
            skill = "" if state.best_skill is None else f", skill {signed(state.best_skill)}"
            rows["best"] = f"trial {state.best_trial}, loss {loss(state.best_loss)}{skill}"
            best = self.best
            names = ("cell", "hidden_dims", "lookback", "lr", "dropout")
            rows |= {name: str(best[name]) for name in names}
        return table(f"Study {self.name}", rows)
