"""The one base class of the errors that a user can mend."""


class PuffinError(Exception):
    """A problem that the user can mend: the message gives the rule, the value and the fix."""
