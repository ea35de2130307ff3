"""Which levels each slice truly shows: from masks, and in a phantom from drawing it again.

For scoring labels only.  No training reads what is drawn here: of a study without a mask
the methods of the course know no more than RSNA tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cspine_lib.cache import VolumeCache
from cspine_lib.errors import CspineError
from cspine_lib.jobs import for_each, load_array, only_builder, save_array
from cspine_lib.labels import visible_levels
from cspine_lib.mask_lab.studies import redrawn
from cspine_lib.rsna import RsnaDataset

BoolArray = npt.NDArray[np.bool_]


def drawn_visibility(dataset: RsnaDataset, uid: str) -> BoolArray:
    """Levels in each slice (Z, 7) of a study of a phantom, by drawing it again.

    Raises:
        CspineError: no phantom, or one of another version.
    """
    return visible_levels(redrawn(dataset, uid).mask_zyx)


def true_visibility(
    dataset: RsnaDataset,
    cache: VolumeCache,
    ids: Sequence[str],
    folder: Path,
    *,
    workers: int = 1,
    progress: bool = False,
) -> dict[str, BoolArray]:
    """What is known of the levels in the slices of these studies, (Z, 7) each; resumable.

    Args:
        folder: keeps what was drawn again.

    Returns:
        Masked studies by their masks; in a phantom the others too, by drawing them again.
        Others are left out.
    """
    masked = set(cache.masked_ids)
    known = {uid: cache.visible_levels(uid) for uid in ids if uid in masked}
    if not dataset.is_phantom:
        return known
    others = [uid for uid in ids if uid not in masked]
    with only_builder(folder):
        todo = [uid for uid in others if not (folder / f"{uid}.npy").exists()]
        work = partial(_store, dataset, folder)
        # Starting processes takes longer than drawing a handful of studies.
        workers = workers if len(todo) > 20 else 1
        for_each(work, todo, workers=workers, progress=progress, what="drawing again")
    for uid in others:
        table = load_array(folder / f"{uid}.npy")
        if len(table) != cache.shape_zyx(uid)[0]:
            raise CspineError(
                f"{folder} has {len(table)} slices of study {uid}, the data "
                f"{cache.shape_zyx(uid)[0]}: delete that folder"
            )
        known[uid] = table
    return {uid: known[uid] for uid in ids}


def _store(dataset: RsnaDataset, folder: Path, uid: str) -> None:
    save_array(folder / f"{uid}.npy", drawn_visibility(dataset, uid))
