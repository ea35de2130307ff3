"""CSV tables of strangers, read as text within bounds of memory; nothing in them is guessed."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path

import pandas as pd

from cspine_lib.errors import CspineError

MAX_CSV_BYTES = 64 * 2**20
"""RSNA's largest CSV is under 1 MB.  A table in memory takes some ten times its file."""
MAX_HEADER_BYTES = 64 * 2**10
"""Each column costs far more than the comma that makes it."""


def read_cells(path: str | Path) -> pd.DataFrame:
    """All cells of a CSV table as text.

    Args:
        path: a plain file of UTF-8; compressed ones and addresses are not followed.

    Raises:
        CspineError: missing, unreadable, too large, empty, no CSV, or rows longer than the header.
    """
    raw = _content(Path(path))
    try:
        _check_header(path, raw)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = pd.read_csv(
                io.BytesIO(raw), dtype=str, keep_default_na=False, encoding="utf-8-sig"
            )
    except pd.errors.EmptyDataError:
        raise CspineError(f"{path} is empty: a header line and rows are wanted") from None
    except (ValueError, MemoryError, OverflowError, csv.Error) as error:  # pandas' own are these
        reason = str(error).strip().splitlines() or ["?"]
        raise CspineError(f"{path} cannot be read as CSV: {reason[-1][:120]}") from None
    if not isinstance(table.index, pd.RangeIndex):
        # pandas would take the first column for names of rows, and shift all others.
        raise CspineError(f"{path} cannot be read as CSV: its rows have more cells than its header")
    return table


def _content(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            # Not by the file's size: a pipe or a device has none.
            raw = file.read(MAX_CSV_BYTES + 1)
    except FileNotFoundError:
        raise CspineError(f"no file {path}: check the path") from None
    except OSError as error:
        raise CspineError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_CSV_BYTES:
        raise CspineError(f"{path} is too large for a table of this kind of data")
    return raw


def _check_header(path: str | Path, raw: bytes) -> None:
    head = raw[:MAX_HEADER_BYTES].decode("utf-8-sig", errors="replace")
    lines = io.StringIO(head, newline="")
    # pandas takes the first line that is not blank.
    next((row for row in csv.reader(lines) if any(cell.strip() for cell in row)), None)
    if lines.tell() >= len(head) and len(raw) > MAX_HEADER_BYTES:
        raise CspineError(f"{path} cannot be read as CSV: its header has no end")
