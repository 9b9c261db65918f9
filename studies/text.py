"""Text for a terminal: control characters escaped, and numbers and times in words."""

import math
import re
import unicodedata
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

# Control and format characters (escapes, bidi overrides, zero width), lone surrogates, and line
# and paragraph separators.
_ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    r"""Return text on one line, with characters that control a terminal written as ``\x1b``.

    Rich markup is not escaped: wrap the result in `rich.text.Text`, which interprets none.
    """
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _ESCAPED else char
        for char in text
    )


def printable_lines(text: str) -> str:
    """Return text as `printable` does, but with its line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def is_name(text: str) -> bool:
    """Return whether text can name a symbol or a column in a list with commas."""
    return text.isprintable() and re.fullmatch(r"[^,\s]([^,]*[^,\s])?", text) is not None


def loss(value: float) -> str:
    """Write a loss with four significant digits, or ``diverged`` if it is not finite."""
    return f"{value:#.4g}".removesuffix(".") if math.isfinite(value) else "diverged"


# A share as large as this is written without decimals.
_LARGE_SHARE = 10


def level_in_percent(level: float) -> str:
    """Return the level of a quantile with all its digits: ``2.5 %``."""
    return f"{100 * level:g} %"


def percent(share: float, digits: int = 1) -> str:
    """Write a share as ``12.3 %``, and an undefined one as ``-``."""
    return _share(share, f".{digits}%")


def signed(share: float | None, digits: int = 1) -> str:
    """Write a share as ``+12.3 %``, and None as ``-``; one that rounds to zero has no sign."""
    return "-" if share is None else _share(share, f"+.{digits}%")


def _share(share: float, form: str) -> str:
    if math.isnan(share):
        return "-"
    if abs(share) >= _LARGE_SHARE:
        return format(share, form.partition(".")[0] + ",.0%").replace("%", " %")
    text = format(share, form).removesuffix("%")
    return f"{text.lstrip('+-') if float(text) == 0 else text} %"


# A smaller p-value would be written as 0.
_LEAST_P = 0.001


def p_value(value: float) -> str:
    """Write a p-value as ``0.040``, ``below 0.001`` or ``undefined``."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.3f}" if value >= _LEAST_P else f"below {_LEAST_P}"


def counted(count: int, noun: str) -> str:
    """Write ``1 trial`` or ``3 trials``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def counted_bars(dates: Any) -> str:
    """Write ``120 bars``, or ``120 dates`` of a basket, whose symbols have bars on one date.

    `dates` is a pandas DatetimeIndex of all bars.
    """
    return counted(dates.nunique(), "bar" if dates.is_unique else "date")


# A longer list of symbols is described by their number.
_MOST_NAMED = 5


def listed(names: Sequence[str]) -> str:
    """Write names as ``AAPL``, ``AAPL and IBM`` or ``AAPL, IBM and MSFT``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def in_words(symbols: Sequence[str]) -> str:
    """Write symbols as ``AAPL``, ``AAPL, IBM and MSFT`` or ``100 symbols from AAPL to ZTS``."""
    if len(symbols) <= _MOST_NAMED:
        return listed(symbols)
    return f"{len(symbols)} symbols from {min(symbols)} to {max(symbols)}"


def sentence_case(text: str) -> str:
    """Return text that begins with a capital letter; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def when(time: object) -> str:
    """Write a time, or only its date if it is midnight."""
    return str(time).removesuffix(" 00:00:00")


def minute(time: str) -> str:
    """Write an ISO 8601 time as ``2026-11-26 13:53 UTC``; without a zone it is taken as UTC."""
    moment = datetime.fromisoformat(time)
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def times(count: int) -> str:
    """Write how often: ``once``, ``twice`` or ``3 times``."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def duration(seconds: float) -> str:
    """Write seconds as ``41 s``, ``1 min 13 s``, ``2 h 5 min`` or ``3 d 4 h``."""
    total = round(seconds)
    for size, unit, smaller, small_unit in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if total >= size:
            rest = total % size // smaller
            return f"{total // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{total} s"


# Rounding of an estimate: (largest number of seconds, step in seconds).
_ROUNDING = ((_MINUTE, 10), (10 * _MINUTE, _MINUTE), (_HOUR, 5 * _MINUTE), (10 * _HOUR, 600))


def roughly(seconds: float) -> str:
    """Write an estimate rounded to its precision: ``about 4 min``."""
    step = next((step for most, step in _ROUNDING if seconds <= most), _HOUR)
    return f"about {duration(max(round(seconds / step), 1) * step)}"


def configuration(config: Mapping[str, Any], searched: Container[str] | None = None) -> str:
    """Write a configuration in one line: ``gru 32/16, dropout 0.1, lookback 20``.

    Parameters
    ----------
    config : mapping
        As `puffin.models.config.Config.to_dict` returns it.
    searched : container of str, optional
        The hyperparameters to write beside cell and widths; by default all.
    """
    widths = "/".join(map(str, config["hidden_dims"]))
    inert = {"dropout"} if len(config["hidden_dims"]) == 1 else set()
    others = {k: v for k, v in config.items() if k not in {"cell", "hidden_dims"} | inert}
    values = (
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in others.items()
        if searched is None or key in searched
    )
    return ", ".join([f"{config['cell']} {widths}", *values])


def shortened(text: str, width: int) -> str:
    """Leave out the last of the parts that commas separate until a text is narrow enough.

    The first part always stays.
    """
    parts, rest = text.split(", "), ""
    while len(parts) > 1 and len(", ".join(parts) + rest) > width:
        parts.pop()
        rest = " …"
    return ", ".join(parts) + rest


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(error).splitlines() or ["no message"])[0]
