"""Text from outside, such as names in a file or a database, made fit for a terminal."""

import unicodedata

# Control and format characters (escapes, bidi overrides, zero width), lone surrogates, and line
# and paragraph separators.
_ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    r"""Return text on one line, each character that could steer a terminal written as ``\x1b``.

    Rich markup is left as it is: wrap the result in `rich.text.Text`, which interprets none.
    """
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _ESCAPED else char
        for char in text
    )
