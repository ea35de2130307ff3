"""Trained sequence nets asked about held-out vertebrae, as they are or with a channel changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from cspine_lib.anatomy import LEVELS
from cspine_lib.crops import crop_slices
from cspine_lib.errors import CspineError
from cspine_lib.labels import LevelBox
from cspine_lib.vertebra_crops import VertebraCrops, VertebraStore, View
from cspine_lib.vertebra_fit import vertebra_logits
from cspine_lib.vertebra_net import VertebraNet, VertebraViews

FloatArray = npt.NDArray[np.floating]
Change = Callable[[VertebraCrops], VertebraCrops]


@dataclass(frozen=True, eq=False)
class Vertebra:
    """One level as a sequence net sees it.

    Attributes:
        level, box: which it is, and where it was found.
        images: uint8 (T, C, px, px), an outline last if the view has one.
        z: native slice in the middle of each image, (T,).
        logits: of each image, (T,), or of the level, (1,).
        weights: of the images, (T,), summing to 1.
    """

    level: str
    box: LevelBox
    images: npt.NDArray[np.uint8]
    z: npt.NDArray[np.intp]
    logits: FloatArray
    weights: FloatArray


@torch.inference_mode()
def vertebra_of(net: VertebraNet, store: VertebraStore, uid: str, k: int, depth: int) -> Vertebra:
    """Level ``k`` (0 for C1) of a study as a net sees it, not mirrored.

    Args:
        depth: slices of the study.

    Raises:
        CspineError: the level was not found, or the net reads whole studies.
    """
    crops, view, name = store.sequences(uid), store.view, LEVELS[k]
    if not crops.found[k]:
        raise CspineError(f"{name} was not found in study {uid}: choose another level")
    if net.recipe.scope != "level":
        raise CspineError("this net reads all levels of a study at once: ask vertebra_logits")
    if view.plane != "axial":
        raise CspineError(
            "only images from above can be shown on their slices: ask vertebra_logits"
        )
    images = torch.from_numpy(np.array(crops[k]))
    device = next(net.parameters()).device
    seen = VertebraViews(view.px, view.outline).view(images[None].to(device), None)
    logits, weights = net.eval().forward_with_attention(seen, torch.tensor([k], device=device))
    box = crops.levels[name]
    return Vertebra(
        name,
        box,
        _middle(images.numpy(), view),
        crop_slices(box, depth, view.frames),
        logits[0].double().cpu().numpy(),
        weights[0].double().cpu().numpy(),
    )


def _middle(images: npt.NDArray[np.uint8], view: View) -> npt.NDArray[np.uint8]:
    cut = (view.size - view.px) // 2
    return images[..., cut : cut + view.px, cut : cut + view.px]


def ask(
    net: VertebraNet, store: VertebraStore, ids: Sequence[str], change: Change | None = None
) -> FloatArray:
    """Logits (N, 7) of studies, NaN for levels not found; of crops that were changed, if asked."""
    rows = []
    for uid in ids:
        crops = store.sequences(uid)
        rows.append(vertebra_logits(net, change(crops) if change else crops, store.view)[0])
    return np.stack(rows)


def changed(kind: str, seed: int = 0) -> Change:
    """A change of crops, by name; see ``CHANGES``.

    Args:
        seed: of changes that draw.

    Raises:
        CspineError: no such change.
    """
    if kind not in CHANGES:
        raise CspineError(f"unknown change {kind!r}; known: {', '.join(CHANGES)}")
    rng = np.random.default_rng(seed)
    return lambda crops: CHANGES[kind](crops, rng)


def _no_outline(crops: VertebraCrops, rng: np.random.Generator) -> VertebraCrops:
    return _with_outline(crops, lambda outline: np.zeros_like(outline))


def _outline_everywhere(crops: VertebraCrops, rng: np.random.Generator) -> VertebraCrops:
    return _with_outline(crops, lambda outline: np.full_like(outline, 255))


def _with_outline(
    crops: VertebraCrops, make: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
) -> VertebraCrops:
    if len(crops.planes) < 2:
        raise CspineError("these crops keep no outline: choose a method that has one")
    image, outline = np.asarray(crops.planes[0]), np.asarray(crops.planes[1])
    return replace(crops, planes=np.stack([image, make(outline)]))


def _one_slice(crops: VertebraCrops, rng: np.random.Generator) -> VertebraCrops:
    middle = {name: where[:, where.shape[1] // 2] for name, where in crops.index.items()}
    index = {
        name: np.repeat(at[:, None], crops.index[name].shape[1], axis=1)
        for name, at in middle.items()
    }
    return replace(crops, index=index)


def _shuffled(crops: VertebraCrops, rng: np.random.Generator) -> VertebraCrops:
    return replace(
        crops, index={name: rng.permutation(where) for name, where in crops.index.items()}
    )


CHANGES: Mapping[str, Callable[[VertebraCrops, np.random.Generator], VertebraCrops]] = {
    "no outline": _no_outline,
    "outline everywhere": _outline_everywhere,
    "no neighbours": _one_slice,
    "images shuffled": _shuffled,
}
"""The outline blank, or all of the crop; the middle slice in all channels; images out of order."""
