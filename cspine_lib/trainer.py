"""One training, step by step (``engine.fit`` is the door to it)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from cspine_lib.batches import (
    BatchTransform,
    EpochBatches,
    Unpack,
    derive_seed,
    set_seed,
    size_of,
    to_numpy,
)
from cspine_lib.checkpoint import FitFolder, FitResult
from cspine_lib.config import DEFAULT_SEED
from cspine_lib.errors import CspineError
from cspine_lib.loops import (
    Average,
    Precision,
    collect,
    make_accelerator,
    make_bar,
    make_loader,
    on_its_device,
    schedule,
)
from cspine_lib.resident import on_device, reading_processes, resident

Evaluate = Callable[[Any, Any], Mapping[str, float]]
"""(outputs, targets) of the whole validation set, as numpy arrays in the shape (dict, tuple)
that network and unpacking give them → named numbers."""


@dataclass(frozen=True)
class FitSettings:
    """What decides a training, beside network and data."""

    epochs: int = 4
    batch_size: int = 32
    lr: float = 1e-3
    """Peak of the cosine."""
    encoder_lr_factor: float = 1.0
    """Times ``lr`` for what stands under ``encoder``: below 1 keeps pretraining longer."""
    weight_decay: float = 0.01
    """Of weight matrices and kernels; biases and norms have none."""
    warmup_fraction: float = 0.1
    """Share of all steps over which the rate climbs to its peak."""
    clip_norm: float = 1.0
    seed: int = DEFAULT_SEED
    precision: Precision = "auto"
    """``auto``: 32 bit on CPU and MPS (bf16 is slower there); on CUDA bf16, fp16 before Ampere."""
    metric: str = "val_loss"
    """Which number of the validation set picks the epoch that is kept; lower is better."""
    patience: int | None = None
    """Stop after so many epochs without a better one."""
    ema_decay: float | None = None
    """Judge and keep a moving average of the weights, e.g. 0.99; None: the weights."""
    samples_per_epoch: int | None = None
    """Look at so many samples an epoch, drawn anew each time; None: at all.  Those whose
    indices the data set names in ``always`` are in every epoch."""
    compile: bool = False
    """torch.compile the network; gains on long runs on CUDA."""
    workers: int = 0
    """Loader processes."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1 or self.lr <= 0:
            raise CspineError("a fit needs epochs ≥ 1, batch_size ≥ 1 and lr > 0")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise CspineError("ema_decay lies between 0 and 1, e.g. 0.99; None switches it off")


@dataclass
class Task:
    """The arguments of a fit, as they were given."""

    model: nn.Module
    train_set: Any
    val_set: Any | None
    loss: Callable[[Any, Any], Tensor]
    settings: FitSettings
    unpack: Unpack
    collate: Callable[[Any], Any] | None
    batch_transform: BatchTransform
    evaluate: Evaluate | None
    progress: bool
    label: str


class Run:
    """The state of one training: what changes from step to step."""

    def __init__(self, task: Task, folder: FitFolder) -> None:
        self.task, self.folder = task, folder
        s = task.settings
        self.accelerator = accelerator = make_accelerator(s.precision)
        model = on_device(task.model, accelerator.device)
        train_set, collate = resident(task.train_set, accelerator.device, task.collate)
        # Copied before Accelerate wraps the original.
        self.ema = Average(model, s.ema_decay) if s.ema_decay else None
        self.batches = EpochBatches(
            size_of(train_set),
            s.batch_size,
            s.seed,
            s.samples_per_epoch,
            getattr(train_set, "always", ()),
            (accelerator.process_index, accelerator.num_processes),
        )
        train = make_loader(
            train_set, self.batches, collate, reading_processes(train_set, s.workers)
        )
        fused = accelerator.device.type == "cuda"
        optimizer = torch.optim.AdamW(parameter_groups(model, s), lr=s.lr, fused=fused)
        self.net, self.optimizer = accelerator.prepare(model, optimizer)
        self.loader = on_its_device(train, accelerator)
        self.runner: nn.Module = self.net
        if s.compile:
            self.runner = torch.compile(self.net)  # type: ignore[assignment]
        self.val_loader = None
        if task.val_set is not None:
            val_set, collate = resident(task.val_set, accelerator.device, task.collate)
            val = make_loader(
                val_set, 2 * s.batch_size, collate, reading_processes(val_set, s.workers)
            )
            self.val_loader = accelerator.prepare(val)
        self.generator = torch.Generator(accelerator.device)
        self.total_steps = s.epochs * len(self.loader)

    def train(self) -> FitResult:
        """All epochs that are still to do."""
        result = self._resume()
        # No process writes before all have looked at the folder.
        self.accelerator.wait_for_everyone()
        for epoch in range(len(result.history), self.task.settings.epochs):
            if self._patience_ended(result):
                break
            self._one_epoch(epoch, result)
        if self.accelerator.is_main_process:
            self.folder.finish(result)
        self.accelerator.wait_for_everyone()
        # Gives the network back without the wrapper of mixed precision.
        self.accelerator.unwrap_model(self.net, keep_fp32_wrapper=False)
        self.accelerator.free_memory()
        return result

    def _resume(self) -> FitResult:
        found = self.folder.resume()
        if found is None:
            accelerator = self.accelerator
            return FitResult(
                n_processes=accelerator.num_processes,
                precision=accelerator.mixed_precision,
                device=accelerator.device.type,
            )
        state, result = found
        self.task.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema and state["ema"]:
            self.ema.model.load_state_dict(state["ema"])
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        return result

    def _one_epoch(self, epoch: int, result: FitResult) -> None:
        """Train, judge, store."""
        started = time.perf_counter()
        s = self.task.settings
        label = f"{self.task.label} epoch {epoch + 1}/{s.epochs}".strip()
        shown = self.task.progress and self.accelerator.is_main_process
        with make_bar(self.batches.n_used, label, shown) as bar:
            entry = {"epoch": epoch + 1, "train_loss": self._steps(epoch, bar)}
            trained = time.perf_counter() - started
            self._share_statistics()
            entry |= self._judge()
        entry["lr"] = self.optimizer.param_groups[-1]["lr"]
        entry["seconds"] = time.perf_counter() - started
        entry["samples_per_second"] = self.batches.n_used / trained
        best = self._score(entry, result)
        result.history.append(entry)
        result.seconds += entry["seconds"]
        if self.accelerator.is_main_process:
            self.folder.save_epoch(self._state(), result, best)

    def _steps(self, epoch: int, bar: tqdm[Any]) -> float:
        """Train for one epoch; returns the mean loss."""
        rank = self.accelerator.process_index
        set_seed(self.task.settings.seed, epoch, rank)
        self.batches.epoch = epoch
        self.runner.train()
        # Reading the loss makes a GPU wait: not at every step there.
        every = 1 if self.accelerator.device.type == "cpu" else 20
        total, n = torch.zeros((), device=self.accelerator.device), 0
        for i, batch in enumerate(self.loader):
            self.generator.manual_seed(derive_seed(self.task.settings.seed, epoch, i, rank))
            size, whole = self.batches.dealt(i)
            # The processes' gradients are averaged: a larger share weighs more, so that the
            # mean is the one over the whole batch.
            weight = size * self.accelerator.num_processes / whole
            loss = self._step(batch, epoch * len(self.loader) + i, weight)
            total, n = total + loss * size, n + size
            if i % every == 0:
                self._check(loss.item(), epoch)
                bar.set_postfix(loss=f"{total.item() / max(n, 1):.4f}", refresh=False)
            bar.update(whole)
        sums = self.accelerator.reduce(torch.stack([total, torch.full_like(total, n)]))
        mean = (sums[0] / sums[1]).item()
        self._check(mean, epoch)
        return mean

    def _step(self, batch: Any, step: int, weight: float) -> Tensor:
        """One update; returns its loss, detached."""
        s = self.task.settings
        inputs, targets = self.task.unpack(batch)
        inputs, targets = self.task.batch_transform(inputs, targets, self.generator)
        for group in self.optimizer.param_groups:
            factor = schedule(step, self.total_steps, s.warmup_fraction)
            group["lr"] = s.lr * group["factor"] * factor
        loss = self.task.loss(self.runner(*inputs), targets)
        self.accelerator.backward(loss if weight == 1.0 else loss * weight)
        self.accelerator.clip_grad_norm_(self.net.parameters(), s.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(self.task.model, step)
        return loss.detach().float()

    def _check(self, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            raise CspineError(
                f"the loss became {loss} in epoch {epoch + 1}: look for NaN in the data or lower "
                f"the learning rate (now {self.task.settings.lr:g})"
            )

    def _share_statistics(self) -> None:
        """Under several processes: the first one's batch norm statistics for all.

        Each has seen other samples; what is judged and what is stored must be one net.
        """
        if self.accelerator.num_processes == 1:
            return
        from accelerate.utils import broadcast

        for model in (self.task.model, *([self.ema.model] if self.ema else [])):
            for buffer in model.buffers():
                buffer.copy_(broadcast(buffer))

    def _judge(self) -> dict[str, float]:
        """Numbers of the validation set, if there is one."""
        if self.val_loader is None:
            return {}
        net = self.ema.model if self.ema else self.runner
        outputs, targets = collect(
            net, self.val_loader, self.accelerator, self.task.unpack, self.task.batch_transform,
            with_targets=True,
        )  # fmt: skip
        numbers = {"val_loss": self.task.loss(outputs, targets).item()}
        if self.task.evaluate is not None:
            found = self.task.evaluate(to_numpy(outputs), to_numpy(targets))
            numbers |= {name: float(value) for name, value in found.items()}
        return numbers

    def _score(self, entry: dict[str, float], result: FitResult) -> dict[str, Tensor] | None:
        """Weights to keep if this epoch is the best so far (noted in ``result``), else None."""
        metric = self.task.settings.metric
        if self.val_loader is None:
            score = math.nan
        elif metric in entry:
            score = entry[metric]
        else:
            known = ", ".join(k for k in entry if k not in ("epoch", "lr", "seconds"))
            raise CspineError(f"no metric {metric!r} is measured here; known: {known}")
        # Where nothing can be compared, the later epoch is kept.
        if not (math.isnan(result.best_score) or score < result.best_score):
            return None
        result.best_epoch, result.best_score = int(entry["epoch"]), score
        return (self.ema.model if self.ema else self.task.model).state_dict()

    def _patience_ended(self, result: FitResult) -> bool:
        patience = self.task.settings.patience
        if patience is None or math.isnan(result.best_score):
            return False
        return len(result.history) - result.best_epoch >= patience

    def _state(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "model": self.task.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.model.state_dict() if self.ema else None,
            "scaler": scaler.state_dict() if scaler is not None else None,
        }


def parameter_groups(model: nn.Module, settings: FitSettings) -> list[dict[str, Any]]:
    """By part (encoder or not) and decay (matrices and kernels or not)."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("encoder."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "factor": settings.encoder_lr_factor if in_encoder else 1.0,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (in_encoder, decays), parameters in sorted(groups.items(), reverse=True)
    ]
