"""A pool whose one worker works in this process, for tests of something else than processes.

A process that trains imports torch first, which takes longer than the tiny studies of tests.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import pytest

from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt


class PoolHere:
    """As `puffin.tuner.pool.Pool`, but all work is done when it has been entered."""

    labels: dict[str, str] = {}  # noqa: RUF012  # never changed

    def __init__(
        self, url: str, study: str, devices: Sequence[str], _say: Callable[[str], None]
    ) -> None:
        self._url = url
        self._options = WorkerOptions(study, device=devices[0])

    def __enter__(self) -> Self:
        work(self._url, Interrupt(), self._options)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def poll(self) -> bool:
        """Return that no worker is alive."""
        return False


@contextmanager
def pool_here() -> Iterator[None]:
    """Let commands and the Python interface train in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("puffin.tuner.pool.Pool", PoolHere)
        yield
