"""Order of samples, and the plumbing between datasets, networks and arrays."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

Unpack = Callable[[Any], tuple[tuple[Tensor, ...], Any]]
"""A batch as the loader gives it → (the network's arguments, targets)."""

BatchTransform = Callable[
    [tuple[Tensor, ...], Any, torch.Generator | None], tuple[tuple[Tensor, ...], Any]
]
"""(arguments, targets, generator) → (arguments, targets), on the device.  The generator is
None when the network is judged or used: no augmentation then."""


def derive_seed(*numbers: int) -> int:
    """One 63-bit seed from several numbers, e.g. (seed, epoch, step); order matters."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def set_seed(*numbers: int) -> None:
    """Seed Python's, numpy's and torch's global generators, on all devices."""
    seed = derive_seed(*numbers)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class EpochBatches(Sampler[list[int]]):
    """Batches of indices, shuffled anew each epoch by (seed, epoch) alone.

    A last batch of a single sample is left out where there are others: batch norm
    cannot train on it, and another sample meets that fate in the next epoch.

    Args:
        limit: look at so many samples an epoch, drawn anew each time.
        always: indices that a limited epoch has all the same (rare positives).
        share: (process, of how many) that train together.  Each batch is dealt out among
            them, so that an update sees the samples that it sees with one process.

    Attributes:
        epoch: to be set before iterating.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        limit: int | None = None,
        always: Sequence[int] = (),
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.n = n
        self.rank, self.n_ranks = share
        self.always = torch.tensor(sorted(always), dtype=torch.long)
        self.batch_size = batch_size
        self.seed = seed
        self.n_used = min(n, limit or n)
        self.epoch = 0

    def __len__(self) -> int:
        full, rest = divmod(self.n_used, self.batch_size)
        return max(full + (rest > 1), 1)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
        drawn = torch.randperm(self.n, generator=generator)
        if self.n_used < self.n and len(self.always):
            others = drawn[~torch.isin(drawn, self.always)]
            room = max(self.n_used - len(self.always), 0)
            drawn = torch.cat([self.always, others[:room]])
            drawn = drawn[torch.randperm(len(drawn), generator=generator)]
        order = drawn[: self.n_used].tolist()
        for i in range(len(self)):
            batch = order[i * self.batch_size : (i + 1) * self.batch_size]
            # Who gets nothing of a short batch still has to take part in the update.
            yield batch[self.rank :: self.n_ranks] or batch[-1:]

    def dealt(self, i: int) -> tuple[int, int]:
        """Samples of batch ``i`` that count in this process, and in all together."""
        whole = min(self.batch_size, self.n_used - i * self.batch_size)
        return len(range(self.rank, whole, self.n_ranks)), whole


class TensorBatches(Dataset[Any]):
    """Tensors that lie in memory, or on the GPU, and are handed out by whole batches.

    No sample is collated one by one: ``self.collate`` passes a batch through.  With
    tensors on the GPU, augmentation there too and ``workers=0``, no epoch waits for a
    loader.
    """

    def __init__(self, *tensors: Tensor) -> None:
        if len({len(t) for t in tensors}) != 1:
            raise ValueError("tensors of one length are needed")
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        chosen = torch.as_tensor(indices)
        return tuple(t[chosen.to(t.device)] for t in self.tensors)

    @staticmethod
    def collate(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """For a loader's ``collate_fn``: the batch is one already."""
        return batch


def split_pair(batch: Any) -> tuple[tuple[Tensor, ...], Any]:
    """The default ``Unpack``: (argument or tuple of arguments, targets)."""
    inputs, targets = batch
    return (tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)), targets


def no_transform(
    inputs: tuple[Tensor, ...], targets: Any, generator: torch.Generator | None
) -> tuple[tuple[Tensor, ...], Any]:
    """The default ``BatchTransform``: nothing."""
    return inputs, targets


def size_of(dataset: Any) -> int:
    """Number of samples."""
    sized: Sized = dataset
    return len(sized)


def map_tree(fn: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply ``fn`` to the leaves of trees (dict, list, tuple) of one shape."""
    if isinstance(tree, dict):
        return {k: map_tree(fn, tree[k], *(o[k] for o in others)) for k in tree}
    if isinstance(tree, list | tuple):
        return tuple(map_tree(fn, *leaves) for leaves in zip(tree, *others, strict=True))
    return fn(tree, *others)


def to_host(tree: Any) -> Any:
    """Leaves on the CPU, floats as 32 bit (bf16 has no numpy type)."""

    def host(leaf: Tensor) -> Tensor:
        leaf = leaf.detach().cpu()
        return leaf.float() if leaf.is_floating_point() else leaf

    return map_tree(host, tree)


def join(trees: Sequence[Any]) -> Any:
    """Trees of batches → one tree, leaves joined along the first axis."""
    return map_tree(lambda *leaves: torch.cat(leaves), trees[0], *trees[1:])


def to_numpy(tree: Any) -> Any:
    """Leaves as numpy arrays."""
    return map_tree(lambda leaf: leaf.numpy(), tree)
