"""The words for what is wrong with data: named, explained, and told from an exception."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cspine_lib.errors import printable


@dataclass(frozen=True)
class Issue:
    """One thing that was found wrong, named and explained.

    Args:
        severity: ``error`` makes data unusable, ``warning`` was dealt with.
        code: short fixed name, e.g. ``missing_slices``.
        message: one sentence that says what was found and what was done about it.
        file: name of the file (or study) it was found in, if it was one.
    """

    severity: Literal["error", "warning"]
    code: str
    message: str
    file: str = ""

    def __post_init__(self) -> None:
        # Both may quote a name or a tag that a stranger chose.
        object.__setattr__(self, "message", printable(self.message))
        object.__setattr__(self, "file", printable(self.file, 255))

    def __str__(self) -> str:
        where = f"{self.file}: " if self.file else ""
        return f"{self.severity} [{self.code}] {where}{self.message}"


class BadFile(Exception):
    """A file that cannot become a slice.  Never leaves the reader: it turns into an ``Issue``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[BadFile], tuple[str, str]]:
        return BadFile, (self.code, self.message)

    def issue(self, file: str) -> Issue:
        """The warning that this file was left out."""
        return Issue("warning", self.code, self.message, file)


def warning(code: str, message: str, file: str = "") -> Issue:
    """An ``Issue`` that was dealt with."""
    return Issue("warning", code, message, file)


def error(code: str, message: str, file: str = "") -> Issue:
    """An ``Issue`` that makes data unusable."""
    return Issue("error", code, message, file)


def gathered(issues: Sequence[Issue], limit: int = 5, what: str = "files") -> list[Issue]:
    """The same fault in more than ``limit`` files (or studies) becomes one issue that counts."""
    counts = Counter((i.severity, i.code) for i in issues if i.file)
    out: list[Issue] = []
    told = set()
    for issue in issues:
        kind = (issue.severity, issue.code)
        if not issue.file or counts[kind] <= limit:
            out.append(issue)
        elif kind not in told:
            told.add(kind)
            more = f"{issue.message} ({counts[kind]} {what}, this is the first)"
            out.append(Issue(issue.severity, issue.code, more, issue.file))
    return out
