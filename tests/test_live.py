"""A fold for a notebook: trained once, found again, of the very folder of ``cspine run``."""

import numpy as np
import pytest

from cspine_lib.config import get_profile
from cspine_lib.experiment import cv_folder, run_method
from cspine_lib.live import fit_history, train_fold
from cspine_lib.rsna import open_dataset


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


def test_a_fold_is_trained_once_and_shared_with_the_run(dataset, tmp_path):
    profile = get_profile("ci")
    first = train_fold("cnn3d", dataset, profile, out=tmp_path, progress=False)
    written = (tmp_path / "cnn3d" / "fold0.json").stat().st_mtime_ns
    again = train_fold("cnn3d", dataset, profile, out=tmp_path, progress=False)
    assert np.array_equal(first.p, again.p) and first.y.shape == first.p.shape
    run_method("cnn3d", dataset, profile, tmp_path, folds=[0], progress=False)
    assert (tmp_path / "cnn3d" / "fold0.json").stat().st_mtime_ns == written
    assert set(first.ids) == set(first.task.test)
    assert not set(first.ids) & set(first.part("cnn3d").train)
    assert len(fit_history(first.task.folder / "cnn3d")) == profile.cube_epochs


def test_data_sets_do_not_share_a_folder(dataset):
    ci, laptop = get_profile("ci"), get_profile("laptop")
    assert cv_folder(dataset, ci) != cv_folder(dataset, laptop)
    assert dataset.fingerprint()[:8] in cv_folder(dataset, ci).name
