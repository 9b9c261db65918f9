"""Files of a study or a trial, stored in the same database through Optuna's artifact interface.

Our files are found by the id in the record of their study or trial, never by their name, because
files of any name can be added in the dashboard.
"""

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import optuna
import sqlalchemy as sa
from optuna.artifacts import upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import RDBStorage
from sqlalchemy import Engine

from puffin.studies.storage.optuna_internals import ARTIFACT_PREFIX
from puffin.studies.storage.tables import artifacts


class SqlArtifactStore:
    """An ``optuna.artifacts`` store in a table, so that a worker needs the database only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact for reading.

        Raises
        ------
        ArtifactNotFound
            If there is none of this id.
        """
        query = sa.select(artifacts.c.body).where(artifacts.c.artifact_id == artifact_id)
        with self._engine.connect() as connection:
            body = connection.execute(query).scalar_one_or_none()
        if body is None:
            msg = f"there is no artifact {artifact_id}"
            raise ArtifactNotFound(msg)
        return io.BytesIO(body)

    def read(self, artifact_id: str) -> bytes:
        """Return the content of an artifact.

        Raises
        ------
        ArtifactNotFound
            If there is none of this id.
        """
        with self.open_reader(artifact_id) as reader:
            return reader.read()

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store `content_body` as a file of the dashboard, which belongs to no study of ours."""
        with self._engine.begin() as connection:
            _insert(connection, artifact_id, None, content_body.read())

    def remove(self, artifact_id: str) -> None:
        """Delete an artifact.

        Raises
        ------
        ArtifactNotFound
            If there is none of this id.
        """
        with self._engine.begin() as connection:
            if not _delete(connection, artifacts.c.artifact_id == artifact_id):
                msg = f"there is no artifact {artifact_id}"
                raise ArtifactNotFound(msg)


class _TransactionStore(SqlArtifactStore):
    """Writes the files of one study within the current transaction."""

    def __init__(self, connection: sa.Connection, creation_id: str) -> None:
        super().__init__(connection.engine)
        self._connection = connection
        self._creation_id = creation_id

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        _insert(self._connection, artifact_id, self._creation_id, content_body.read())


def _insert(
    connection: sa.Connection, artifact_id: str, creation_id: str | None, body: bytes
) -> None:
    row = {"artifact_id": artifact_id, "creation_id": creation_id, "body": body}
    connection.execute(sa.insert(artifacts).values(row))


def _delete(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.delete(artifacts).where(condition)).rowcount


def attach(
    connection: sa.Connection,
    creation_id: str,
    owner: optuna.Study | optuna.Trial,
    filename: str,
    body: bytes,
) -> str:
    """Store a file with a study or a running trial, in the current transaction.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Of `puffin.studies.storage.database.transaction`, which Optuna's writes join.
    creation_id : str
        Of the study.
    owner : optuna.Study or optuna.Trial
    filename : str
        The name that the dashboard shows.
    body : bytes

    Returns
    -------
    str
        Id of the artifact.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / filename
        path.write_bytes(body)
        store = _TransactionStore(connection, creation_id)
        return upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=owner)


def store_page(
    connection: sa.Connection,
    creation_id: str,
    study: optuna.Study,
    filename: str,
    body: bytes,
    known: str | None,
) -> str:
    """Store a page with a study in place of an earlier one, in the current transaction.

    Parameters
    ----------
    connection, creation_id, study, filename, body
        As of `attach`.
    known : str, optional
        Id of the earlier page; None if there is none.

    Returns
    -------
    str
        The id of the page, which stays the same unless the earlier one is gone.
    """
    if known is not None:
        query = sa.update(artifacts).where(artifacts.c.artifact_id == known)
        if connection.execute(query.values(body=body)).rowcount:
            return known
    return attach(connection, creation_id, study, filename, body)


def artifact_ids(system_attrs: Mapping[str, Any]) -> list[str]:
    """Return the ids of all files of a study or a trial, including those of the dashboard."""
    return [
        key.removeprefix(ARTIFACT_PREFIX) for key in system_attrs if key.startswith(ARTIFACT_PREFIX)
    ]


def delete_artifacts(
    connection: sa.Connection, storage: RDBStorage, study_id: int, creation_id: str
) -> None:
    """Delete every file of a study and of its trials, in the current transaction."""
    _delete(connection, artifacts.c.creation_id == creation_id)
    trials = storage.get_all_trials(study_id, deepcopy=False)
    for attrs in (storage.get_study_system_attrs(study_id), *(t.system_attrs for t in trials)):
        for artifact_id in artifact_ids(attrs):
            _delete(connection, artifacts.c.artifact_id == artifact_id)
