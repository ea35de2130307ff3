"""A fold of deck A's classifier from the inside, as notebook 12 shows it."""

import numpy as np
import pytest

from cspine_lib.config import get_profile
from cspine_lib.dlc_lab import DlcLab, iteration_table, own_rows_flatter
from cspine_lib.dlc_method import level_logits
from cspine_lib.errors import CspineError
from cspine_lib.fold_task import Validation, calibrated
from cspine_lib.live import train_fold
from cspine_lib.rsna import open_dataset
from cspine_lib.slice_truth import true_visibility

PROFILE = get_profile("ci")


@pytest.fixture(scope="module")
def lab(ci_phantom, ci_folds):
    dataset = open_dataset(ci_phantom)
    return DlcLab(train_fold("dlc", dataset, PROFILE, out=ci_folds, progress=False))


def test_it_says_what_the_run_has_said(lab):
    uid = lab.fold.ids[0]
    out, judged = lab.outputs(uid), Validation.read(lab.task.folder)
    z = level_logits(out.fracture, out.visible)
    assert np.allclose(calibrated(z[None], judged.z, judged.y)[0], lab.fold.p[0, 1:], atol=2e-5)
    assert len(lab.z_mm(uid)) == len(out.z) and (np.diff(lab.z_mm(uid)) > 0).all()


def test_histories_are_of_all_networks(lab):
    found = lab.histories()
    assert list(found) == ["detection, round 0", "detection, round 1", "classifier"]
    assert {"val_fracture_loss", "val_visible_loss"} <= set(found["classifier"])


def test_items_are_those_of_the_training(lab):
    items, (train, _) = lab.items(), lab.task.inner()
    assert {uid for uid, _ in items.rows} == set(train)
    assert items.always and (items.fracture[items.always].max(axis=1) == 1).all()
    assert set(lab.labels(train[:2])) == set(train[:2])


def test_images_are_the_cut_that_the_network_sees(lab):
    uid, level = lab.example()
    images = lab.seen_images(uid, [0, 10])
    assert images.shape == (2, PROFILE.dlc_px, PROFILE.dlc_px)
    whole = lab.task.cache.side_px(uid) * lab.task.cache.spacing_zyx_mm(uid)[1]
    assert lab.side_mm(uid) == pytest.approx(whole * PROFILE.dlc_px / PROFILE.slice_px)
    assert level in lab.bands_mm(uid) or not lab.bands_mm(uid)
    assert (lab.fractures_mm(uid, level) >= 0).all()


def test_rounds_are_judged_by_the_truth_of_held_out_studies(lab, tmp_path):
    ids = lab.fold.ids[:4]
    truth = true_visibility(lab.task.dataset, lab.task.cache, ids, tmp_path)
    table = iteration_table(truth, [lab.detected(r, ids) for r in (0, 1)], ids)
    assert list(table.index) == [0, 1] and table.loc[0, "log loss minus round 0 [95%]"] == "0"
    perfect = {uid: truth[uid].astype(float) for uid in ids}
    assert iteration_table(truth, [perfect], ids).loc[0, "accuracy [95%]"].startswith("1.0000")
    assert "answers changed" in lab.reports()


def test_a_forest_flatters_its_own_rows(lab):
    train, _ = lab.task.inner()
    found = own_rows_flatter(lab, lab.detected(1, train), train)
    own, unseen = found["its own training rows"], found["studies it has not seen"]
    assert own > 0.7 and own > unseen


def test_a_fold_of_another_method_is_refused(ci_phantom, ci_folds):
    dataset = open_dataset(ci_phantom)
    other = train_fold("cnn3d", dataset, PROFILE, out=ci_folds, progress=False)
    with pytest.raises(CspineError, match="none of deck A"):
        DlcLab(other)
