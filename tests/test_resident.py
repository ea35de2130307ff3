"""Data on the device give the batches that a loader would have given."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from cspine_lib.batches import EpochBatches, map_tree
from cspine_lib.loops import make_loader
from cspine_lib.resident import Resident, resident, sample_bytes


class Trees(Dataset):
    """Samples in the shape of stage 2's: ((frames, level), (label, offset))."""

    always = (3, 5)

    def __len__(self):
        return 11

    def __getitem__(self, i):
        frames = torch.full((2, 3, 4, 4), i, dtype=torch.uint8)
        return (frames, i), {"label": torch.tensor(float(i)), "offset": torch.tensor(0.5)}


def leaves(tree):
    found = []
    map_tree(found.append, tree)
    return found


@pytest.mark.parametrize("chunk", [3, 256])
def test_batches_are_those_of_a_loader(monkeypatch, chunk):
    monkeypatch.setattr("cspine_lib.resident.CHUNK", chunk)
    there = Resident(Trees(), "cpu")
    assert len(there) == 11 and there.always == (3, 5)
    order = EpochBatches(11, 4, seed=1)
    ours = list(make_loader(there, order, there.collate, 0))
    theirs = list(DataLoader(Trees(), batch_sampler=EpochBatches(11, 4, seed=1)))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        for x, y in zip(leaves(a), leaves(b), strict=True):
            assert torch.equal(x, y) and x.dtype == y.dtype
    assert torch.equal(there[7][0][0], Trees()[7][0][0])


def test_a_sample_is_as_large_as_its_tensors():
    assert sample_bytes(Trees()) == 2 * 3 * 16 + 8 + 4 + 4


def test_data_stay_where_they_are_without_a_card():
    data = Trees()
    assert resident(data, torch.device("cpu"), None) == (data, None)


@pytest.mark.parametrize(("free", "moved"), [(10**6, True), (1000, False)])
def test_on_a_card_data_move_if_they_fit(monkeypatch, free, moved):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**7))
    monkeypatch.setattr(Resident, "_room", lambda self, like, device: torch.empty(
        (11, *like.shape[1:]), dtype=like.dtype))  # fmt: skip
    data = Trees()
    found, collate = resident(data, torch.device("cuda"), None)
    assert isinstance(found, Resident) == moved and (collate is not None) == moved
