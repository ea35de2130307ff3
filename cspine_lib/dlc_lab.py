"""Deck A's classifier on one fold, taken apart for notebook 12.

Everything is read where ``live.train_fold`` has left it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import LEVELS
from cspine_lib.dicom import read_geometry
from cspine_lib.dlc_forests import Places, places_of, principal_axes
from cspine_lib.dlc_method import load_dlc_net, study_outputs
from cspine_lib.dlc_predictors import DlcFolder, load_detector, members
from cspine_lib.dlc_slices import DlcSlices, OneStudy, Outputs, cut
from cspine_lib.errors import CspineError
from cspine_lib.fold_dlc import read_reports
from cspine_lib.forests import fit_forest
from cspine_lib.jobs import load_array
from cspine_lib.label_scores import in_words, mean_ci, study_accuracy, study_loss
from cspine_lib.live import LiveFold, fit_history
from cspine_lib.mask_lab import known_fractures
from cspine_lib.metrics import auroc
from cspine_lib.slice_models import SliceClassifier
from cspine_lib.slice_stacks import SliceStacks
from cspine_lib.visibility import visible_probability

FloatArray = npt.NDArray[np.floating]


class DlcLab:
    """What a trained fold of one of deck A's methods learned from, and what it says.

    Args:
        fold: from ``live.train_fold``.

    Raises:
        CspineError: the fold is of a method of another kind.
    """

    def __init__(self, fold: LiveFold) -> None:
        task = fold.task
        if task.recipe.dlc is None:
            raise CspineError(f"{task.recipe.name} is none of deck A's methods")
        self.fold, self.task, self.recipe = fold, task, task.recipe.dlc
        self.where = DlcFolder(task.folder, task.shared)
        self.stacks = SliceStacks(task.cache, task.shared.parent / "slices", task.profile.slice_px)
        self._said: dict[str, Outputs] = {}

    @cached_property
    def nets(self) -> list[SliceClassifier]:
        """The trained ensemble."""
        n, located = members(self.recipe, self.task.profile), self.recipe.located
        return [load_dlc_net(self.where.net(i, located), self.task.profile) for i in range(n)]

    def outputs(self, uid: str) -> Outputs:
        """What the ensemble says of the slices of a study."""
        if uid not in self._said:
            study = OneStudy.of_stacks(self.stacks, uid)
            self._said[uid] = study_outputs(self.nets, study, self.task.profile)
        return self._said[uid]

    def z_mm(self, uid: str) -> FloatArray:
        """Place of each slice that was looked at along the body axis, from the first one down."""
        return self.outputs(uid).z * self.task.cache.spacing_zyx_mm(uid)[0]

    def seen_images(self, uid: str, z: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(K, p, p): native slices as the classifier sees them, the middle channel."""
        study = OneStudy.of_stacks(self.stacks, uid)
        positions = np.searchsorted(study.z, np.asarray(z))
        return cut(study.images(np.minimum(positions, len(study.z) - 1)), self.task.profile)[:, 1]

    def side_mm(self, uid: str) -> float:
        """Side of what the classifier sees of a slice."""
        whole = self.task.cache.side_px(uid) * self.task.cache.spacing_zyx_mm(uid)[1]
        px = min(self.task.profile.dlc_px, self.stacks.px)
        return whole * px / self.stacks.px

    def histories(self) -> dict[str, pd.DataFrame]:
        """Epoch by epoch: the detection network, the same again, the first classifier."""
        found = {"classifier": fit_history(self.where.net(0, self.recipe.located))}
        if self.recipe.located or self.recipe.forests:
            rounds = range(self.task.profile.dlc_rounds + 1)
            detectors = {
                f"detection, round {r}": fit_history(self.where.detector(r)) for r in rounds
            }
            found = {**detectors, **found}
        return found

    # --- the detection network ------------------------------------------------------------------

    def detected(self, rounds: int, ids: Sequence[str]) -> dict[str, FloatArray]:
        """What the detection network after so many iterations says of studies, (Z, 7) each."""
        net = load_detector(self.where.detector(rounds), self.task.profile)
        pitch = self.task.profile.localiser_pitch_mm
        return {uid: visible_probability([net], self.task.cache, uid, pitch) for uid in ids}

    def labels(self, ids: Sequence[str]) -> dict[str, FloatArray]:
        """What the last detection network has said of training studies, (Z, 7) each."""
        folder = self.where.shared / f"detector{self.task.profile.dlc_rounds}_labels"
        return {uid: load_array(folder / f"{uid}.npy").astype(np.float64) for uid in ids}

    def items(self) -> DlcSlices:
        """The slices that the classifier was trained on, with what each is told."""
        profile, (train, _) = self.task.profile, self.task.inner()
        visible = None
        if self.recipe.located:
            said = self.labels(train)
            visible = {uid: said[uid][self.stacks.z_index(uid)] for uid in train}
        return DlcSlices(
            self.stacks,
            train,
            self.task.labels,
            visible,
            profile,
            per_level=profile.dlc_per_level,
            per_epoch=profile.dlc_per_study * len(train),
        )

    def reports(self) -> pd.DataFrame:
        """What each iteration took and changed, by this fold's own training studies."""
        rows = []
        for one in read_reports(self.where.shared):
            masks = one["masks"]
            rows.append(
                {
                    "round": one["round"],
                    "masked slices": one["masked_slices"],
                    "slices added": one["extended_slices"],
                    "from studies": one["extended_studies"],
                    "sure of": f"{one['confident_share']:.1%}",
                    "answers changed": f"{one['changed_share']:.2%}",
                    "right on masks, before": f"{masks['before']['accuracy']:.3f}",
                    "after": f"{masks['after']['accuracy']:.3f}",
                }
            )
        return pd.DataFrame(rows).set_index("round")

    # --- an example -----------------------------------------------------------------------------

    def fractures_mm(self, uid: str, level: str) -> FloatArray:
        """Where a fracture is known to show, mm along the body axis; may be nothing."""
        dataset = self.task.dataset
        marks = known_fractures(dataset, uid, read_geometry(dataset.study_folder(uid)))
        here = marks.loc[marks["level"] == level, "z"].to_numpy(dtype=np.float64)
        return here * self.task.cache.spacing_zyx_mm(uid)[0]

    def bands_mm(self, uid: str) -> dict[str, tuple[float, float]]:
        """Top and bottom of each level from the study's mask; empty without one."""
        if uid not in self.task.cache.masked_ids:
            return {}
        dz = self.task.cache.spacing_zyx_mm(uid)[0]
        levels = self.task.cache.true_levels(uid)
        return {name: (box.z0 * dz, box.z1 * dz) for name, box in levels.items()}

    def example(self) -> tuple[str, str]:
        """A broken held-out study, one with a mask if there is any, and its first broken level."""
        masked = set(self.task.cache.masked_ids)
        broken = [uid for uid in self.task.test if self.task.dataset.labels(uid).any()]
        if not broken:
            raise CspineError("no study of this fold is broken: take another fold")
        uid = min(broken, key=lambda one: one not in masked)
        return uid, LEVELS[int(np.flatnonzero(self.task.dataset.labels(uid))[0])]


def iteration_table(
    truth: Mapping[str, npt.NDArray[np.bool_]],
    rounds: Sequence[Mapping[str, FloatArray]],
    ids: Sequence[str],
) -> pd.DataFrame:
    """Each round of the detection network against the truth, by study, with 95% intervals."""
    losses = [study_loss(truth, said, ids) for said in rounds]
    right = [study_accuracy(truth, said, ids) for said in rounds]
    rows = []
    for r, (loss, accuracy) in enumerate(zip(losses, right, strict=True)):
        rows.append(
            {
                "round": r,
                "accuracy [95%]": in_words(mean_ci(accuracy)),
                "log loss [95%]": in_words(mean_ci(loss)),
                "log loss minus round 0 [95%]": in_words(mean_ci(loss - losses[0])) if r else "0",
            }
        )
    return pd.DataFrame(rows).set_index("round")


def own_rows_flatter(
    lab: DlcLab, visible: Mapping[str, FloatArray], ids: Sequence[str], *, seed: int = 0
) -> pd.Series:
    """One forest judged on the rows that it was grown on, and on studies that it has not seen.

    Args:
        visible: what the detection network says of these studies, (Z, 7) each.
        ids: studies with known labels; two of three grow the forest.

    Returns:
        AUROC over rows, for both.
    """
    made = {uid: lab.outputs(uid) for uid in ids}
    centre, axes = principal_axes(np.concatenate([out.features for out in made.values()]))
    places: dict[str, Places] = {
        uid: places_of(out, visible[uid][out.z], centre, axes) for uid, out in made.items()
    }
    y = {uid: lab.task.dataset.labels(uid)[places[uid].level] for uid in ids}
    grown = [uid for i, uid in enumerate(ids) if i % 3]
    unseen = [uid for i, uid in enumerate(ids) if i % 3 == 0]
    x = np.concatenate([places[uid].x for uid in grown])
    profile = lab.task.profile
    forest = fit_forest(
        x,
        np.concatenate([y[uid] for uid in grown]),
        trees=profile.dlc_trees,
        leaf=profile.dlc_leaf,
        seed=seed,
    )
    found = {}
    for name, group in (("its own training rows", grown), ("studies it has not seen", unseen)):
        said = np.concatenate([forest.probability(places[uid].x) for uid in group])
        found[name] = float(auroc(np.concatenate([y[uid] for uid in group]), said))
    return pd.Series(found, name="AUROC of a forest")
