"""The units in which traders read targets."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from puffin.models.arrays import Floats

# A larger number would not fit into a column.
_HUGE = 1e9


@dataclass(frozen=True)
class Unit:
    """The unit in which a trader reads a target.

    Attributes
    ----------
    label, name : text for an axis, and for the header of a column
    convert : returns values in this unit from those in the target's unit
    digits : decimals in a table; None for as many as prices of their size have
    """

    label: str
    name: str
    convert: Callable[[Floats], Floats]
    digits: int | None = None

    def write(self, values: Floats) -> list[str]:
        """Write values of the target in this unit, all with the same number of decimals."""
        with np.errstate(over="ignore"):  # a forecast that is far too large overflows
            shown = self.convert(values)
        digits = _price_digits(shown) if self.digits is None else self.digits
        return [
            "-" if np.isnan(v) else f"{v:z.{digits}f}" if abs(v) < _HUGE else f"{v:.1e}"
            for v in shown
        ]


def _price_digits(values: Floats) -> int:
    """Return two decimals for prices above 100, and more for smaller ones."""
    size = np.abs(values[np.isfinite(values) & (values != 0)])
    return 2 if not len(size) else max(2, 4 - math.floor(math.log10(size.max())))


UNITS = {
    "return": Unit("return, %", "%", lambda log_return: 100 * np.expm1(log_return), 2),
    "range": Unit("high above low, %", "%", lambda log_range: 100 * np.expm1(np.exp(log_range)), 2),
    "volatility": Unit("root mean square return, %", "%", lambda v: 100 * np.exp(v), 2),
    "price": Unit("price", "price", np.asarray),
    "change": Unit("change in price", "price", np.asarray),
}
