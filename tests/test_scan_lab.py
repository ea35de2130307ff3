"""The lab of the chapter on one's own scan."""

import logging
import os

import numpy as np
import pandas as pd
import pytest

from cspine_lib import scan_lab
from cspine_lib.anatomy import LEVELS, TARGETS
from cspine_lib.dicom import read_series
from cspine_lib.errors import CspineError
from cspine_lib.report import Report
from cspine_lib.rsna import open_dataset
from cspine_lib.submit import submit
from cspine_lib.two_stage import TwoStageModel


@pytest.fixture(scope="module")
def dataset(ci_phantom):
    return open_dataset(ci_phantom)


@pytest.fixture(scope="module")
def model(ci_run):
    return TwoStageModel.load(ci_run)


@pytest.fixture(scope="module")
def scan(dataset, tmp_path_factory):
    assert not os.environ.get(scan_lab.OWN_SCAN)
    return scan_lab.own_scan(dataset, tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def results(model, scan, tmp_path_factory):
    spoilt = scan_lab.spoilt_scans(scan, tmp_path_factory.mktemp("spoilt"))
    return {what: scan_lab.judged(model, folder)[0] for what, folder in spoilt.items()}


def test_a_study_is_copied_out_as_a_cd_holds_it(dataset, scan):
    uid = scan_lab.studies_with_images(dataset)[0]
    assert uid in dataset.test_ids
    names = sorted(path.name for path in scan.iterdir())
    assert names[0] == "IM00001" and len(names) == len(list(dataset.study_folder(uid).iterdir()))
    series, source = read_series(scan), dataset.read_study(uid)
    assert np.array_equal(series.volume.hu_zyx, source.volume.hu_zyx)


def test_own_scan_is_read_where_it_lies(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv(scan_lab.OWN_SCAN, str(tmp_path))
    assert scan_lab.own_scan(dataset, tmp_path / "x") == tmp_path
    monkeypatch.setenv(scan_lab.OWN_SCAN, str(tmp_path / "none"))
    with pytest.raises(CspineError, match=scan_lab.OWN_SCAN):
        scan_lab.own_scan(dataset, tmp_path / "x")


def test_harmless_faults_change_nothing(results):
    first = results["as it came"]
    for what in ("numbered the other way round", "a third of the slices twice"):
        assert results[what].probability == pytest.approx(first.probability, abs=1e-6), what
    assert results["a letter among the slices"].levels == first.levels


def test_the_reader_names_what_can_be_named(results):
    codes = {what: {issue.code for issue in r.issues} for what, r in results.items()}
    fresh = codes["as it came"]
    assert codes["a third of the slices twice"] - fresh == {"duplicate_positions"}
    assert codes["a letter among the slices"] - fresh == {"not_dicom"}
    assert {"truncated", "unreadable"} & codes["every fourth file torn"]
    assert codes["a few slices missing"] - fresh == {"missing_slices"}
    assert "split_stack" in codes["a hole of a third"]
    for silent in ("numbered the other way round", "the lower third cut off"):
        assert codes[silent] == fresh
    assert codes["heights with the wrong sign"] == fresh


def test_table_of_spoilt_scans(results):
    table = scan_lab.spoilt_table(results)
    assert table.index.tolist() == list(scan_lab.SPOILT)
    assert table.loc["as it came", "largest change"] == "0.000"
    assert "not_dicom" in table.loc["a letter among the slices", "the reader's findings"]


def test_a_name_is_planted(scan, tmp_path):
    folder = scan_lab.named_copy(scan, tmp_path, "Doe^Jane")
    assert folder.name == "Doe_Jane"
    assert all(b"Doe^Jane" in path.read_bytes() for path in folder.iterdir())


def test_a_page_in_a_frame_stays_in_it(model, scan):
    result, volume = scan_lab.judged(model, scan)
    small = scan_lab.most_suspicious(result)
    assert len(small.frames) == 2 and small.probability == result.probability
    assert small.levels == result.levels  # none is called missing that is only not drawn
    highest = max(result.levels, key=lambda k: result.probability[k])
    assert highest in small.frames
    text = scan_lab.framed(Report.of(small, volume, model))
    assert text.count("<") == 4 and "sandbox" in text and 'srcdoc="&lt;!DOCTYPE' in text


def test_log_is_caught_and_let_go():
    logger = logging.getLogger("cspine_lib.predict")
    with scan_lab.log_lines() as lines:
        logger.warning("look %s", "here")
    assert lines == ["look here"]
    with scan_lab.log_lines() as more:
        pass
    assert more == [] and logging.getLogger("cspine_lib").propagate


def test_small_set_has_a_missing_and_a_torn_study(dataset, model, tmp_path):
    missing, torn = scan_lab.small_test_set(dataset, tmp_path / "data", most=4)
    asked = pd.read_csv(tmp_path / "data" / "test.csv")
    assert len(asked) == 4 * len(TARGETS) and set(asked["prediction_type"]) == {*TARGETS}
    done = submit(model, tmp_path / "data", tmp_path / "s.csv", progress=False)
    assert set(done.prior) == {missing, torn} and not done.sample
    truth = scan_lab.answers_of(dataset, asked["StudyInstanceUID"].unique())
    assert truth.shape == (4, len(LEVELS) + 1)
    assert scan_lab.answers_of(dataset, ["unknown"]) is None
