"""A slice classifier on one fold, taken apart for notebooks 06 and 07.

Everything is read where ``live.train_fold`` has left it: pseudo-labels, resized slices, weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import LEVELS, TARGETS
from cspine_lib.dicom import read_geometry
from cspine_lib.errors import CspineError
from cspine_lib.jobs import load_array
from cspine_lib.live import LiveFold
from cspine_lib.mask_lab import known_fractures
from cspine_lib.metrics import MIN_POSITIVES, auroc, auroc_ci
from cspine_lib.slice_method import load_slice_classifier, slice_outputs
from cspine_lib.slice_models import SliceClassifier
from cspine_lib.slice_stacks import SHOWS, FractureSlices, SliceStacks

FloatArray = npt.NDArray[np.floating]
CANDIDATES = 12
"""Studies whose headers are read to find a telling example."""


class SliceLab:
    """What a trained fold of ``single_head`` or ``multi_head`` learned from, and what it says.

    Args:
        fold: from ``live.train_fold``.

    Raises:
        CspineError: the fold is of a method of another kind.
    """

    def __init__(self, fold: LiveFold) -> None:
        task = fold.task
        if task.recipe.slices is None:
            raise CspineError(f"{task.recipe.name} is no slice classifier")
        self.fold, self.task, self.heads = fold, task, task.recipe.slices.heads
        self.stacks = SliceStacks(task.cache, task.shared.parent / "slices", task.profile.slice_px)
        self._said: dict[str, tuple[FloatArray, FloatArray]] = {}

    @cached_property
    def model(self) -> SliceClassifier:
        """The trained network, in the state that is kept."""
        return load_slice_classifier(self.task.folder / "classifier", self.task.profile, self.heads)

    def pseudo_labels(self, uid: str) -> FloatArray:
        """(N, 7): how surely each entry of a study's stack shows each level.

        From the visibility model that has not seen this fold.
        """
        table = load_array(self.task.shared / "pseudo_labels" / f"{uid}.npy").astype(np.float64)
        return table[self.stacks.z_index(uid)]

    def items(self) -> FractureSlices:
        """The slices that the fold's model was trained on, with their targets."""
        train, _ = self.task.inner()
        visible = {uid: self.pseudo_labels(uid) for uid in train}
        per_level = self.task.profile.slice_per_level
        return FractureSlices(self.stacks, train, self.task.labels, visible, per_level)

    def outputs(self, uid: str) -> tuple[FloatArray, FloatArray]:
        """Visibility and fracture probability (N, 7) of every entry of a study's stack."""
        if uid not in self._said:
            self._said[uid] = slice_outputs(self.model, self.stacks, uid)
        return self._said[uid]

    def z_mm(self, uid: str) -> FloatArray:
        """Place (N,) of each entry of a stack along the body axis, from the first slice down."""
        return self.stacks.z_index(uid) * self.task.cache.spacing_zyx_mm(uid)[0]

    def side_mm(self, uid: str) -> float:
        """Side of the square that a slice of the stack shows."""
        return self.task.cache.side_px(uid) * self.task.cache.spacing_zyx_mm(uid)[1]

    # --- what is known to be true --------------------------------------------------------------

    def bands_mm(self, uid: str) -> dict[str, tuple[float, float]]:
        """Top and bottom of each level from the study's mask; empty without one."""
        if uid not in self.task.cache.masked_ids:
            return {}
        dz = self.task.cache.spacing_zyx_mm(uid)[0]
        return {
            level: (box.z0 * dz, box.z1 * dz)
            for level, box in self.task.cache.true_levels(uid).items()
        }

    def fractures(self, uid: str) -> pd.DataFrame:
        """Where fractures are known to show: columns level, z, x0, y0, x1, y1, ``z_mm``.

        Drawn ones of a phantom; for real data boxes, where one level alone is broken.
        """
        dataset = self.task.dataset
        marks = known_fractures(dataset, uid, read_geometry(dataset.study_folder(uid)))
        return marks.assign(z_mm=marks["z"] * self.task.cache.spacing_zyx_mm(uid)[0])

    def example(self) -> tuple[str, str]:
        """A held-out study and a broken level of it to look at: one with a mask, if there is any.

        Among those the level whose fracture shows in most slices.

        Raises:
            CspineError: nothing in this fold is broken.
        """
        masked = set(self.task.cache.masked_ids)
        broken = [uid for uid in self.task.test if self.task.dataset.labels(uid).any()]
        broken = sorted(broken, key=lambda uid: uid not in masked)[:CANDIDATES]
        found = []
        for uid in broken:
            marks = self.fractures(uid)["level"].value_counts()
            levels = [LEVELS[k] for k in np.flatnonzero(self.task.dataset.labels(uid))]
            found += [(uid in masked, marks.get(k, 0), uid, k) for k in levels]
        if not found:
            raise CspineError("no study of this fold is broken: take another fold")
        _, _, uid, level = max(found)
        return uid, level


def slice_auroc(lab: SliceLab, ids: Sequence[str], *, shown: bool) -> tuple[float, int]:
    """How well the fracture outputs of single slices tell broken from whole.

    A slice counts as broken at a level if its study's level is and the slice shows it (by the
    pseudo-labels).

    Args:
        shown: count only the slices that show the level; else all of them.

    Returns:
        AUROC over all levels together, and how many answers it is made of.
    """
    truth, said = [], []
    for uid in ids:
        visible = lab.pseudo_labels(uid) >= SHOWS
        broken = visible & (lab.task.dataset.labels(uid) == 1)
        used = visible if shown else np.ones_like(visible)
        truth.append(broken[used])
        said.append(lab.outputs(uid)[1][used])
    y, p = np.concatenate(truth), np.concatenate(said)
    return float(auroc(y, p)), len(y)


def auroc_within_levels(y: npt.NDArray[np.integer], p: FloatArray) -> float:
    """Share of pairs, a broken and a whole study at the same level, in the right order.

    Over all levels together, so that each pair counts once; a tie counts one half.  Unlike the
    AUROC of all answers in one heap it gives nothing for knowing which levels break often.

    Args:
        y, p: (N, 7) labels and scores.

    Returns:
        NaN where there is no such pair.
    """
    won, pairs = 0.0, 0
    for truth, score in zip(y.T, p.T, strict=True):
        n = int((truth == 1).sum()) * int((truth == 0).sum())
        won += n * float(auroc(truth, score)) if n else 0.0
        pairs += n
    return won / pairs if pairs else float("nan")


def auroc_table(y: npt.NDArray[np.integer], p: FloatArray) -> pd.DataFrame:
    """AUROC of each of the eight targets with its 95% interval, as text.

    n/a where fewer than ``metrics.MIN_POSITIVES`` studies are broken, or whole.
    """
    rows = []
    for j, target in enumerate(TARGETS):
        broken = int(y[:, j].sum())
        few = min(broken, len(y) - broken) < MIN_POSITIVES
        value = "n/a" if few else str(auroc_ci(y[:, j], p[:, j]))
        rows.append({"target": target, "broken": broken, "AUROC [95%]": value})
    return pd.DataFrame(rows).set_index("target").T
