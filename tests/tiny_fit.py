"""A training that takes a second, for test_engine.py; as a program, one that can be killed.

The net has all that makes resuming hard: statistics of a batch norm, dropout, a moving
average of the weights, augmentation with random numbers.
"""

import os
import sys
import time

import torch
from torch import nn

from cspine_lib.batches import TensorBatches
from cspine_lib.engine import FitSettings, fit, set_seed
from cspine_lib.models import bce

SETTINGS = FitSettings(epochs=3, batch_size=8, lr=1e-2, seed=7, ema_decay=0.9)


def tiny_net():
    set_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(4 * 36, 1),
        nn.Flatten(0),
    )


def blobs(n, seed):
    """Noise images (n, 1, 8, 8), every second one with a brighter middle."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 1, 8, 8, generator=generator)
    labels = (torch.arange(n) % 2).float()
    images[:, :, 2:6, 2:6] += labels.view(n, 1, 1, 1)
    return TensorBatches(images, labels)


def add_noise(inputs, targets, generator):
    if generator is None:
        return inputs, targets
    (images,) = inputs
    return (images + 0.1 * torch.randn(images.shape, generator=generator),), targets


def slowly(inputs, targets, generator):
    """As ``add_noise``, slow enough to be killed in mid-epoch."""
    if generator is not None:
        time.sleep(0.06)
    return add_noise(inputs, targets, generator)


def train(out, settings=SETTINGS, *, n_val=33, batch_transform=add_noise, **options):
    options = {"loss": bce, "progress": False, "collate": TensorBatches.collate} | options
    return fit(
        tiny_net(),
        blobs(60, 1),
        blobs(n_val, 2) if n_val else None,
        settings=settings,
        out_dir=out,
        batch_transform=batch_transform,
        **options,
    )


if __name__ == "__main__":
    result = train(sys.argv[1], batch_transform=slowly if "--slow" in sys.argv else add_noise)
    # In one piece: two processes that torchrun has started write to the same pipe, unbuffered.
    os.write(1, f"{result.n_processes} {result.history[-1]['val_loss']}\n".encode())
