"""The case-level net on a fold: it is told whether a neck is broken, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from cspine_lib import fold_neck
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.experiment import fold_task
from cspine_lib.fold_neck import level_shares, load_neck, neck_probabilities, neck_sequence
from cspine_lib.fold_task import Validation
from cspine_lib.jobs import save_json
from cspine_lib.rsna import open_dataset

PROFILE = get_profile("ci")


class Stopped(Exception):
    pass


def test_its_training_never_sees_a_level_label(ci_phantom, ci_folds, tmp_path, monkeypatch):
    dataset = open_dataset(ci_phantom)
    task = fold_task("salehinejad", dataset, PROFILE, 0, ci_folds, progress=False)
    seen = {}

    def spy(stacks, labels, train, val, *rest, **options):
        seen.update(labels=labels, train=train, val=val)
        raise Stopped

    monkeypatch.setattr(fold_neck, "train_neck_net", spy)
    with pytest.raises(Stopped):
        neck_sequence(replace(task, folder=tmp_path))
    assert set(seen["labels"]) == set(task.train) and not set(seen["labels"]) & set(task.test)
    for uid, label in seen["labels"].items():
        assert type(label) is int and label == int(dataset.labels(uid).any())
    assert {*seen["train"], *seen["val"]} == set(task.train)


def test_shares_are_of_broken_necks():
    labels = np.zeros((5, 7), dtype=int)
    labels[0, [1, 4]] = labels[1, 1] = 1  # two broken necks, three whole ones
    share = level_shares(labels)
    assert share[1] == 0.99 and share[4] == 0.5 and share[0] == 0.01
    assert np.allclose(level_shares(np.zeros((4, 7), dtype=int)), 0.1)


def test_levels_get_their_share_of_the_neck_and_cannot_be_told_apart():
    judged = Validation(np.array([[2.0], [-2.0], [1.0], [-1.0]]), np.array([[1], [0], [0], [1]]))
    share = np.linspace(0.1, 0.4, 7)
    p = neck_probabilities(np.array([[1.5], [-0.5], [0.2]]), judged, share)
    assert p.shape == (3, 8) and np.allclose(p[:, 1:], p[:, :1] * share)
    assert p[0, 0] > p[2, 0] > p[1, 0]
    order = np.argsort(p[:, 1:], axis=1)
    assert (order == order[0]).all(), "the same level is the likeliest one in every neck"


def test_a_fold_that_lacks_a_part_is_one_line(tmp_path):
    with pytest.raises(CspineError, match="no weights"):
        load_neck(PROFILE, tmp_path)
    save_json(tmp_path / fold_neck.SHARES, {"share": [0.1] * 7})
    with pytest.raises(CspineError, match="no weights"):
        load_neck(PROFILE, tmp_path)
