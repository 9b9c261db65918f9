"""Files of a study or a trial, kept in the same database through Optuna's artifact interface."""

import io
import tempfile
from pathlib import Path
from typing import BinaryIO

import optuna
import sqlalchemy as sa
from optuna.artifacts import get_all_artifact_meta, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial
from sqlalchemy import Engine

from studies.storage import artifacts


class SqlArtifactStore:
    """An ``optuna.artifacts`` store in a table: bodies travel wherever the database does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact for reading; `ArtifactNotFound` if there is none."""
        query = sa.select(artifacts.c.body).where(artifacts.c.artifact_id == artifact_id)
        with self._engine.connect() as connection:
            body = connection.execute(query).scalar_one_or_none()
        if body is None:
            msg = f"there is no artifact {artifact_id}"
            raise ArtifactNotFound(msg)
        return io.BytesIO(body)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store the whole of `content_body`."""
        row = {"artifact_id": artifact_id, "body": content_body.read()}
        with self._engine.begin() as connection:
            connection.execute(sa.insert(artifacts).values(row))

    def remove(self, artifact_id: str) -> None:
        """Delete an artifact; `ArtifactNotFound` if there is none."""
        query = sa.delete(artifacts).where(artifacts.c.artifact_id == artifact_id)
        with self._engine.begin() as connection:
            if not connection.execute(query).rowcount:
                msg = f"there is no artifact {artifact_id}"
                raise ArtifactNotFound(msg)


def attach(
    store: SqlArtifactStore, owner: optuna.Study | optuna.Trial, filename: str, body: bytes
) -> str:
    """Store `body` under `filename` with a study or a running trial; give the artifact's id."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / filename
        path.write_bytes(body)
        return upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=owner)


def remove_all(store: SqlArtifactStore, study: optuna.Study) -> None:
    """Delete every artifact of a study and of its trials."""
    storage = study._storage  # noqa: SLF001  # Optuna asks for it beside a FrozenTrial
    owners: list[optuna.Study | FrozenTrial] = [study, *study.get_trials(deepcopy=False)]
    for owner in owners:
        for meta in get_all_artifact_meta(owner, storage=storage):
            try:
                store.remove(meta.artifact_id)
            except ArtifactNotFound:
                continue  # Optuna writes the meta row first; a death leaves it without a body
