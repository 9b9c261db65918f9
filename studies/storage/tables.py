"""Our tables in the database, beside Optuna's.

The module is imported for its tables: `studies` is the table ``puffin_studies``, and so on.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

# Longest name of a study: that of a study file, and the suffix of a retraining study.
_NAME = 80

studies = sa.Table(
    "puffin_studies",
    metadata,
    sa.Column("name", sa.String(_NAME), primary_key=True),
    # Distinguishes a study from a later one of the same name: a process that holds the id of a
    # deleted study cannot write anything.
    sa.Column("creation_id", sa.String(32), nullable=False, unique=True),
    # None while the study is being deleted.
    sa.Column("tickets", sa.Integer, nullable=True),
    sa.Column("issued", sa.Integer, nullable=False),
    # Weight of the study in the fair sharing of the workers' time.
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
)

# State from which the training of a ticket can be resumed; deleted when the ticket is finished.
checkpoints = sa.Table(
    "puffin_checkpoints",
    metadata,
    sa.Column("creation_id", sa.String(32), primary_key=True),
    sa.Column("ticket", sa.Integer, primary_key=True),
    # The trial that wrote it.
    sa.Column("trial_id", sa.Integer, nullable=False),
    # JSON: configuration, and the rungs that the pruner has recorded.
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

# Running workers; one whose `seen` is older than its grace period, in seconds, has ended.
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
    # By the clock of the database, the only one that all processes share.
    sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
    sa.Column("study", sa.String(_NAME), nullable=True),
    sa.Column("ticket", sa.Integer, nullable=True),
)

artifacts = sa.Table(
    "puffin_artifacts",
    metadata,
    sa.Column("artifact_id", sa.String(36), primary_key=True),
    # Id of the study that the file belongs to; None for a file added in the dashboard.
    sa.Column("creation_id", sa.String(32), nullable=True, index=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

# Each opening of a holdout. Rows are never changed or deleted: they outlive the study, because its
# bars have been seen.
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
