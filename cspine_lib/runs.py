"""Run records: what was trained, on which studies, with what, and how it scored.

A record is one JSON file.  Every model (and every fitted rule) of a run is a
``Part`` that lists the studies it learned from, so that ``leakage`` can prove
from the record alone that no scored study reached training.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from cspine_lib.errors import CspineError

SCHEMA = 1
"""Version of the record's layout; raised when old readers would misread new files."""

MAX_JSON_BYTES = 64 * 2**20
"""The largest record so far has half a MiB."""

KEY_PACKAGES = (
    "cspine-lib",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "torch",
    "timm",
    "accelerate",
    "pydicom",
)

PartKind = Literal["model", "pseudo_labels", "calibration", "rule"]


@dataclass(frozen=True)
class Part:
    """One fitted piece of a run: a model of a fold, a calibration, a chosen N.

    Every list holds study identifiers.
    """

    name: str
    """Unique in the run, e.g. ``"stage2/fold0"``."""
    train: list[str]
    """Studies whose labels were fitted."""
    val: list[str] = field(default_factory=list)
    """Studies used for early stopping or to choose a setting."""
    test: list[str] = field(default_factory=list)
    """Studies that this part predicted and that were, or will be, scored."""
    uses: list[str] = field(default_factory=list)
    """Names of the parts whose outputs it was trained on or predicts from."""
    kind: PartKind = "model"
    fold: int | None = None
    weights: str = ""
    """``imagenet`` or ``random`` for a network, empty otherwise."""
    seconds: float = 0.0


@dataclass
class RunRecord:
    """Everything needed to judge or repeat a run."""

    method: str
    profile: str
    seed: int
    data: str
    """Name of the data set, e.g. ``"phantom v1, seed 2022"``."""
    fingerprint: str
    """Of the data set: its sizes and labels, see ``rsna``."""
    weights: str
    device: str
    config: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    n_processes: int = 1
    n_folds: int = 1
    parts: list[Part] = field(default_factory=list)
    scored: list[str] = field(default_factory=list)
    """Studies on which ``scores`` was computed."""
    patients: dict[str, str] = field(default_factory=dict)
    """Patient of a study, where a patient has several; else a study is its own patient."""
    scores: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    predictions: str = ""
    """Name of the CSV of predictions beside the record, empty if there is none."""
    environment: dict[str, str] = field(default_factory=dict)
    created: str = ""
    """Date and time in UTC, ISO 8601."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        self.created = self.created or datetime.now(UTC).isoformat(timespec="seconds")
        self.command = self.command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
        self.environment = self.environment or environment()

    def part(self, name: str) -> Part:
        """The part of that name.

        Raises:
            CspineError: there is none.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise CspineError(f"no part {name!r} in the record; it has {[p.name for p in self.parts]}")

    def with_scores(
        self, studies: Sequence[str], scores: Mapping[str, Any], part: str
    ) -> RunRecord:
        """A copy that says: ``part`` predicted these studies, with these scores.

        Args:
            studies: what was scored; they become the part's test list and ``scored``.
            scores: usually ``scoring.Score.to_dict()``; added to the scores there are.
            part: name of the last part of the chain that predicted them.

        Raises:
            CspineError: no such part.
        """
        last = replace(self.part(part), test=list(studies))
        parts = [last if p.name == part else p for p in self.parts]
        return replace(self, parts=parts, scored=list(studies), scores={**self.scores, **scores})

    def write(self, path: str | Path) -> Path:
        """Write the record as JSON, whole or not at all."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False, default=_plain) + "\n"
        return atomic_write_text(path, text)

    @classmethod
    def read(cls, path: str | Path) -> RunRecord:
        """Read a record.

        Raises:
            CspineError: no such file, not JSON, not a record, or of a newer layout.
        """
        content = read_json(path)
        try:
            if content["schema"] > SCHEMA:
                raise CspineError(
                    f"{path} was written by a newer version of cspine (layout "
                    f"{content['schema']}, this one reads up to {SCHEMA}): update cspine"
                )
            content["parts"] = [Part(**part) for part in content["parts"]]
            return cls(**content)
        except (KeyError, TypeError) as error:
            raise CspineError(f"{path} is not a run record of cspine: {error}") from error


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        CspineError: the file cannot be read, is too large, is not JSON, or not an object.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            # Not by the file's size: a pipe or a device has none.
            raw = file.read(MAX_JSON_BYTES + 1)
        if len(raw) > MAX_JSON_BYTES:
            raise CspineError(f"cannot read {path}: over {MAX_JSON_BYTES >> 20} MiB, no record")
        content = json.loads(raw.decode("utf-8"))
    except FileNotFoundError as error:
        raise CspineError(f"no file {path}: check the path, or make the run first") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CspineError(f"cannot read {path}: {error}") from error
    except (ValueError, RecursionError) as error:  # endless digits and brackets are not JSON errors
        line = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise CspineError(
            f"{path} is not valid JSON{line}: restore it, or make the run again"
        ) from error
    if not isinstance(content, dict):
        raise CspineError(f"{path} does not hold a JSON object")
    return content


def _plain(value: Any) -> Any:
    """numpy scalars and arrays, paths and sets as JSON knows them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} to JSON")


def environment() -> dict[str, str]:
    """Versions of Python and the packages that matter, machine kind, commit of the checkout."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    found["cpus"] = str(os.cpu_count() or 1)
    for package in KEY_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    commit = _commit()
    if commit:
        found["commit"] = commit
    return found


def _commit() -> str:
    """Short commit of the checkout that this file is in, ``+`` if it was changed since."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root)]
    try:
        head = _output([*git, "rev-parse", "--short=12", "HEAD"])
        changed = _output([*git, "status", "--porcelain", "--untracked-files=no"])
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+" if changed else "")


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


# --- writing whole files or none ------------------------------------------------------------


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` (same suffix) that replaces it when the block ends well.

    A reader sees the old file or the whole new one, also after a kill or a power
    cut.  When the block raises, ``path`` is untouched and nothing stays behind.

    Raises:
        CspineError: the disk is full, or the folder cannot be written in.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CspineError(
            f"cannot write {path}: {error.strerror or error}; make room, or name another folder"
        ) from error
    finally:
        # A read-only or vanished folder must not hide the first error.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, content: bytes | memoryview) -> Path:
    """Write a file whole or not at all; makes its folder."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def atomic_write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text whole or not at all; makes its folder."""
    return atomic_write_bytes(path, text.encode("utf-8"))
