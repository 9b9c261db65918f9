"""The private names of Optuna that this program uses, in one place.

`tests/unit/storage/test_optuna_internals.py` fails if a release of Optuna changes one of them.
"""

from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb import models as rows
from optuna.trial import FrozenTrial

# Prefix of the system attributes in which a pruner records the rungs that a trial has reached.
RUNG_PREFIX = "completed_rung_"
# Prefix of the system attributes that name the artifacts of a study or a trial.
ARTIFACT_PREFIX = "artifacts:"
# System attribute with the parameters that `Trial.suggest_...` returns instead of sampling.
FIXED_PARAMS = "fixed_params"

# Names of Optuna's tables.
OPTUNA_TABLES = tuple(rows.BaseModel.metadata.tables)
TrialRow = rows.TrialModel
StudyRow = rows.StudyModel
VersionRow = rows.VersionInfoModel
TrialValueRow = rows.TrialValueModel
TrialAttributeRow = rows.TrialUserAttributeModel
HeartbeatRow = rows.TrialHeartbeatModel


def study_id(study: optuna.Study) -> int:
    """Return the key of a study in the database."""
    return study._study_id  # noqa: SLF001  # there is no public name


def frozen_study_id(study: Any) -> int:
    """Return the key of a study that a storage lists."""
    key: int = study._study_id  # noqa: SLF001  # there is no public name
    return key


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """Return the key of a trial in the database."""
    return trial._trial_id  # noqa: SLF001  # there is no public name


def backend_of(study: optuna.Study) -> RDBStorage:
    """Return the storage behind the cache that Optuna wraps around every database."""
    cached: Any = study._storage  # noqa: SLF001  # there is no public name
    backend: RDBStorage = cached._backend  # noqa: SLF001
    return backend


def stale_trial_ids(storage: RDBStorage, study: int) -> list[int]:
    """Return the keys of the running trials whose heartbeat is older than the grace period."""
    return storage._get_stale_trial_ids(study)  # noqa: SLF001  # there is no public name


def running_trial(study: optuna.Study, key: int) -> optuna.Trial:
    """Return a running trial, to which parameters and losses can be written."""
    # Optuna's cache writes only to trials that it has created or read.
    study.get_trials(deepcopy=False)
    return optuna.Trial(study, key)
