"""Data sets that lie on the card: read once per training, then no epoch waits for a loader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from cspine_lib.batches import map_tree, size_of

CHUNK = 256
SHARE = 0.5
"""Of the card's free memory that data may take; the rest is the network's."""
MANY = 2000
"""From so many samples on, several processes read them."""


class Resident(Dataset[Any]):
    """All samples of a data set as tensors on a device, handed out by whole batches.

    Batches are those that a loader would have made of the same indices, already on the
    device.  Augmentation belongs to the fit loop's batch transform, so that every sample is
    the same whenever it is read.

    Args:
        dataset: map-style; its samples are read once.
        device: where they shall lie.
        collate: the loader's ``collate_fn``.

    Attributes:
        always: of ``dataset``, see ``FitSettings.samples_per_epoch``.
    """

    def __init__(
        self,
        dataset: Any,
        device: str | torch.device,
        collate: Callable[[Any], Any] | None = None,
    ) -> None:
        self._n = size_of(dataset)
        self.always: Sequence[int] = getattr(dataset, "always", ())
        workers = reading_processes(dataset) if self._n > MANY else 0
        loader = DataLoader(dataset, CHUNK, collate_fn=collate, num_workers=workers)
        tree, at = None, 0
        for chunk in loader:
            if tree is None:
                tree = map_tree(lambda t: self._room(t, device), chunk)
            size = _first(chunk).shape[0]
            map_tree(lambda room, part, a=at, n=size: room[a : a + n].copy_(part), tree, chunk)
            at += size
        self.tree = tree

    def _room(self, like: Tensor, device: str | torch.device) -> Tensor:
        return torch.empty((self._n, *like.shape[1:]), dtype=like.dtype, device=device)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> Any:
        return map_tree(lambda t: t[index], self.tree)

    def __getitems__(self, indices: Sequence[int]) -> Any:
        chosen = torch.as_tensor(indices, device=_first(self.tree).device)
        return map_tree(lambda t: t[chosen], self.tree)

    @staticmethod
    def collate(batch: Any) -> Any:
        """For a loader's ``collate_fn``: the batch is one already."""
        return batch


def resident(
    dataset: Any, device: torch.device, collate: Callable[[Any], Any] | None
) -> tuple[Any, Callable[[Any], Any] | None]:
    """The data set on the card where it fits, else as it is; and the ``collate_fn`` to use."""
    if device.type != "cuda" or hasattr(dataset, "__getitems__"):
        return dataset, collate
    free, _ = torch.cuda.mem_get_info(device)
    if sample_bytes(dataset, collate) * size_of(dataset) > SHARE * free:
        return dataset, collate
    there = Resident(dataset, device, collate)
    return there, there.collate


def reading_processes(dataset: Any, asked: int = 0) -> int:
    """How many processes should read this data set, ``asked`` for or not.

    None on the CPU, where they would take what the network needs; none for data that lie
    on the card.
    """
    if asked or isinstance(dataset, Resident) or hasattr(dataset, "__getitems__"):
        return asked
    return min(torch.get_num_threads(), 8) if torch.cuda.is_available() else 0


def on_device(model: nn.Module, device: torch.device) -> nn.Module:
    """The network on its device, on a card with channels last, as its kernels read them."""
    model = model.to(device)
    if device.type == "cuda":
        for layout in (torch.channels_last, torch.channels_last_3d):
            model = model.to(memory_format=layout)  # type: ignore[call-overload]
    return model


def sample_bytes(dataset: Any, collate: Callable[[Any], Any] | None = None) -> int:
    """Size of one sample, inputs and targets."""
    leaves: list[int] = []
    batch = (collate or default_collate)([dataset[0]])
    map_tree(lambda t: leaves.append(t.numel() * t.element_size()), batch)
    return sum(leaves)


def _first(tree: Any) -> Tensor:
    while not isinstance(tree, Tensor):
        tree = next(iter(tree.values())) if isinstance(tree, dict) else tree[0]
    return tree
