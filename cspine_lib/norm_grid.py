"""Deck A's first claim, cell by cell: normalisation × backbone × pretraining, on the tune set.

``python -m cspine_lib.norm_grid --profile P`` trains the localised classifier of chapter 12
in each cell for a few epochs on one split of the tune set, and writes
``results/norm_grid/P.json``.  All cells get the same slices, the same labels of visibility
(one detection network) and the same number of images.  A finished cell is not trained again.
A cell whose pretrained weights cannot be had says so and stays empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image

from cspine_lib import metrics
from cspine_lib.ablations import tune_set
from cspine_lib.anatomy import AIR_HU, WINDOWS
from cspine_lib.cache import VolumeCache
from cspine_lib.config import Profile, Weights, device_name, runs_home
from cspine_lib.dlc_method import level_logits, load_dlc_net, study_outputs, train_dlc_net
from cspine_lib.dlc_slices import OneStudy
from cspine_lib.errors import CspineError
from cspine_lib.experiment import fold_task
from cspine_lib.fold_methods import FoldTask, fold_pseudo_labels
from cspine_lib.jobs import save_json
from cspine_lib.metrics import Interval
from cspine_lib.reach import profile_in_reach
from cspine_lib.results import results_home
from cspine_lib.rsna import RsnaDataset, open_dataset
from cspine_lib.runs import atomic_write_text, environment, read_json
from cspine_lib.slice_stacks import SliceStacks
from cspine_lib.slices import neighbour_step
from cspine_lib.weights import has_imagenet

Normalisation = Literal["minmax", "window", "hu"]
FloatArray = npt.NDArray[np.floating]

NORMALISATIONS: dict[Normalisation, str] = {
    "minmax": "each slice from its own minimum to its own maximum",
    "window": "the bone window, the same HU in every slice",
    "hu": "all HU from −1024 to 3071, the same in every slice",
}
BACKBONES = {
    "ci": ("test_efficientnet.r160_in1k", "test_resnet.r160_in1k", "test_convnext.r160_in1k"),
    "laptop": ("tf_efficientnet_lite0", "resnet18d", "convnext_atto"),
    "gpu": ("tf_efficientnetv2_s", "tf_efficientnet_lite0", "resnet50d", "convnext_tiny"),
}
"""The profile's own comes first; each after a family that the deck names, and ConvNeXt."""
EPOCHS = {"ci": 1, "laptop": 4, "gpu": 6}
NO_WEIGHTS = "not run: no weights"
FOLD = 0
Table = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One training of the grid."""

    backbone: str
    weights: Weights
    normalisation: Normalisation

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.backbone.split('.')[0]}-{self.weights}-{self.normalisation}"


def cells_of(profile: Profile) -> list[Cell]:
    """The whole grid; pretrained cells before those from scratch, the bone window first.

    Raises:
        CspineError: the profile has no grid.
    """
    if profile.name not in BACKBONES:
        raise CspineError(
            f"there is no grid for profile {profile.name!r}: take {', '.join(BACKBONES)}"
        )
    kinds: tuple[Weights, ...] = ("imagenet", "random")
    norms: tuple[Normalisation, ...] = ("window", "minmax", "hu")
    return [Cell(b, w, n) for b in BACKBONES[profile.name] for w in kinds for n in norms]


# --- slices --------------------------------------------------------------------------------------


def normalised(hu_zyx: npt.NDArray[np.int16], how: Normalisation) -> npt.NDArray[np.float32]:
    """HU of slices (N, Y, X) → floats in 0..255, without rounding to 8 bits."""
    hu = hu_zyx.astype(np.float32)
    if how == "minmax":
        low = hu.min(axis=(1, 2), keepdims=True)
        high = hu.max(axis=(1, 2), keepdims=True)
    elif how == "window":
        width, level = WINDOWS["bone"]
        low, high = np.float32(level - width / 2), np.float32(level + width / 2)
    else:
        low, high = np.float32(-1024), np.float32(3071)
    scaled = (hu - low) / np.maximum(high - low, 1)
    return np.asarray(255 * np.clip(scaled, 0, 1), dtype=np.float32)


class NormalisedSlices(SliceStacks):
    """Slices of a cache that keeps whole volumes, normalised in one of three ways when read."""

    def __init__(self, cache: VolumeCache, folder: Path, px: int, how: Normalisation) -> None:
        if cache.mode != "volume":
            raise CspineError("the grid needs whole volumes: take a profile with a phantom")
        super().__init__(cache, folder, px)
        self.how: Normalisation = how
        self.folder = self.folder.with_name(f"{self.folder.name}-{how}")

    def stack(self, uid: str) -> npt.NDArray[Any]:
        """(N, P, P) floats in 0..255: every slice of a study."""
        return self._read(uid, self.z_index(uid))

    def images(self, uid: str, positions: npt.ArrayLike) -> npt.NDArray[Any]:
        """(K, 3, P, P) floats in 0..255: slices with their neighbours."""
        z_index = self.z_index(uid)
        step = neighbour_step(z_index, self.cache.spacing_zyx_mm(uid)[0])
        where = np.asarray(positions, dtype=np.intp)[:, None] + np.array([-step, 0, step])
        where = np.clip(where, 0, len(z_index) - 1)
        images = self._read(uid, where.ravel())
        return images.reshape(*where.shape, self.px, self.px)

    def _read(self, uid: str, z: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        hu = np.asarray(self.cache.volume(uid).hu_zyx[z])
        n, y, x = hu.shape
        side = max(y, x)
        if y != x:
            square = np.full((n, side, side), AIR_HU, dtype=np.int16)
            square[:, :y, :x] = hu
            hu = square
        images = normalised(hu, self.how)
        if side == self.px:
            return images
        size = (self.px, self.px)
        resized = [
            np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR))
            for one in images
        ]
        return np.stack(resized).astype(np.float32)


# --- one cell ------------------------------------------------------------------------------------


def run_cell(cell: Cell, task: FoldTask, visible: Mapping[str, FloatArray], folder: Path) -> Table:
    """Train and judge a cell, or read what it has left; the note is written last."""
    note = folder / "note.json"
    if note.exists():
        return read_json(note)
    profile = replace(
        task.profile, backbone=cell.backbone, dlc_epochs=EPOCHS[task.profile.name], dlc_nets=1
    )
    stacks = NormalisedSlices(task.cache, task.shared.parent, profile.slice_px, cell.normalisation)
    train, val = task.inner()
    model, fit = train_dlc_net(
        stacks,
        task.labels,
        visible,
        train,
        val,
        profile,
        folder / "net",
        seed=task.seed,
        weights=cell.weights,
        progress=task.progress,
        label=cell.name,
    )
    nets = [load_dlc_net(folder / "net", profile)]
    said, shown, seen = [], [], []
    for uid in task.test:
        out = study_outputs(nets, OneStudy.of_stacks(stacks, uid), profile)
        said.append(level_logits(out.fracture, out.visible))
        shown.append(visible[uid][out.z] >= 0.5)
        seen.append(out.visible)
    found = {
        **asdict(cell),
        "status": "trained",
        "weights_used": model.encoder.weights_used,
        "images": fit_images(profile, len(train)),
        "seconds": round(fit.seconds, 1),
        "visibility_auroc": _pooled(shown, seen),
        "z": np.round(said, 5).tolist(),
    }
    save_json(note, found)
    return found


def fit_images(profile: Profile, train: int) -> int:
    """Images that a training looks at."""
    return profile.dlc_epochs * profile.dlc_per_study * train


def _pooled(truth: Sequence[npt.NDArray[np.bool_]], said: Sequence[FloatArray]) -> float | None:
    y, p = np.concatenate(truth).ravel().astype(int), np.concatenate(said).ravel()
    value = metrics.auroc(y, p)
    return round(float(value), 5) if np.isfinite(value) else None


# --- the grid ------------------------------------------------------------------------------------


def run_grid(
    dataset: RsnaDataset,
    profile: Profile,
    place: Path,
    *,
    data: str = "tune set",
    out: Path | None = None,
    cells: Sequence[Cell] | None = None,
    progress: bool = True,
) -> Table:
    """All cells; go on where a killed call stopped.  The file is renewed after each cell.

    Args:
        place: folder that gets ``P.json``.
        data: what the set is called in the file's mark.
        out: folder of the trainings; None: one under ``runs/`` for this data set.
        cells: None: all of the profile.

    Raises:
        CspineError: no grid for the profile, or too few masked studies.
    """
    chosen = cells_of(profile) if cells is None else list(cells)
    out = out or runs_home() / f"norm-grid-{profile.name}-{dataset.fingerprint()[:8]}"
    task = fold_task("dlc", dataset, profile, FOLD, out, progress=progress)
    visible, _ = fold_pseudo_labels(task)
    rows: list[Table] = []
    report = _report(task, data, rows)
    for cell in chosen:
        if cell.weights == "imagenet" and not has_imagenet(cell.backbone):
            rows.append({**asdict(cell), "status": NO_WEIGHTS})
        else:
            done = run_cell(cell, task, visible, out / "norm_grid" / cell.name)
            rows.append(_scored(task, done, rows))
        report = _report(task, data, rows)
        text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        atomic_write_text(place / f"{profile.name}.json", text)
        typer.echo(f"{cell.name:44s} {rows[-1].get('auroc', rows[-1]['status'])}")
    return report


def _truth(task: FoldTask) -> npt.NDArray[np.int64]:
    """(N, 7) labels of the held-out studies of the tune set."""
    return np.array([task.dataset.labels(uid) for uid in task.test])


def _auroc(y: FloatArray, z: FloatArray) -> float:
    return metrics.auroc(y.ravel(), z.ravel())


def _auroc_difference(y: FloatArray, z: FloatArray, other: FloatArray) -> float:
    return _auroc(y, z) - _auroc(y, other)


def _scored(task: FoldTask, done: Table, before: Sequence[Table]) -> Table:
    """A trained cell with its interval, and its paired difference to the first trained cell."""
    y, z = _truth(task), np.array(done["z"])
    row = {**done, **_pair("auroc", metrics.bootstrap_ci(_auroc, y, z))}
    first = next((other for other in before if other["status"] == "trained"), None)
    if first is not None:
        difference = metrics.bootstrap_ci(_auroc_difference, y, z, np.array(first["z"]))
        row |= _pair("auroc_minus_first", difference)
    return row


def _pair(name: str, interval: Interval) -> Table:
    """A value and its interval, for JSON; None for what cannot be said."""
    value, low, high = (round(v, 5) if np.isfinite(v) else None for v in map(float, interval))
    return {name: value, f"{name}_ci95": [low, high]}


def _report(task: FoldTask, data: str, rows: Sequence[Table]) -> Table:
    labels = _truth(task)
    return {
        "kind": "norm_grid",
        "note": f"one split of the {data}, {EPOCHS[task.profile.name]} epochs a cell; no result",
        "profile": task.profile.name,
        "data": task.dataset.name,
        "fingerprint": task.dataset.fingerprint(),
        "metric": "AUROC of fractures over all levels, visibility-weighted mean over slices",
        "normalisations": dict(NORMALISATIONS),
        "n_train": len(task.train),
        "n_studies": len(labels),
        "broken_levels": int(labels.sum()),
        "device": device_name(),
        "cells": list(rows),
        "environment": environment(),
    }


def _main(
    profile: Annotated[str | None, typer.Option(help="ci, laptop or gpu.")] = None,
    data: Annotated[str | None, typer.Option(help="Data folder [default: the tune set].")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the trainings.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Normalisation × backbone × pretraining on the tune set; resumes."""
    try:
        chosen = profile_in_reach(profile)
        cells_of(chosen)
        dataset = open_dataset(data) if data else tune_set(chosen, quiet=quiet)
        place, name = results_home() / "norm_grid", dataset.name if data else "tune set"
        run_grid(dataset, chosen, place, data=name, out=out, progress=not quiet)
    except CspineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(_main)
