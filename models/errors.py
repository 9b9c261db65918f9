"""Base class of the errors that a user can fix."""


class PuffinError(Exception):
    """An error that the user can fix; the message has the rule, the value and the fix."""
