"""A timed prediction is the untimed one; floors are counted right."""

import time

import numpy as np
import pytest
import torch

from cspine_lib import config, cost
from cspine_lib.anatomy import LEVELS, TARGETS
from cspine_lib.dicom import read_series
from cspine_lib.errors import CspineError
from cspine_lib.predict import predict_volume
from cspine_lib.predictors import TwoStagePredictor, even_levels, time_records, untrained
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import RunRecord
from cspine_lib.two_stage import TwoStageModel

CI = config.get_profile("ci")


@pytest.fixture(scope="module")
def study(ci_phantom):
    dataset = open_dataset(ci_phantom)
    folder = ci_phantom / "test_images" / dataset.test_ids[0]
    return folder, read_series(folder).volume


def test_reading_on_the_clock_gives_what_read_series_gives(ci_phantom) -> None:
    dataset = open_dataset(ci_phantom)
    assert len(dataset.train_ids) == 20  # one of them has a file that is cut off
    for uid in dataset.train_ids:
        folder, clock = ci_phantom / "train_images" / uid, cost.Clock()
        timed, plain = cost.timed_volume(folder, clock), read_series(folder).volume
        assert np.array_equal(timed.hu_zyx, plain.hu_zyx)
        assert np.allclose(timed.affine_mm, plain.affine_mm)
        assert clock.seconds["read"] > 0 and clock.seconds["decode"] > 0


def test_a_folder_without_slices_is_said(tmp_path) -> None:
    with pytest.raises(CspineError, match="no CT slice"):
        cost.timed_volume(tmp_path, cost.Clock())


def test_clock_adds_up() -> None:
    clock = cost.Clock()
    for _ in range(2):
        with clock.step("crop"):
            time.sleep(0.01)
    assert 0.02 <= clock.seconds["crop"] < 0.5
    assert sum(clock.seconds.values()) == clock.seconds["crop"]


def test_timed_two_stage_says_what_the_model_says(ci_run, study) -> None:
    folder, volume = study
    model = TwoStageModel.load(ci_run)
    timed = cost.time_study(TwoStagePredictor(model), folder)
    said = predict_volume(model, "x", volume).probability
    assert timed.p.tolist() == pytest.approx([said[t] for t in TARGETS], abs=1e-6)
    assert timed.slices == len(list(folder.iterdir()))
    assert timed.total == pytest.approx(sum(timed.seconds.values()))
    assert min(timed.seconds[s] for s in ("read", "localise", "crop", "classify")) > 0
    assert timed.megabytes > 0


@pytest.mark.parametrize("method", ["cnn3d", "single_head", "multi_head", "crop_bilstm"])
def test_untrained_methods_give_eight_probabilities(method, study) -> None:
    timed = cost.time_study(untrained(method, CI), study[0])
    assert timed.p.shape == (8,)
    assert ((timed.p > 0) & (timed.p < 1)).all()
    assert (timed.seconds["localise"] > 0) == (method == "crop_bilstm")


def test_times_are_put_into_records_of_the_same_data_and_profile(ci_phantom, tmp_path) -> None:
    dataset = open_dataset(ci_phantom)

    def record(name: str, fingerprint: str, profile: str = "ci") -> RunRecord:
        values = {"data": dataset.name, "fingerprint": fingerprint, "weights": "random"}
        scores = {"loss": 0.5, "n_studies": 1}
        made = RunRecord("cnn3d", profile, 1, device="cpu", scores=scores, **values)
        made.write(tmp_path / f"{name}.json")
        return made

    kept = record("cv", dataset.fingerprint())
    record("other", "another")
    record("profile", dataset.fingerprint(), "laptop")
    (tmp_path / "ablations-ci.json").write_text("{}")
    assert time_records(tmp_path, dataset, CI, 2) == {"cnn3d": pytest.approx(0.1, abs=5)}
    timed = RunRecord.read(tmp_path / "cv.json")
    assert timed.scores["seconds_per_study"] > 0
    assert timed.scores["seconds_split"].keys() == set(cost.STEPS)
    assert timed.created == kept.created and timed.scores["loss"] == 0.5
    for name in ("other", "profile"):
        assert "seconds_per_study" not in RunRecord.read(tmp_path / f"{name}.json").scores


def test_stand_ins_are_seven_boxes_inside_any_volume(study) -> None:
    levels = even_levels(study[1])
    assert list(levels) == list(LEVELS)
    z, y, x = study[1].shape_zyx
    for box in levels.values():
        assert 0 <= box.z0 <= box.z1 < z
        assert 0 <= box.x0 < box.x1 <= x and 0 <= box.y0 < box.y1 <= y


def test_a_table_has_a_row_for_each_study(study) -> None:
    timed = cost.time_studies(untrained("cnn3d", CI), {"a": study[0], "b": study[0]})
    table = cost.split_table(timed)
    assert list(table.columns) == list(cost.STEPS) and list(table.index) == ["a", "b"]


def test_hours_grow_with_studies() -> None:
    interval = cost.hours_for([2.0, 4.0, 6.0], 1800)
    assert interval.value == pytest.approx(2.0)
    assert 1.0 <= interval.low < 2.0 < interval.high <= 3.0
    steady = cost.hours_for([3.6] * 4, 2019)
    assert tuple(steady) == pytest.approx((2.019, 2.019, 2.019))


def test_flops_of_a_convolution() -> None:
    net = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert cost.flops(net, torch.zeros(2, 3, 16, 16)) == 2 * (2 * 8 * 16 * 16) * 3 * 3 * 3


def test_rates_and_memory_are_sensible() -> None:
    assert 1e8 < cost.matmul_rate(256, 2) < 1e16
    before = cost.peak_memory_gb()
    block = np.ones(30_000_000)
    assert cost.peak_memory_gb() >= before > 0.01
    assert block[0] == 1
