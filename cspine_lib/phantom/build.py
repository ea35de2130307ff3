"""``make_phantom``: a data set of simulated studies in exactly RSNA's layout.

Every study is drawn and written by itself, in any order, by any number of worker
processes; its folder appears under its name only when it is whole.  The CSV files
follow, ``phantom.json`` comes last: a folder that has it is finished.  A build
that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from cspine_lib.anatomy import (
    LEVELS,
    PHANTOM_JSON,
    SEGMENTATIONS,
    TEST_IMAGES,
    TRAIN_IMAGES,
)
from cspine_lib.errors import CspineError
from cspine_lib.phantom.design import design_set
from cspine_lib.phantom.dicom_writer import write_mask, write_series
from cspine_lib.phantom.draw import draw_study
from cspine_lib.phantom.plan import DEFAULT_DIFFICULTY, DrawnStudy, StudyPlan
from cspine_lib.phantom.tables import set_description, write_tables
from cspine_lib.phantom.traits import Request, StudyDesign
from cspine_lib.runs import read_json

PHANTOM_VERSION = "1"
"""Changes whenever the same request would give other bytes."""

PATIENTS = 4
"""How many patients are tried for one study."""

STAGING = ".unfinished"
"""Folder of a build under way: the request, what is half written, records of what is done."""


def _json_bytes(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    """Atomically: another process sees the whole file or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def study_folder(root: Path, design: StudyDesign) -> Path:
    """Where a study's DICOM files lie."""
    return root / (TRAIN_IMAGES if design.part == "train" else TEST_IMAGES) / design.uid


def _record_path(root: Path, design: StudyDesign) -> Path:
    return root / STAGING / "done" / f"{design.uid}.json"


def draw_labelled(plan: StudyPlan) -> DrawnStudy:
    """A drawn study in which every level that is labelled broken shows a fracture.

    Where the field of view leaves none of a broken level to see, another patient
    takes the place.

    Raises:
        CspineError: nobody fits: the field of view is too small.
    """
    wanted = {level for level, broken in zip(LEVELS, plan.broken, strict=True) if broken}
    for attempt in range(PATIENTS):
        drawn = draw_study(replace(plan, index=plan.index + attempt * 2**32))
        if {fracture.level for fracture in drawn.fractures} == wanted:
            return drawn
    raise CspineError(
        f"a field of view of {plan.shape_zyx} voxels of {plan.spacing_zyx_mm} mm leaves no "
        "fracture to see: ask for a larger one"
    )


def build_study(root: Path, design: StudyDesign) -> None:
    """Draw one study, put its files in place, and leave a record that it is done."""
    drawn = draw_labelled(design.plan)
    half = root / STAGING / "half" / design.uid
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    write_series(half, drawn.hu_zyx, design)
    if design.mask_axes is not None:
        mask = root / STAGING / "half" / f"{design.uid}.nii"
        write_mask(mask, drawn.mask_zyx, design)
        os.replace(mask, root / SEGMENTATIONS / mask.name)
    final = study_folder(root, design)
    shutil.rmtree(final, ignore_errors=True)  # in place, but killed before its record was
    os.replace(half, final)
    digest = hashlib.sha256(drawn.hu_zyx.tobytes() + drawn.mask_zyx.tobytes()).hexdigest()
    numbers = design.storage.numbers(len(drawn.hu_zyx))
    boxes = [(*(float(v) for v in box), int(numbers[z])) for z, *box in drawn.boxes]
    record = {"sha256": digest, "boxes": boxes, "drawn": drawn.truth}
    _write(_record_path(root, design), _json_bytes(record))


def _build_all(root: Path, designs: list[StudyDesign], workers: int, progress: bool) -> None:
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed, parallel_config
    from threadpoolctl import threadpool_limits
    from tqdm import tqdm

    todo = [design for design in designs if not _record_path(root, design).exists()]
    bar = tqdm(
        total=len(designs),
        initial=len(designs) - len(todo),
        desc=f"drawing {root.name}",
        unit="study",
        disable=not progress,
    )
    with bar:
        if workers <= 1:
            with threadpool_limits(1):
                for design in todo:
                    build_study(root, design)
                    bar.update()
            return
        with parallel_config(backend="loky", inner_max_num_threads=1):
            jobs = (delayed(build_study)(root, design) for design in todo)
            try:
                for _ in Parallel(n_jobs=workers, return_as="generator_unordered")(jobs):
                    bar.update()
            except BrokenProcessPool as error:
                raise CspineError(
                    "a worker process was killed, perhaps for want of memory: run the same "
                    "again with fewer workers, finished studies are kept"
                ) from error


def _existing(root: Path, wanted: dict[str, Any]) -> bool:
    """True if the finished set is there; False if it is to be made or gone on with.

    Raises:
        CspineError: the folder holds something else.
    """
    if not root.exists():
        return False
    if not root.is_dir():
        raise CspineError(f"{root} is a file: name a new folder for the phantom")
    for path in (root / PHANTOM_JSON, root / STAGING / "request.json"):
        if not path.exists():
            continue
        there = read_json(path)
        there = there.get("request", there)
        differs = [key for key in wanted if there.get(key) != wanted[key]]
        if differs:
            key = differs[0]
            raise CspineError(
                f"{root} holds a phantom with {key}={there.get(key)}, not {wanted[key]}: "
                "remove it or name another folder"
            )
        return path.name == PHANTOM_JSON
    if any(path.name != STAGING for path in root.iterdir()):
        raise CspineError(f"{root} is not empty and holds no phantom: name another folder")
    return False


def make_phantom(
    out: Path | str,
    *,
    train: int,
    test: int,
    shape_zyx: tuple[int, int, int],
    fov_mm: tuple[float, float],
    masked: int,
    seed: int,
    difficulty: float = DEFAULT_DIFFICULTY,
    workers: int = 1,
    progress: bool = True,
) -> Path:
    """Make a phantom data set, or finish one, or find it there already.

    The same arguments (but ``workers`` and ``progress``) and version give the same
    bytes.  A lock beside the folder lets one process build while others wait.

    Args:
        out: folder to make.  Its finished content is RSNA's layout (see
            ``data/README.md``), ``phantom.json`` and the truth that no training
            code reads.
        train: studies in ``train_images``.
        test: studies in ``test_images``.
        shape_zyx: nominal slices, rows, columns; single studies differ.
        fov_mm: nominal extent along z and in the axial plane.
        masked: training studies with a segmentation.
        seed: of everything random.
        difficulty: visibility of the fractures, 0 (plain) to 1 (hidden).
        workers: processes.
        progress: show a bar.

    Returns:
        ``out`` as a path.

    Raises:
        CspineError: impossible counts, or ``out`` holds something else.
    """
    root = Path(out)
    shape = (int(shape_zyx[0]), int(shape_zyx[1]), int(shape_zyx[2]))
    fov = (float(fov_mm[0]), float(fov_mm[1]))
    request = Request(train, test, shape, fov, masked, seed, float(difficulty))
    # By way of JSON, so that it equals what is read back.
    wanted = json.loads(_json_bytes({"version": PHANTOM_VERSION, **asdict(request)}))
    if (root / PHANTOM_JSON).exists() and _existing(root, wanted):
        return root  # without a lock: it may lie where nothing can be written
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not _existing(root, wanted):
            _make(root, request, wanted, workers, progress)
    return root


def _make(
    root: Path, request: Request, wanted: dict[str, Any], workers: int, progress: bool
) -> None:
    staging = root / STAGING
    (staging / "done").mkdir(parents=True, exist_ok=True)
    _write(staging / "request.json", _json_bytes(wanted))
    for name in (TRAIN_IMAGES, TEST_IMAGES, SEGMENTATIONS):
        (root / name).mkdir(exist_ok=True)
    designs = design_set(request)
    _build_all(root, designs, workers, progress)
    records = [json.loads(_record_path(root, d).read_text(encoding="utf-8")) for d in designs]
    for name, content in write_tables(designs, records, wanted).items():
        _write(root / name, content)
    _write(root / PHANTOM_JSON, _json_bytes(set_description(designs, records, wanted)))
    shutil.rmtree(staging)
