"""What prices consist of, by name: columns, lengths of bars, and the error that refuses them.

Importable without pandas, so that a study file is checked without waiting for it.
"""

from puffin.models.errors import PuffinError
from puffin.models.features import Needs

COLUMNS = ("open", "high", "low", "close", "volume")
KNOWN = (*COLUMNS, "adj_close")
# Columns of a file that a user may name.
NAMES = ("date", "time", *KNOWN)
# The needs of a study that reads all columns and takes the logarithms of all prices.
ALL_COLUMNS = Needs(dict.fromkeys(COLUMNS, ""), dict.fromkeys(COLUMNS[:4], ""))
# Lengths of bars, as arguments of `pandas.DateOffset`. A daily bar ends with its session, a longer
# one with its last day.
INTERVALS: dict[str, dict[str, int]] = {
    "1m": {"minutes": 1},
    "5m": {"minutes": 5},
    "15m": {"minutes": 15},
    "30m": {"minutes": 30},
    "1h": {"hours": 1},
    "1d": {"days": 1},
    "1wk": {"weeks": 1},
    "1mo": {"months": 1},
}


class DataError(PuffinError):
    """The prices cannot be used: the message states the rule, the bar and the fix."""
