"""What a notebook needs around its subject: set-up, the map of chapters, tables."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib import metrics, results
from cspine_lib.anatomy import LEVELS, STUDY_COLUMN
from cspine_lib.config import (
    DEFAULT_SEED,
    Profile,
    device_name,
    runs_home,
    settings_of,
)
from cspine_lib.config.platforms import find_platform, gpu_names, in_words
from cspine_lib.errors import CspineError
from cspine_lib.facts import facts
from cspine_lib.jobs import usable_cores
from cspine_lib.plots import set_style, show_small
from cspine_lib.reach import profile_in_reach
from cspine_lib.recipes import get_recipe, settings_of_recipe
from cspine_lib.rsna import RsnaDataset
from cspine_lib.runs import environment
from cspine_lib.sources import dataset_for

if TYPE_CHECKING:
    from cspine_lib.cache import VolumeCache
    from cspine_lib.volume import Volume

PURPOSE = {
    "ci": "a smoke run, not a result",
    "laptop": "for learning, on a CPU",
    "gpu": "for results on a phantom",
    "rsna": "the slides' own data",
}

RSNA = "RSNA 2022"

_started = time.perf_counter()


@dataclass(frozen=True)
class Chapter:
    """One notebook of the course."""

    name: str
    about: str


CHAPTERS = (
    Chapter("00_start_here", "the map, the environment, a first look at a study"),
    Chapter("01_explore_the_data", "what is in the files, and what trips naive readers"),
    Chapter("02_competition_metric", "the weighted log loss, and the constants to beat"),
    Chapter("03_labels_from_masks", "from segmentations to slices, levels and boxes"),
    Chapter("04_cnn3d", "the whole neck in one 3D network, and why it fails"),
    Chapter("05_vertebra_pseudo_labels", "which levels does a slice show?"),
    Chapter("06_single_head", "fracture and visibility from one head"),
    Chapter("07_multi_head", "two heads, two losses"),
    Chapter("08_localise_levels", "stage 1: levels and boxes"),
    Chapter("09_crop_bilstm_attention", "stage 2: crops in sequence, LSTM, attention"),
    Chapter("10_patient_overall", "from seven probabilities to one"),
    Chapter("11_results_and_cost", "all methods on the same folds, with intervals and seconds"),
    Chapter("12_detection_localized_classifier", "the detection-localised classifier, its rivals"),
    Chapter("13_winning_solutions", "the challenge's winners, rebuilt small"),
    Chapter("14_beyond", "ablations, and a system of our own"),
    Chapter("15_your_own_scan_and_submission", "your own DICOM folder; a submission file"),
)
"""The course, in its order."""


def set_up(
    profile: str | None = None, data: str | Path | None = None
) -> tuple[Profile, RsnaDataset]:
    """Set the figures' style, find profile and data, and print what they are.

    On Kaggle and in Colab a line more says what the platform gives.

    Args:
        profile: name of a profile; None: ``CSPINE_PROFILE``, else ``laptop``.
        data: folder of a data set; see ``sources.resolve_data``.

    Raises:
        CspineError: unknown profile, or no such data.
    """
    global _started
    _started = time.perf_counter()
    set_style()
    show_small()
    pd.set_option("display.max_colwidth", 80)
    chosen = profile_in_reach(profile, quiet=True)
    dataset = dataset_for(chosen, data)
    _clear()  # what a phantom that was just drawn has printed: it names folders of this machine
    kind = "simulated scans, not patients" if dataset.is_phantom else "scans of patients"
    print(f"profile  {chosen.name}: {PURPOSE[chosen.name]}")
    device, platform = device_name(), find_platform()
    if platform.hosted:
        print(f"platform {in_words(platform, gpu_names(), device)}")
    print(f"device   {device}, {usable_cores()} cores")
    print(
        f"data     {dataset.name}: {len(dataset.train_ids)} training and "
        f"{len(dataset.test_ids)} test studies, {len(dataset.masked_ids)} with masks; {kind}"
    )
    return chosen, dataset


def _clear() -> None:
    """Empty the output of the cell that runs, with the next output; nothing outside a notebook."""
    if "IPython" in sys.modules:
        from IPython import get_ipython
        from IPython.display import clear_output

        if get_ipython() is not None:
            clear_output(wait=True)


def cost() -> str:
    """Time since ``set_up`` and the largest memory of this process, in words."""
    seconds = time.perf_counter() - _started
    words = f"{seconds:.0f} s since the set-up cell"
    try:
        import resource
    except ImportError:  # Windows has none
        return words
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gigabytes = peak / (1e9 if sys.platform == "darwin" else 1e6)
    return f"{words}, at most {gigabytes:.1f} GB of memory"


def run_folder(
    method: str,
    dataset: RsnaDataset,
    profile: Profile,
    ids: Sequence[str],
    seed: int = DEFAULT_SEED,
) -> Path:
    """Folder under ``runs/`` of one training; another setting or data set gets another folder."""
    request = [
        settings_of_recipe(recipe := get_recipe(method)),
        settings_of(profile, recipe.kind),
        dataset.fingerprint(),
        sorted(ids),
        seed,
    ]
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    return runs_home() / f"notebook-{method}-{profile.name}-{digest[:10]}"


def volume_of(cache: VolumeCache, dataset: RsnaDataset, uid: str) -> Volume:
    """A training study at native resolution: from the cache, or decoded where it keeps none."""
    return cache.volume(uid) if cache.mode == "volume" else dataset.read_study(uid).volume


# --- tables ----------------------------------------------------------------------------------


def course_map(folder: str | Path = ".") -> pd.DataFrame:
    """The notebooks of the course and, in a folder that has some, which of them are there."""
    here = [(Path(folder) / f"{c.name}.ipynb").exists() for c in CHAPTERS]
    rows = [
        {"notebook": c.name, "what it is about": c.about, "": "here" if is_here else "to come"}
        for c, is_here in zip(CHAPTERS, here, strict=True)
    ]
    table = pd.DataFrame(rows).set_index("notebook")
    # On Kaggle and in Colab a notebook stands alone: nothing can be said about the others.
    return table if any(here) else table[["what it is about"]]


def environment_table() -> pd.DataFrame:
    """Versions of everything that a result depends on."""
    found = {k: v for k, v in environment().items() if k not in ("platform", "cpus", "commit")}
    return pd.DataFrame([found], index=["version"])


def dataset_table(dataset: RsnaDataset) -> pd.DataFrame:
    """What the data set holds, beside RSNA's training set."""
    mine = _contents(
        dataset.train[list(LEVELS)].to_numpy(),
        masked=len(dataset.masked_ids),
        boxed=dataset.boxes[STUDY_COLUMN].nunique(),
    )
    masked, boxed = facts("masks")["studies"], facts("boxes")["studies"]
    theirs = _contents(metrics.pattern_labels()[:, 1:], masked=masked, boxed=boxed)
    return pd.DataFrame([mine, theirs], index=[dataset.name, f"{RSNA}, all"]).T


def _contents(levels: npt.NDArray[np.integer], *, masked: int, boxed: int) -> dict[str, str]:
    """Counts in words of (N, 7) labels and of what comes with them."""
    n = len(levels)
    return {
        "training studies": str(n),
        "with a fracture": _share(int(levels.any(axis=1).sum()), n),
        "with several broken levels": _share(int((levels.sum(axis=1) > 1).sum()), n),
        "broken levels in all": str(int(levels.sum())),
        "with a mask": _share(masked, n),
        "with fracture boxes": _share(boxed, n),
    }


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.0%})"


def scored_row(what: str, data: str, y: npt.ArrayLike, p: npt.ArrayLike) -> dict[str, Any]:
    """One row of a result table: predictions (N, 8) or a constant (8,), scored per exam.

    The difference is paired, to the best constant on the very same studies.
    """
    labels = np.asarray(y)
    best = metrics.best_constants(labels)
    is_best = np.array_equal(np.asarray(p), best)
    difference = "0" if is_best else str(metrics.loss_ci(labels, p, minus=best))
    return {
        "what": what,
        "measured on": data,
        "studies": str(len(labels)),
        "loss [95%]": str(metrics.loss_ci(labels, p)),
        "minus best constant [95%]": difference,
    }


def recorded_rows(method: str) -> list[dict[str, Any]]:
    """Rows of the runs of a method that are recorded under ``results/``."""
    records = [r for r in results.load_records() if r.method == method]
    table = results.results_table(records)
    return [
        {
            "what": f"recorded, profile {record.profile}, {results.how_scored(record)}",
            "measured on": row["data"],
            "studies": row["studies"],
            "loss [95%]": row["loss"],
            "minus best constant [95%]": row["loss − constant"],
        }
        for record, row in zip(records, table.to_dict("records"), strict=True)
    ]


def slide_row(what: str, score: float, measured_on: str) -> dict[str, Any]:
    """Row of a number that a slide gives, without an interval, on data of its own."""
    return {
        "what": what,
        "measured on": measured_on,
        "studies": "",
        "loss [95%]": f"{score:.4f}",
        "minus best constant [95%]": "not given",
    }


def result_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of the three kinds above as one table.

    Raises:
        CspineError: a row does not say on which data it was measured.
    """
    if any(not row.get("measured on") for row in rows):
        raise CspineError("each row of a result table must say on which data it was measured")
    return pd.DataFrame(list(rows)).set_index("what")
