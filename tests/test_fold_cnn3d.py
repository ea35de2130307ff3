"""The 3D classifier on one fold: plain cubes as before, spine cubes with a chain that holds."""

from dataclasses import replace

import numpy as np
import pytest

from cspine_lib.config import get_profile, settings_of
from cspine_lib.cubes import CubeSpec, build_cubes, spine_spec
from cspine_lib.experiment import _request, fold_task, run_method
from cspine_lib.fold_cnn3d import cnn3d, cube_probabilities, fold_levels
from cspine_lib.fold_methods import KINDS
from cspine_lib.fold_task import Validation
from cspine_lib.leakage import check_leakage
from cspine_lib.live import train_fold
from cspine_lib.recipes import get_recipe
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import read_json
from cspine_lib.whole_neck import train_whole_neck, whole_neck_logits

PROFILE = get_profile("ci")


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("cv3d")


@pytest.fixture(scope="module")
def record(dataset, out):
    """Spine cubes on both folds."""
    return run_method("cnn3d_spine", dataset, PROFILE, out, progress=False)


def test_the_record_of_spine_cubes_has_localisers_and_no_leak(record):
    assert record is not None and check_leakage(record) == []
    for k in range(PROFILE.folds):
        net = record.part(f"cnn3d_spine/fold{k}")
        held_out = set(record.part(f"calibration/fold{k}").test)
        assert net.uses == [f"stage1/{i}/fold{k}" for i in range(2)]
        assert net.weights == "random"
        for name in net.uses:
            localiser = record.part(name)
            assert localiser.seconds > 0 and not held_out & {*localiser.train, *localiser.val}
    assert record.seconds == pytest.approx(sum(part.seconds for part in record.parts))


@pytest.mark.parametrize("place", ["train", "val"])
def test_a_localiser_that_saw_a_held_out_study_is_found(record, place):
    victim = record.part("calibration/fold0").test[0]
    bad = record.part("stage1/1/fold0")
    bad = replace(bad, **{place: [*getattr(bad, place), victim]})
    leaky = replace(record, parts=[bad if p.name == bad.name else p for p in record.parts])
    (leak,) = check_leakage(leaky)
    assert (leak.part, leak.source) == ("calibration/fold0", "stage1/1/fold0")
    assert leak.studies == (victim,)


def test_a_localiser_of_another_fold_is_found(record):
    net = record.part("cnn3d_spine/fold0")
    bad = replace(net, uses=[*net.uses, "stage1/0/fold1"])
    leaky = replace(record, parts=[bad if p.name == net.name else p for p in record.parts])
    assert {leak.source for leak in check_leakage(leaky)} == {"stage1/0/fold1"}


def test_a_training_study_is_located_by_the_localiser_that_has_not_seen_it(dataset, out, record):
    task = fold_task("cnn3d_spine", dataset, PROFILE, 0, out, progress=False)
    for uid in task.train:
        part = read_json(task.shared / "stage1" / "levels" / f"{uid}.json")["part"]
        localiser = record.part(f"stage1/{part}/fold0")
        assert uid not in {*localiser.train, *localiser.val}
    held_out = {path.stem for path in (task.shared / "stage1" / "held_out").glob("*.json")}
    assert held_out == set(task.test)
    assert set(fold_levels(task)[0]) == {*task.train, *task.test}


def test_cubes_show_the_spine_at_the_size_asked_for(dataset, out, record):
    task = fold_task("cnn3d_spine", dataset, PROFILE, 0, out, progress=False)
    spec, levels = spine_spec(PROFILE), fold_levels(task)[0]
    (folder,) = task.shared.glob("spine-*")
    assert folder.name == "spine-" + "x".join(map(str, spec.shape_zyx))
    again = build_cubes(task.cache, task.test, folder, spec, levels=levels)
    for uid in task.test:
        assert again.cube(uid).shape == spec.shape_zyx
        assert again.size_zyx_mm(uid) == pytest.approx(spec.field_mm, abs=4)


def test_plain_cubes_are_what_they_were(dataset, out):
    """The parts put together by hand give the same probabilities, to the last bit."""
    fold = train_fold("cnn3d", dataset, PROFILE, out=out, progress=False)
    task, side = fold.task, PROFILE.cube_px
    store = build_cubes(
        task.cache, task.cache.ids, out / "by-hand" / f"cubes-{side}", CubeSpec((side,) * 3)
    )
    train, val = task.inner()
    folder, labels = out / "by-hand" / "cnn3d", task.labels8
    model, _ = train_whole_neck(
        store, labels, train, val, PROFILE, folder, seed=task.seed, progress=False
    )
    z, z_val = (whole_neck_logits(model, store, ids) for ids in (task.test, val))
    p = dict(
        zip(
            task.test,
            cube_probabilities(z, Validation(z_val, np.stack([labels[u] for u in val]))),
            strict=True,
        )
    )
    assert np.allclose(fold.p, [p[uid] for uid in fold.ids], atol=2e-6)
    assert [part.name for part in fold.parts] == ["cnn3d/fold0", "calibration/fold0"]
    assert fold.parts[0].uses == [] and not list(task.folder.glob("localiser*"))
    assert KINDS["cnn3d"] is cnn3d


def test_a_run_is_told_by_what_decides_it(dataset):
    """Stage 1's settings decide spine cubes, and must not touch runs of the plain method."""
    other = replace(PROFILE, localiser_epochs=9, crop_px=40)
    plain, spine = get_recipe("cnn3d"), get_recipe("cnn3d_spine")
    assert _request(plain, PROFILE, dataset, 0) == _request(plain, other, dataset, 0)
    assert _request(spine, PROFILE, dataset, 0) != _request(spine, other, dataset, 0)
    larger = replace(PROFILE, cube_px=32)
    assert _request(plain, PROFILE, dataset, 0) != _request(plain, larger, dataset, 0)
    assert _request(spine, PROFILE, dataset, 0) == _request(spine, larger, dataset, 0)
    assert "cube_epochs" in settings_of(PROFILE, "cnn3d_spine")
