"""Parsing of untrusted TOML in bounded time and memory."""

import re
import tomllib
from typing import Any

# Far more than the record of any study: 1,000 symbols of 10 features have 800 KB, 1,000 folds 150.
MOST_BYTES = 2 << 20
# The memory of tomllib grows with the square of the number of parts of a key: gigabytes for 100 KB
# of dots. The deepest key of a record has three parts.
_MOST_PARTS = 16
_PART = r"""(?:[\w-]{1,250}|"(?:\\.|[^"\\\n]){0,250}"|'[^'\n]{0,250}')"""
_DEEP_KEY = re.compile(rf"(?<![\w-])(?:{_PART}[ \t]*\.[ \t]*){{{_MOST_PARTS}}}", re.ASCII)


def parse_toml(body: bytes) -> dict[str, Any]:
    """Return the values of a TOML document.

    Raises
    ------
    ValueError
        If it is not TOML, or larger or deeper than any that this package writes.
    """
    if len(body) > MOST_BYTES:
        raise ValueError(f"it should have at most {MOST_BYTES >> 10} KiB")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    if _DEEP_KEY.search(text):
        raise ValueError(f"a key should have at most {_MOST_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("its lists or tables are nested too deep") from None
    except ValueError as error:  # an integer of thousands of digits raises no TOMLDecodeError
        raise ValueError(f"it is not valid TOML: {error}") from None
