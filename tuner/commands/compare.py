"""`tuner compare`: the trials of a study, grouped by a hyperparameter."""

from puffin.studies.comparison import SYMBOL, compare_symbols
from puffin.studies.comparison import compare as compare_trials
from puffin.studies.study import load_search
from puffin.tuner.commands.database import open_database
from puffin.tuner.commands.tables import group_table, symbol_table
from puffin.tuner.messages import stdout


def compare(name: str, by: str, url: str) -> None:
    """Print one column for each value of a hyperparameter, or one row for each symbol."""
    study = load_search(open_database(url), name)
    if by == SYMBOL:
        stdout().print(symbol_table(compare_symbols(study)))
        return
    stdout().print(group_table(compare_trials(study, by)))
