"""The one exception that users are meant to see."""


class CspineError(Exception):
    """Bad input or a wrong setting: one line that says what is wrong and what to do.

    Commands print the message and exit with status 2; libraries may catch it.
    """
