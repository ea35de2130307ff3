"""What training and prediction share: the device, the loader, one pass over a data set."""

from __future__ import annotations

import atexit
import copy
import logging
import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from cspine_lib.batches import BatchTransform, EpochBatches, Unpack, join, to_host
from cspine_lib.config import device_name
from cspine_lib.errors import CspineError
from cspine_lib.ranks import check_all_take_part, lone_process_of_accelerate

if TYPE_CHECKING:
    from accelerate import Accelerator

Precision = Literal["auto", "no", "bf16", "fp16"]

_log = logging.getLogger(__name__)


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


def on_its_device(loader: DataLoader[Any], accelerator: Accelerator) -> Any:
    """The same batches, on the device: a loader whose sampler has dealt them out already."""
    from accelerate.data_loader import prepare_data_loader

    return prepare_data_loader(
        loader,
        accelerator.device,
        num_processes=1,
        process_index=0,
        put_on_device=True,
        non_blocking=True,
    )


def make_accelerator(precision: Precision, device: str | None = None) -> Accelerator:
    """An Accelerator for the wanted device, whatever this process used before.

    Raises:
        CspineError: no such device; processes were started together and do not meet.
    """
    from accelerate import Accelerator, DataLoaderConfiguration

    device = device or device_name()
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise CspineError(f"no device {device!r} here: unset CSPINE_DEVICE or set it to cpu")
    if precision == "auto":
        precision = _auto_precision(device)
    _forget_other_state(device.split(":")[0], precision)
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision=precision,
        dataloader_config=DataLoaderConfiguration(non_blocking=True),
    )
    check_all_take_part(accelerator.num_processes)
    _first_time(accelerator.num_processes)
    return accelerator


@cache
def _first_time(processes: int) -> None:
    """What is said and done once: about a launcher, and for a group of processes."""
    words = lone_process_of_accelerate()
    if words:
        _log.warning(words)
    if processes > 1:
        # Layouts of 1 × 1 kernels are ambiguous; the copy that this warns of costs nothing here.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        atexit.register(leave_group)


def leave_group() -> None:
    """Part from the processes that trained together: an end with open connections can abort."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


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


def schedule(step: int, total: int, warmup_fraction: float) -> float:
    """Factor of the learning rate: a straight climb to 1, then half a cosine towards 0."""
    warmup = warmup_fraction * total
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


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
