"""What a trained sequence net looks at and listens to: the chapter on stage 2.

Three questions to a net, in growing order of trust: which frames have the weight
(``boxed_attention``), which frames hear of each other (``influence``), and what happens
to the answer when a frame is gone (``falls_without``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from cspine_lib.anatomy import LEVELS
from cspine_lib.augment import augment_sequences
from cspine_lib.config import Profile
from cspine_lib.crops import STACK, crop_slices
from cspine_lib.cropstore import CropStore
from cspine_lib.experiment import cv_folder, fold_task
from cspine_lib.fold_task import FoldTask
from cspine_lib.labels import LevelBox
from cspine_lib.models import CropSequenceNet
from cspine_lib.rsna import RsnaDataset
from cspine_lib.stage2 import level_logits
from cspine_lib.two_stage import RECORD, TwoStageModel
from cspine_lib.volume import Volume

Array = npt.NDArray[np.float64]


def frame_slices(box: LevelBox, n_slices: int, frames: int) -> npt.NDArray[np.intp]:
    """Native slices of each frame of a level, (T, 3), head to feet."""
    return crop_slices(box, n_slices, STACK * frames).reshape(frames, STACK)


def trained_folds(method: str, dataset: RsnaDataset, profile: Profile) -> Iterator[FoldTask]:
    """The folds of a two-stage method whose training has ended on this machine."""
    out = cv_folder(dataset, profile)
    for k in range(profile.folds):
        if (out / method / f"fold{k}" / "two_stage" / RECORD).exists():
            yield fold_task(method, dataset, profile, k, out, progress=False)


def boxed_attention(
    tasks: Sequence[FoldTask], wanted: Collection[str] | None = None
) -> pd.DataFrame:
    """Attention in held-out studies, each by its own fold's model.

    Args:
        wanted: studies; None: those with fracture boxes.

    Returns:
        One row per level found: ``fold``, ``study``, ``level``, ``broken``, ``p`` (of a
        fracture), ``box``, ``z`` (T, 3) slices, ``weights`` (T,), ``hit`` (slices with a
        fracture box) and ``boxed`` (T,) bool: does the frame hold such a slice?  RSNA's boxes
        come without a level, so one in a slice that two levels share counts for both.
    """
    rows = []
    for task in tasks:
        chosen = set(task.dataset.boxes["StudyInstanceUID"]) if wanted is None else set(wanted)
        ids = [uid for uid in task.test if uid in chosen]
        if ids:
            model = TwoStageModel.load(task.folder / "two_stage")
            rows += [row for uid in ids for row in _attention_rows(model, task, uid)]
    columns = ("fold", "study", "level", "broken", "p", "box", "z", "weights", "hit", "boxed")
    return pd.DataFrame(rows, columns=list(columns))


def _attention_rows(model: TwoStageModel, task: FoldTask, uid: str) -> list[dict[str, object]]:
    series = task.dataset.read_study(uid)
    hit = task.dataset.boxes_of(uid, series)["z"].unique()
    volume: Volume = task.cache.volume(uid) if task.cache.mode == "volume" else series.volume
    found = model.locate(volume)
    said, weights = model.classify_with_attention(volume, found)
    broken, out = task.dataset.labels(uid), []
    for k, level in enumerate(LEVELS):
        if level not in found:
            continue
        z = frame_slices(found[level], volume.shape_zyx[0], weights.shape[1])
        row = {"fold": task.fold, "study": uid, "level": level, "broken": bool(broken[k])}
        row |= {"p": said[level], "box": found[level], "z": z, "weights": weights[k]}
        out.append(row | {"hit": hit, "boxed": np.isin(z, hit).any(axis=1)})
    return out


@torch.inference_mode()
def frame_vectors(
    net: CropSequenceNet, crops: npt.NDArray[np.uint8], level: int, px: int
) -> tuple[Array, Array]:
    """Vectors of the frames before and after the LSTM.

    Args:
        crops: uint8 (B, T, 3, S, S), sequences of one level.
        level: 0 for C1.

    Returns:
        (B, T, D) and (B, T, W); the same twice in a net without LSTM.
    """
    device = next(net.parameters()).device
    images = augment_sequences(torch.from_numpy(np.array(crops)).to(device), None, px)
    f = net.project(net.encoder(images.flatten(0, 1))).unflatten(0, images.shape[:2])
    if net.level is not None:
        f = f + net.level(torch.tensor([level], device=device))[:, None]
    h = f if net.lstm is None else net.shortcut(f) + net.lstm(f)[0]
    return f.double().cpu().numpy(), h.double().cpu().numpy()


def without_each(crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A sequence (T, 3, S, S) in T versions (T, T, 3, S, S), the t-th without frame t.

    The frame above takes its place (for the first, the one below), as if its slices were
    missing from the scan: nothing is blackened, which no net has seen in training.
    """
    out = np.repeat(crops[None], len(crops), axis=0)
    for t in range(len(crops)):
        out[t, t] = crops[t - 1 if t else min(1, len(crops) - 1)]
    return out


def influence(net: CropSequenceNet, crops: npt.NDArray[np.uint8], level: int, px: int) -> Array:
    """Which frame hears of which, (T, T): row t is how frame t's absence is spread.

    Entry (t, u) is the length of the change of vector u after the LSTM when frame t is
    gone, as a share of its row.  Without LSTM nothing is off the diagonal.
    """
    _, before = frame_vectors(net, crops[None], level, px)
    _, after = frame_vectors(net, without_each(crops), level, px)
    change = np.linalg.norm(after - before, axis=2)
    total = change.sum(axis=1, keepdims=True)
    return np.divide(change, total, out=np.zeros_like(change), where=total > 0)


def falls_without(
    net: CropSequenceNet, store: CropStore, uid: str, level: int
) -> tuple[Array, Array]:
    """Attention of a level's frames, and how far the logit falls when each is gone; both (T,)."""
    crops = np.array(store.sequences(uid)[level])
    whole, attention = _judge(net, crops, level, store.px)
    falls = [whole - _judge(net, each, level, store.px)[0] for each in without_each(crops)]
    return attention, np.array(falls)


def _judge(
    net: CropSequenceNet, crops: npt.NDArray[np.uint8], level: int, px: int
) -> tuple[float, Array]:
    """Logit and attention (T,) of one sequence (T, 3, S, S), as in prediction."""
    table = np.zeros((len(LEVELS), *crops.shape), dtype=np.uint8)
    table[level] = crops
    z, attention = level_logits(net, table, np.arange(len(LEVELS)) == level, px)
    return float(z[level]), attention[level]


def falls_by_rank(
    net: CropSequenceNet, store: CropStore, levels: Sequence[tuple[str, int]]
) -> pd.DataFrame:
    """``falls_without`` for some (study, level): one row per frame, ranked by its weight.

    Returns:
        ``study``, ``level``, ``rank`` (1: the largest weight), ``weight``, ``fall`` of the
        logit, and ``move``, its size without the sign.
    """
    rows = []
    for uid, k in levels:
        weights, falls = falls_without(net, store, uid, k)
        rank = np.argsort(np.argsort(-weights, kind="stable"), kind="stable") + 1
        rows += [
            {
                "study": uid,
                "level": LEVELS[k],
                "rank": int(r),
                "weight": w,
                "fall": d,
                "move": abs(d),
            }
            for r, w, d in zip(rank, weights, falls, strict=True)
        ]
    return pd.DataFrame(rows, columns=["study", "level", "rank", "weight", "fall", "move"])
