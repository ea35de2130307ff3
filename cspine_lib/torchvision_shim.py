"""Lets torchvision import next to a torch that was built for another device.

The wheel of torchvision that package indexes serve is built for CUDA.  Next to a
CPU-only torch its compiled operators do not load, and ``import torchvision``
(hence timm, torchmetrics, lightning) fails while it registers shape functions:
``RuntimeError: operator torchvision::nms does not exist``.  Declaring the two
operators' schemas first is enough; nothing in this library calls them.
"""

from __future__ import annotations

import importlib
import sys

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: object | None = None


def ensure_torchvision() -> bool:
    """Import torchvision, declaring its missing operators where it cannot import alone.

    Returns:
        True if the declarations were needed (now or earlier in this process).

    Raises:
        ImportError: torchvision is not installed.
    """
    global _library
    if "torchvision" in sys.modules:
        return _library is not None
    try:
        importlib.import_module("torchvision")
        return _library is not None
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    import torch

    # Kept alive for the life of the process: its schemas vanish with it.
    _library = library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    importlib.import_module("torchvision")
    return True
