"""`tuner compare`: the trials of a study, grouped by a hyperparameter."""

from puffin.studies.comparison import compare as compare_trials
from puffin.studies.study import load_search
from puffin.tuner.commands.database import open_database
from puffin.tuner.commands.tables import group_table
from puffin.tuner.messages import stdout


def compare(name: str, by: str, url: str) -> None:
    """Print one column for each value (or third of the values) of a hyperparameter."""
    study = load_search(open_database(url), name)
    stdout().print(group_table(compare_trials(study, by)))
