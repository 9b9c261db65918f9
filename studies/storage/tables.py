"""Our tables in the database, beside Optuna's."""

import sqlalchemy as sa

metadata = sa.MetaData()

# A name of a study file, with what the studies beside it add.
_NAME = 80

studies = sa.Table(
    "puffin_studies",
    metadata,
    sa.Column("name", sa.String(_NAME), primary_key=True),
    # Tells a study from a later one of its name: whoever holds the id of a study that was deleted
    # can write nothing any more.
    sa.Column("creation_id", sa.String(32), nullable=False, unique=True),
    # None while the study is being deleted.
    sa.Column("tickets", sa.Integer, nullable=True),
    sa.Column("issued", sa.Integer, nullable=False),
    # Share of the workers' time beside other studies.
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
)

# From where the training of a ticket can be resumed; deleted when the ticket is finished.
checkpoints = sa.Table(
    "puffin_checkpoints",
    metadata,
    sa.Column("creation_id", sa.String(32), primary_key=True),
    sa.Column("ticket", sa.Integer, primary_key=True),
    # The trial that wrote it.
    sa.Column("trial_id", sa.Integer, nullable=False),
    # JSON: configuration, and what the pruner knows.
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

# Who is at work; a worker that is silent for longer than its grace is gone.
workers = sa.Table(
    "puffin_workers",
    metadata,
    sa.Column("worker", sa.String(32), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("device", sa.String(64), nullable=False),
    # JSON: package to version.
    sa.Column("versions", sa.Text, nullable=False),
    sa.Column("grace", sa.Integer, nullable=False),
    # By the clock of the database, the only one that all share.
    sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
    sa.Column("study", sa.String(_NAME), nullable=True),
    sa.Column("ticket", sa.Integer, nullable=True),
)

artifacts = sa.Table(
    "puffin_artifacts",
    metadata,
    sa.Column("artifact_id", sa.String(36), primary_key=True),
    # Of the study that the file belongs to; None for a file that the dashboard has added.
    sa.Column("creation_id", sa.String(32), nullable=True, index=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

# Each look at the bars of a holdout. Rows are only ever added: they outlive the study that looked,
# because the bars have been seen.
openings = sa.Table(
    "puffin_openings",
    metadata,
    sa.Column("opening_id", sa.String(32), primary_key=True),
    sa.Column("holdout_sha256", sa.String(64), nullable=False, index=True),
    sa.Column("study", sa.String(_NAME), nullable=False),
    sa.Column("creation_id", sa.String(32), nullable=False),
    # ISO 8601 in UTC.
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("trial", sa.Integer, nullable=False),
    # JSON: the winner's configuration.
    sa.Column("config", sa.Text, nullable=False),
)
