"""What training leaves in its folder, and how it goes on from there after a kill.

While it runs: ``state.pt`` (all that the next epoch needs) and the weights of the
best epoch so far.  When it is done: ``model.safetensors`` and ``fit.json``.  Every
file appears whole or not at all, in an order that a kill at any time leaves usable.
"""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cspine_lib.errors import CspineError
from cspine_lib.runs import atomic_path, atomic_write_bytes, atomic_write_text, read_json

MODEL_FILE = "model.safetensors"
RESULT_FILE = "fit.json"
STATE_FILE = "state.pt"


@dataclass
class FitResult:
    """How a training went.

    Attributes:
        best_epoch: epoch whose weights were kept, counted from 1.
        best_score: its value of the metric that chose it; NaN if nothing could be chosen.
        history: one dict per epoch: epoch, lr, train_loss, val_loss, further metrics,
            seconds, samples_per_second.
        seconds: time spent in epochs, over all the starts that it took.
        precision: ``no`` (32-bit), ``bf16`` or ``fp16``.
    """

    best_epoch: int = 0
    best_score: float = math.nan
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    n_processes: int = 1
    precision: str = "no"
    device: str = "cpu"


# --- weights


def save_weights(state: Mapping[str, Tensor], path: str | Path) -> Path:
    """Write a state dict as safetensors, atomically."""
    from safetensors.torch import save

    # safetensors wants plain memory; channels-last tensors are strided.
    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    # By way of memory: on a full disk safetensors and torch raise errors of their own.
    return atomic_write_bytes(path, save(plain))


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Fill a model from a safetensors file, or from the folder of a fit; returns it.

    Raises:
        CspineError: no such file, not safetensors, or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if path.is_dir():
        path = path / MODEL_FILE
    if not path.is_file():
        raise CspineError(f"no weights at {path}: train first, or name another run")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CspineError(f"{path} is damaged ({error}): remove it and train again") from error
    own = model.state_dict()
    wrong = [k for k, v in own.items() if k not in state or state[k].shape != v.shape]
    wrong += [k for k in state if k not in own]
    if wrong:
        raise CspineError(
            f"{path} holds another network: {len(wrong)} tensors do not fit, e.g. {wrong[0]}; "
            "use the profile and method that it was trained with"
        )
    model.load_state_dict(state)
    return model


# --- the folder


def describe(model: nn.Module) -> str:
    """Short fingerprint of a network's layout (names and shapes, not values)."""
    import hashlib

    layout = [f"{name}:{tuple(value.shape)}" for name, value in model.state_dict().items()]
    return hashlib.sha256("\n".join(layout).encode()).hexdigest()[:16]


class FitFolder:
    """Reads and writes one training folder.

    Args:
        path: the folder; made if it is not there.
        request: what is asked for (settings, network, data): JSON-able.  A folder that
            holds something else is refused, never overwritten.
    """

    def __init__(self, path: str | Path, request: dict[str, Any]) -> None:
        self.path = Path(path)
        self.request: dict[str, Any] = json.loads(json.dumps(request))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CspineError(f"cannot write {path}: {error.strerror}") from error

    def finished(self) -> FitResult | None:
        """The result of a training that ended, or None.

        Raises:
            CspineError: the folder is damaged, or holds another training.
        """
        path = self.path / RESULT_FILE
        if not path.exists():
            return None
        content = read_json(path)
        self._check(content.get("request"))
        self._tidy()
        known = {f.name for f in fields(FitResult)}
        try:
            return FitResult(**{k: v for k, v in _nan(content["result"]).items() if k in known})
        except (KeyError, AttributeError) as error:
            raise CspineError(f"{path} is damaged: remove the folder and train again") from error

    def finish(self, result: FitResult) -> None:
        """Make ``model.safetensors`` and ``fit.json``, then tidy up."""
        best = self._best_file(result.best_epoch)
        # After a kill between these lines the copy exists already and is the same.
        with atomic_path(self.path / MODEL_FILE) as temporary:
            shutil.copyfile(best, temporary)
        content = {"request": self.request, "result": _no_nan(asdict(result))}
        atomic_write_text(self.path / RESULT_FILE, json.dumps(content, indent=1) + "\n")
        self._tidy()

    def save_epoch(
        self, state: dict[str, Any], result: FitResult, best: Mapping[str, Tensor] | None
    ) -> None:
        """Store a full epoch.

        Args:
            state: tensors and plain values that the next epoch needs.
            best: weights to keep, if this epoch is the best so far.
        """
        # Under its epoch's name and before the state that refers to it: a kill in between
        # leaves the older state with the older best.
        if best is not None:
            save_weights(best, self._best_file(result.best_epoch))
        content = {"request": json.dumps(self.request), "result": asdict(result), "state": state}
        buffer = io.BytesIO()
        torch.save(content, buffer)
        atomic_write_bytes(self.path / STATE_FILE, buffer.getbuffer())
        self._remove_best_files(keep=self._best_file(result.best_epoch))

    def resume(self) -> tuple[dict[str, Any], FitResult] | None:
        """State and result after the last full epoch, or None at the start.

        Raises:
            CspineError: the folder is damaged, or holds another training.
        """
        path = self.path / STATE_FILE
        if not path.exists():
            return None
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            request = json.loads(content["request"])
            result, state = FitResult(**content["result"]), content["state"]
        except Exception as error:  # torch raises many kinds for a damaged file
            raise CspineError(f"{path} is damaged: remove it to train from the start") from error
        self._check(request)
        if not self._best_file(result.best_epoch).exists():
            raise CspineError(f"{self.path} lost its best weights: remove the folder and try again")
        return state, result

    def _check(self, found: Any) -> None:
        if found == self.request:
            return
        other = _first_difference(found, self.request)
        raise CspineError(
            f"{self.path} holds another training ({other}): name another folder or remove it"
        )

    def _best_file(self, epoch: int) -> Path:
        return self.path / f"best-{epoch:04d}.safetensors"

    def _tidy(self) -> None:
        """Remove what only an unfinished training needs; a kill may have left it."""
        self._remove_best_files(keep=None)
        (self.path / STATE_FILE).unlink(missing_ok=True)

    def _remove_best_files(self, keep: Path | None) -> None:
        for path in self.path.glob("best-*.safetensors"):
            if path != keep:
                path.unlink(missing_ok=True)


def _first_difference(found: Any, wanted: Any, name: str = "") -> str:
    """In words: the first setting in which two requests differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                return _first_difference(found.get(key), wanted.get(key), key)
    return f"{name} is {found!r} there, {wanted!r} now"


def _no_nan(value: Any) -> Any:
    """JSON has no NaN: None stands for it."""
    if isinstance(value, dict):
        return {k: _no_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_no_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _nan(value: Any) -> Any:
    """The reverse of ``_no_nan`` for results."""
    if isinstance(value, dict):
        return {k: _nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_nan(v) for v in value]
    return math.nan if value is None else value
