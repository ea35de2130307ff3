"""What training and prediction share: the device, the loader, one pass over a data set."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from cspine_lib.batches import BatchTransform, EpochBatches, Unpack, join, to_host
from cspine_lib.config import device_name
from cspine_lib.errors import CspineError

if TYPE_CHECKING:
    from accelerate import Accelerator

Precision = Literal["auto", "no", "bf16", "fp16"]


def collect(
    model: nn.Module,
    loader: Any,
    accelerator: Accelerator,
    unpack: Unpack,
    batch_transform: BatchTransform,
    *,
    with_targets: bool = False,
    bar: tqdm[Any] | None = None,
) -> tuple[Any, Any]:
    """Outputs (and targets) of all samples, in order, on the CPU."""
    model.eval()
    outputs, targets = [], []
    with torch.inference_mode():
        for batch in loader:
            inputs, target = unpack(batch)
            inputs, target = batch_transform(inputs, target, None)
            with accelerator.autocast():
                output = model(*inputs)
            outputs.append(to_host(accelerator.gather_for_metrics(output)))
            if with_targets:
                targets.append(to_host(accelerator.gather_for_metrics(target)))
            if bar is not None:
                bar.update(len(inputs[0]) * accelerator.num_processes)
    if bar is not None:
        bar.close()
    return join(outputs), join(targets) if with_targets else None


def make_loader(
    dataset: Any, batches: EpochBatches | int, collate: Callable[[Any], Any] | None, workers: int
) -> DataLoader[Any]:
    """A loader in shuffled batches, or in order with the given batch size."""
    how: dict[str, Any] = {"batch_size": batches}
    if isinstance(batches, EpochBatches):
        how = {"batch_sampler": batches}
    return DataLoader(
        dataset,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        # Worker processes hand over CPU tensors; without them tensors may be on the GPU already.
        pin_memory=workers > 0 and torch.cuda.is_available(),
        **how,
    )


def make_accelerator(precision: Precision, device: str | None = None) -> Accelerator:
    """An Accelerator for the wanted device, whatever this process used before."""
    from accelerate import Accelerator, DataLoaderConfiguration

    device = device or device_name()
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise CspineError(f"no device {device!r} here: unset CSPINE_DEVICE or set it to cpu")
    if precision == "auto":
        precision = _auto_precision(device)
    _forget_other_state(device.split(":")[0], precision)
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision=precision,
        dataloader_config=DataLoaderConfiguration(non_blocking=True),
    )


def _forget_other_state(device: str, precision: str) -> None:
    """Let this process change device or precision.

    Accelerate keeps one state per process and refuses another device or precision in
    it.  Under several processes the state also holds their connection, and stays.
    """
    from accelerate.state import AcceleratorState, PartialState

    if not PartialState._shared_state or PartialState().num_processes > 1:
        return
    agrees = PartialState().device.type == device
    if AcceleratorState._shared_state:
        agrees = agrees and AcceleratorState().mixed_precision == precision
    if not agrees:
        AcceleratorState._reset_state(reset_partial_state=True)


def _auto_precision(device: str) -> Precision:
    if not device.startswith("cuda"):
        return "no"
    # A T4 emulates bf16, slowly: only chips that have it count.
    return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"


def make_bar(total: int, label: str, shown: bool) -> tqdm[Any]:
    """A bar with label, count and rate, gone when it is done."""
    return tqdm(total=total, desc=label, unit=" samples", disable=not shown, leave=False)


class Average:
    """Exponential moving average of weights and statistics."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards ``model``; faster in the first steps, whose weights are soon outdated."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = list(
            zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        )
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
        for a, b in pairs:
            if not a.is_floating_point():
                a.copy_(b)
