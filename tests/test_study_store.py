"""Stored predictions: what is finished is found, what is not is never taken for it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import report_factory as factory

from cspine_lib import study_store
from cspine_lib.anatomy import TARGETS
from cspine_lib.study_store import ScanFiles, Slot, read_study, safe_name, write_study

FILES = ScanFiles(3, "abc")


def slot(tmp_path, study="s", model=None, files=FILES, wanted=(".html",)):
    return Slot.of(tmp_path, study, model or factory.Model(), files, wanted)


@pytest.fixture
def stored(tmp_path):
    here = slot(tmp_path)
    here.path(".html").write_text("<html>a report</html>")
    write_study(here, factory.result(study="s"), factory.Model(), factory.volume())
    return here


def test_what_was_written_is_read(stored):
    result, want = read_study(stored), factory.result(study="s")
    assert result.study == "s" and result.levels == want.levels
    assert result.probability == pytest.approx(want.probability, abs=1e-6)
    for name, frames in want.frames.items():
        assert np.array_equal(result.frames[name].z, frames.z)
        assert np.allclose(result.frames[name].weight, frames.weight, atol=1e-6)


def test_json_names_version_key_and_hashes(stored):
    from cspine_lib import __version__

    content = json.loads(stored.path(".json").read_text())
    assert content["version"] == __version__ and content["key"] == stored.key
    assert content["files"] == {"count": 3, "sha256": "abc"}
    assert len(content["written"][".html"]) == 64
    assert set(content["probability"]) == set(TARGETS)


def test_another_model_file_or_version_is_another_request(stored, tmp_path, monkeypatch):
    for other in (
        slot(tmp_path, model=factory.Model(identity="other")),
        slot(tmp_path, files=ScanFiles(3, "abd")),
        slot(tmp_path, files=ScanFiles(4, "abc")),
    ):
        assert other.key != stored.key and read_study(other) is None
    monkeypatch.setattr(study_store, "__version__", "99")
    assert read_study(slot(tmp_path)) is None


def test_half_written_is_not_whole(stored):
    whole = stored.path(".json").read_bytes()
    for share in (0, 0.3, 0.7, 0.99):
        stored.path(".json").write_bytes(whole[: int(share * len(whole))])
        assert read_study(stored) is None
    stored.path(".json").write_bytes(whole)
    assert read_study(stored) is not None
    report = stored.path(".html").read_bytes()
    stored.path(".html").write_bytes(report[:-1])
    assert read_study(stored) is None
    stored.path(".html").unlink()
    assert read_study(stored) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c.pop("probability"),
        lambda c: c["probability"].update(C1=float("nan")),
        lambda c: c["probability"].update(C1=7),
        lambda c: c["probability"].pop("C7"),
        lambda c: c.update(levels=[]),
        lambda c: c["levels"]["C1"].update(box_px={"level": "C9"}),
        lambda c: c.update(frames={"C1": [{}]}),
        lambda c: c.update(issues=[{"severity": "warning"}]),
        lambda c: c.update(written=None),
        lambda c: c.update(study="t"),
        lambda c: c.update(error="[missing] gone"),
        lambda c: c.clear(),
    ],
)
def test_a_file_of_another_kind_is_not_believed(stored, spoil):
    content = json.loads(stored.path(".json").read_text())
    spoil(content)
    stored.path(".json").write_text(json.dumps(content))
    assert read_study(stored) is None


def test_hash_of_files_knows_names_and_contents(tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    assert ScanFiles.of(None) == ScanFiles.of(tmp_path / "none") == ScanFiles()
    (folder / "1.dcm").write_bytes(b"one")
    (folder / "2.dcm").write_bytes(b"two")
    first = ScanFiles.of(folder)
    assert first.count == 2 and ScanFiles.of(folder) == first
    assert str(first.count) in first.text() and first.sha256 in first.text()
    (folder / "2.dcm").write_bytes(b"twO")
    second = ScanFiles.of(folder)
    (folder / "2.dcm").rename(folder / "3.dcm")
    assert len({first.sha256, second.sha256, ScanFiles.of(folder).sha256}) == 3


def test_a_study_without_files_of_its_own_needs_none(tmp_path):
    here = replace(slot(tmp_path), wanted=())
    write_study(here, factory.result(study="s", levels={}, frames={}), factory.Model(), None)
    assert read_study(here).levels == {}


def test_long_names_are_shortened_and_stay_apart():
    long = "ä" * 200
    names = {safe_name(long), safe_name(long + "1"), safe_name(long + "2")}
    assert len(names) == 3 and all(len(n.encode()) <= 100 for n in names)
    assert safe_name("1.2.840") == "1.2.840"
