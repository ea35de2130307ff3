"""The one exception that users are meant to see, and text that a terminal can be given."""

MAX_MESSAGE = 2000
"""Characters of a message; what is longer quotes something that is no name."""


def printable(text: str, limit: int = MAX_MESSAGE) -> str:
    """Any text as one line that does nothing to a terminal or a log.

    File names, tags and cells of tables come from strangers.  Line breaks become blanks; control
    characters, half characters and marks that turn the direction of writing become ``\\x1b``.
    """
    line = " ".join(text[: 2 * limit].splitlines())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


class CspineError(Exception):
    """Bad input or a wrong setting: one line that says what is wrong and what to do.

    Commands print the message and exit with status 2; libraries may catch it.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))
