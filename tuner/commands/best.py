"""`tuner best`: the best configuration of a study."""

import click

from puffin.studies.export.formats import FORMATS
from puffin.studies.rules import choose
from puffin.studies.study import load_search
from puffin.studies.summary import best_record
from puffin.tuner.commands.database import open_database


def best(name: str, form: str, rule: str, trial: int | None, url: str) -> None:
    """Print the configuration that is chosen by rule or number, in one of the formats."""
    study = load_search(open_database(url), name)
    click.echo(FORMATS[form](best_record(study, choose(study, rule, trial))))
