"""Comparison of the installed packages with those that a study was made with."""

from collections.abc import Callable

from puffin.studies import versions
from puffin.studies.study import StoredStudy


def require_compatible(study: StoredStudy, warn: Callable[[str], None]) -> None:
    """Raise if this installation must not train for a study; warn of other patch versions.

    Parameters
    ----------
    study : StoredStudy
    warn : callable
        Called with one message for each package whose patch version differs.

    Raises
    ------
    VersionMismatchError
        If a major or minor version differs.
    """
    installed = versions.installed_versions()
    try:
        warnings = versions.check_versions(study.record.made_with, installed)
    except versions.VersionMismatchError as error:
        raise versions.VersionMismatchError(f"study {study.name!r}: {error}") from None
    for warning in warnings:
        warn(f"study {study.name!r}: {warning}")
