"""A study's prediction on disk: one JSON that is written last, and says what lies beside it.

What is half written is never taken for whole: the JSON appears when report and picture are
complete, and holds their SHA-256.  Its ``key`` changes with the files of the scan, the model and
the version of the library, so that nothing old is taken for an answer either.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cspine_lib import __version__
from cspine_lib.anatomy import TARGETS
from cspine_lib.errors import CspineError
from cspine_lib.headers import list_files
from cspine_lib.issues import Issue
from cspine_lib.labels import LevelBox, levels_from_json
from cspine_lib.runs import atomic_write_text, read_json
from cspine_lib.study_result import Frames, StudyModel, StudyResult, caution
from cspine_lib.volume import Volume

LONGEST_NAME = 100
"""File systems allow 255 bytes, of which endings and temporary names need some."""


@dataclass(frozen=True)
class ScanFiles:
    """The files of a scan: how many, and a SHA-256 over their names and contents."""

    count: int = 0
    sha256: str = ""

    @classmethod
    def of(cls, folder: Path | None) -> ScanFiles:
        """The files that a reader would find; none where there is no folder."""
        if folder is None or not folder.is_dir():
            return cls()
        digest, count = hashlib.sha256(), 0
        try:
            paths, _ = list_files(folder)
        except OSError:
            return cls()
        for path in paths:
            digest.update(Path(path).name.encode(errors="replace") + b"\0")
            digest.update(_sha256(Path(path)).encode())
            count += 1
        return cls(count, digest.hexdigest())

    def text(self) -> str:
        """What a report says of them."""
        if not self.count:
            return ""
        return f"{self.count} files lay in the folder; SHA-256 of them all: {self.sha256}."


@dataclass(frozen=True)
class Slot:
    """Where one study's results lie, and what makes them those of this request."""

    out: Path
    study: str
    files: ScanFiles
    key: str
    wanted: tuple[str, ...] = field(default=())
    """Endings of the files that belong to a finished study beside its JSON."""

    @classmethod
    def of(
        cls, out: Path, study: str, model: StudyModel, files: ScanFiles, wanted: Sequence[str]
    ) -> Slot:
        """The place of a study's results for this model and these files."""
        request = [__version__, model.identity, study, files.count, files.sha256]
        key = hashlib.sha256(json.dumps(request).encode()).hexdigest()[:32]
        return cls(out, study, files, key, tuple(wanted))

    def path(self, ending: str) -> Path:
        """A file of the study, e.g. with the ending ``.html``."""
        return self.out / f"{safe_name(self.study)}{ending}"


def safe_name(study: str) -> str:
    """A file name for a study, whatever the study is called; stays inside its folder."""
    name = re.sub(r"[^\w.-]", "_", study).lstrip(".") or "study"
    if len(name.encode()) <= LONGEST_NAME:
        return name
    short = name.encode()[: LONGEST_NAME - 9].decode(errors="ignore")
    return f"{short}-{hashlib.sha256(study.encode()).hexdigest()[:8]}"


def json_path(out: Path, study: str) -> Path:
    """Where a study's JSON lies."""
    return out / f"{safe_name(study)}.json"


def write_study(slot: Slot, result: StudyResult, model: StudyModel, volume: Volume | None) -> None:
    """Write the JSON of a study whose other files are there."""
    content: dict[str, Any] = {
        "study": result.study,
        "key": slot.key,
        "run": model.identity,
        "version": __version__,
        "trained_on": model.trained_on,
        "note": caution(model),
        "error": result.error,
        "files": {"count": slot.files.count, "sha256": slot.files.sha256},
        "written": {ending: _sha256(slot.path(ending)) for ending in slot.wanted},
        "probability": {t: round(result.probability[t], 6) for t in TARGETS},
        "levels": {},
        "frames": {k: _frame_rows(f) for k, f in result.frames.items()},
        "remark": result.remark,
        "issues": [
            {"severity": i.severity, "code": i.code, "message": i.message} for i in result.issues
        ],
    }
    if volume is not None:
        content["volume"] = {
            "shape_zyx": volume.shape_zyx,
            "spacing_zyx_mm": volume.spacing_zyx_mm,
            "orientation": volume.orientation,
        }
        content["levels"] = {k: _level_entry(box, volume) for k, box in result.levels.items()}
    atomic_write_text(slot.path(".json"), json.dumps(content, indent=1) + "\n")


def read_study(slot: Slot) -> StudyResult | None:
    """The stored result, if the study is finished and all of its files are what they were."""
    path = slot.path(".json")
    if not path.exists():
        return None
    try:
        content = read_json(path)
        if content["key"] != slot.key or content["study"] != slot.study or content["error"]:
            return None
        if any(content["written"][e] != _sha256(slot.path(e)) for e in slot.wanted):
            return None
        return _result(content)
    except (CspineError, KeyError, TypeError, ValueError, AttributeError):
        return None  # cut off, or no file of ours: the study is done again


def _result(content: Mapping[str, Any]) -> StudyResult:
    probability = {t: float(content["probability"][t]) for t in TARGETS}
    if not all(0 <= p <= 1 for p in probability.values()):
        raise ValueError("no probability")
    return StudyResult(
        study=content["study"],
        probability=probability,
        levels=levels_from_json({k: v["box_px"] for k, v in content["levels"].items()}),
        frames={k: _frames(rows) for k, rows in content["frames"].items()},
        remark=content["remark"],
        issues=tuple(Issue(**issue) for issue in content["issues"]),
    )


def _frame_rows(frames: Frames) -> list[dict[str, Any]]:
    pairs = zip(frames.z.tolist(), frames.weight.tolist(), strict=True)
    return [{"slices": z, "weight": round(w, 6)} for z, w in pairs]


def _frames(rows: Sequence[Mapping[str, Any]]) -> Frames:
    z, weight = [row["slices"] for row in rows], [row["weight"] for row in rows]
    return Frames(np.array(z, dtype=np.intp), np.array(weight, dtype=np.float64))


def _level_entry(box: LevelBox, volume: Volume) -> dict[str, Any]:
    """A level in slices and pixels, and the same corners in patient mm (LPS)."""
    low = volume.to_mm((box.z0 - 0.5, box.y0 - 0.5, box.x0 - 0.5))
    high = volume.to_mm((box.z1 + 0.5, box.y1 - 0.5, box.x1 - 0.5))
    return {
        "box_px": box.to_dict(),
        "corners_mm_lps": [[round(float(v), 2) for v in corner] for corner in (low, high)],
        "centre_mm_lps": [round(float(v), 2) for v in volume.to_mm(box.centre_zyx)],
    }


def _sha256(path: Path) -> str:
    """Of a file's content; of a file that cannot be read, the reason."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"no file: {error.strerror}"
