"""`tuner schema`: print the JSON Schema of a study file."""

import json

import click

from puffin.studies.schema import study_file_schema


def schema() -> None:
    """Print the JSON Schema of a study file."""
    click.echo(json.dumps(study_file_schema(), indent=2))
