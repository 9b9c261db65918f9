"""Pauses between attempts that find no work or no database."""

import random

# First pause, in seconds.
_FIRST_SECONDS = 1.0
# After so many storage errors in a row nothing is tried again; the pauses between them take 2.1 to
# 4.3 minutes, the longest of them about one.
MOST_STORAGE_ERRORS, RETRY_SECONDS = 10, 64.0


class Backoff:
    """Pauses between polls that find nothing or fail: each twice as long as the last, to a bound.

    Each is drawn from the upper half of its length: workers that are started together, become idle
    together, or lose the database together, would otherwise all ask it at the same moments. This is
    the "equal jitter" of Brooker (2015), "Exponential backoff and jitter", AWS Architecture Blog.
    """

    def __init__(self) -> None:
        self._longest = self._seconds = 0.0

    def reset(self) -> None:
        """Begin with short pauses again."""
        self._longest = 0.0

    def next(self, longest: float) -> float:
        """Return the next pause; with another bound than before they begin short again."""
        if longest != self._longest:
            self._longest, self._seconds = longest, _FIRST_SECONDS / 2
        self._seconds = min(2 * self._seconds, longest)
        return random.uniform(0.5, 1.0) * self._seconds  # noqa: S311  # not for secrets
