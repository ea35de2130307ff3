"""The one fit loop and the one predict loop, on Accelerate.

A fit is decided by its settings, its data and the network that it is given: each
epoch draws its random numbers from (seed, epoch) alone.  So a training that was
killed goes on at its last full epoch and, on CPU, ends in the very bytes of an
unbroken one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cspine_lib.batches import (
    BatchTransform,
    Unpack,
    no_transform,
    set_seed,
    size_of,
    split_pair,
    to_numpy,
)
from cspine_lib.checkpoint import FitFolder, FitResult, describe, load_weights
from cspine_lib.errors import CspineError
from cspine_lib.loops import Precision, collect, make_accelerator, make_bar, make_loader
from cspine_lib.ranks import is_main, main_first
from cspine_lib.trainer import Evaluate, FitSettings, Run, Task

__all__ = ["FitResult", "FitSettings", "fit", "load_weights", "predict", "set_seed"]

_log = logging.getLogger(__name__)


def fit(
    model: nn.Module,
    train_set: Any,
    val_set: Any | None = None,
    *,
    loss: Callable[[Any, Any], Tensor],
    settings: FitSettings,
    out_dir: str | Path,
    unpack: Unpack = split_pair,
    collate: Callable[[Any], Any] | None = None,
    batch_transform: BatchTransform = no_transform,
    evaluate: Evaluate | None = None,
    fingerprint: Mapping[str, Any] | None = None,
    progress: bool = True,
    label: str = "",
) -> FitResult:
    """Train a network, or go on where a killed call stopped, or return what is done.

    AdamW, warm-up and cosine, gradient clipping, mixed precision where the device
    gains by it.  The weights of the best epoch end up in ``out_dir/model.safetensors``
    and in ``model``.

    Args:
        model: moved to the device and trained in place.
        train_set, val_set: map-style datasets; one with ``__getitems__`` may give whole
            batches (see ``batches.TensorBatches``).  Without ``val_set`` the last
            epoch is kept.
        loss: (outputs, targets) → scalar.  Also applied once to the whole validation
            set, on the CPU: ``val_loss``.
        settings: see ``FitSettings``.
        out_dir: folder of this training alone.
        unpack: batch → (arguments of the network, targets).
        collate: the loader's ``collate_fn``.
        batch_transform: applied on the device, with a generator seeded by (seed, epoch,
            step) while training, with None in validation: augmentation, scaling.
        evaluate: further numbers of the validation set, for history and ``metric``.
        fingerprint: JSON-able facts that the folder must agree on when it is used
            again, e.g. data and fold.
        progress: show loss and rate.
        label: shown before the epoch.

    Raises:
        CspineError: no training samples; the loss is no longer finite; ``metric`` is not
            measured; the folder holds another training or is damaged.
    """
    if not size_of(train_set) or (val_set is not None and not size_of(val_set)):
        raise CspineError("a data set without samples: check the ids and the split it was made of")
    task = Task(
        model, train_set, val_set, loss, settings, unpack, collate, batch_transform, evaluate,
        progress, label,
    )  # fmt: skip
    folder = FitFolder(out_dir, _request(task, fingerprint))
    with _alone(folder.path):
        done = folder.finished()
        if done is None:
            done = Run(task, folder).train()
        load_weights(model, folder.path)
    return done


def predict(
    model: nn.Module,
    dataset: Any,
    *,
    batch_size: int,
    device: str | None = None,
    unpack: Unpack = split_pair,
    collate: Callable[[Any], Any] | None = None,
    batch_transform: BatchTransform = no_transform,
    precision: Precision = "auto",
    workers: int = 0,
    progress: bool = False,
    label: str = "predict",
) -> Any:
    """Outputs of the network for every sample, in order.

    Under several processes each computes its share and all get the whole.

    Args:
        model: moved to the device, put into evaluation mode.
        device: ``cpu``, ``cuda`` or ``mps``; None: the best there is (``config.device_name``).
        Others: as in ``fit``; the targets that ``unpack`` gives are not looked at.

    Returns:
        numpy arrays (N, …) in the shape (dict, tuple) in which the network gives tensors.

    Raises:
        CspineError: no samples; no such device.
    """
    if not size_of(dataset):
        raise CspineError("nothing to predict: the data set has no samples")
    accelerator = make_accelerator(precision, device)
    loader = accelerator.prepare(make_loader(dataset, batch_size, collate, workers))
    model = model.to(accelerator.device)
    outputs, _ = collect(
        model, loader, accelerator, unpack, batch_transform,
        bar=make_bar(size_of(dataset), label, progress and accelerator.is_main_process),
    )  # fmt: skip
    return to_numpy(outputs)


def _request(task: Task, fingerprint: Mapping[str, Any] | None) -> dict[str, Any]:
    """What must agree for a folder to be used again; how it is computed need not."""
    settings = asdict(task.settings)
    for name in ("workers", "compile", "precision"):
        del settings[name]
    return {
        "settings": settings,
        "network": describe(task.model),
        "n_train": size_of(task.train_set),
        "n_val": size_of(task.val_set) if task.val_set is not None else 0,
        "fingerprint": dict(fingerprint or {}),
    }


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder: another process that wants the same training waits for this one."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    # Of several that train together the first holds it for all, before they look inside.
    with main_first(f"hold {folder}"):
        if is_main():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                _log.warning("waiting for another process that trains in %s", folder)
                lock.acquire()
    try:
        yield
    finally:
        lock.release()
