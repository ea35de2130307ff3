"""The decoded-once cache: whole or not there, resumable, the same for any number of workers."""

import json
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fake_studies import FakeDataset

from cspine_lib import study_files
from cspine_lib.cache import VolumeCache, build_cache, cache_for
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.labels import true_levels


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def reads(log: Path) -> list[str]:
    return sorted(log.read_text().split()) if log.exists() else []


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> VolumeCache:
    data = FakeDataset()
    return build_cache(data, tmp_path_factory.mktemp("c"), data.ids, low_px=32, pitch_mm=9.0)


def test_everything_is_read_back(built):
    data = FakeDataset()
    hu, mask = data.draw("s1")
    volume = built.volume("s1")
    assert np.array_equal(volume.hu_zyx, hu) and isinstance(volume.hu_zyx, np.memmap)
    assert volume.orientation == "IPL"
    assert built.spacing_zyx_mm("s1") == pytest.approx(data.spacing)
    assert np.array_equal(volume.affine_mm, data.read_study("s1").volume.affine_mm)
    assert np.array_equal(built.mask("s1"), mask)
    assert built.true_levels("s1") == true_levels(mask)
    assert built.slice_of_number("s1")[2] == 41
    assert built.reversed("s1") and not built.reversed("s0")
    assert built.issues("s1")[0] == {
        "severity": "warning",
        "code": "gap",
        "message": "a gap",
        "file": "7.dcm",
    }


def test_an_unreadable_study_is_named_and_costs_nothing_else(built):
    assert built.ids == ["s0", "s1", "s2", "s4", "s5"]
    assert built.failed == {"s3": "s3: no readable file"}
    with pytest.raises(CspineError, match="could not be read"):
        built.volume("s3")
    with pytest.raises(CspineError, match="not among"):
        built.slices("unknown")


def test_a_mask_that_does_not_fit_is_an_issue_and_the_study_stays(built):
    assert built.masked_ids == ["s0", "s1", "s2"]
    assert built.mask("s4") is None
    assert any(issue["code"] == "mask" for issue in built.issues("s4"))
    with pytest.raises(CspineError, match="no mask"):
        built.visible_levels("s4")


def test_masked_studies_keep_every_small_slice_others_keep_the_pitch(built):
    assert built.slices("s0").shape == (42, 32, 32)
    assert built.z_index("s5").tolist() == list(range(0, 42, 2))
    assert built.slices("s5").shape == (21, 32, 32)
    assert built.side_px("s5") == 64


def test_workers_and_order_do_not_change_a_byte(built, tmp_path):
    data = FakeDataset()
    build_cache(data, tmp_path, data.ids[::-1], low_px=32, pitch_mm=9.0, workers=2)
    assert contents(tmp_path) == contents(built.folder)


def test_a_second_build_reads_nothing_again(tmp_path):
    log = tmp_path / "log"
    data = FakeDataset(log=log)
    build_cache(data, tmp_path / "c", data.ids[:4])
    assert reads(log) == ["s0", "s1", "s2", "s3"]
    build_cache(data, tmp_path / "c", data.ids)
    assert reads(log) == data.ids


def test_low_mode_keeps_no_volumes_but_all_that_stage_1_needs(built, tmp_path):
    data = FakeDataset()
    low = build_cache(data, tmp_path, data.ids, mode="low", low_px=32, pitch_mm=9.0)
    for uid in low.masked_ids:
        assert np.array_equal(low.slices(uid), built.slices(uid))
        assert np.array_equal(low.visible_levels(uid), built.visible_levels(uid))
        assert low.true_levels(uid) == built.true_levels(uid)
    assert not list(tmp_path.glob("s?.npy")) and not list(tmp_path.glob("*.mask.npy"))
    with pytest.raises(CspineError, match="no whole volumes"):
        low.volume("s0")
    with pytest.raises(CspineError, match="no whole masks"):
        low.mask("s0")


def test_other_data_or_settings_never_meet_an_old_cache(tmp_path):
    data = FakeDataset()
    build_cache(data, tmp_path, ["s0"], low_px=32)
    with pytest.raises(CspineError, match="low_px"):
        build_cache(data, tmp_path, ["s0"], low_px=48)
    with pytest.raises(CspineError, match="data"):
        build_cache(FakeDataset(mark="other"), tmp_path, ["s0"], low_px=32)
    profile = get_profile("ci")
    first = cache_for(data, profile, ["s0"], root=tmp_path)
    assert first.low_px == profile.localiser_px
    other = cache_for(FakeDataset(mark="other"), profile, ["s0"], root=tmp_path)
    assert other.folder != first.folder


def test_a_killed_build_goes_on_where_it_was(built, tmp_path):
    """Kill the process in the middle of a study; the next build ends with the same bytes."""
    folder, log = tmp_path / "c", tmp_path / "log"
    program = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from cspine_lib import cache, study_files; from fake_studies import FakeDataset\n"
        "data = FakeDataset(log=Path(sys.argv[3])); whole = study_files.spine_boxes\n"
        "def slow(mask):\n"
        "    if len(Path(sys.argv[3]).read_text().split()) == 3: time.sleep(60)\n"
        "    return whole(mask)\n"
        "study_files.spine_boxes = slow\n"
        "cache.build_cache(data, Path(sys.argv[2]), data.ids, low_px=32, pitch_mm=9.0)\n"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", program, str(here), str(folder), str(log)]
    process = subprocess.Popen(command, cwd=here.parent)
    try:
        deadline = time.monotonic() + 30
        while not (folder / "s2.levels.npy").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    (folder / ".tmp-1-x-s2.npy").write_bytes(b"half a file")
    assert not (folder / "s2.json").exists()
    data = FakeDataset(log=log)
    build_cache(data, folder, data.ids, low_px=32, pitch_mm=9.0)
    assert reads(log) == ["s0", "s1", "s2", "s2", "s3", "s4", "s5"]
    assert contents(folder) == contents(built.folder)
    assert not list(folder.glob(".tmp-*"))


def test_two_builders_share_the_work(tmp_path):
    log = tmp_path / "log"
    data = FakeDataset(log=log)
    build = [
        threading.Thread(target=build_cache, args=(data, tmp_path / "c", data.ids))
        for _ in range(2)
    ]
    for thread in build:
        thread.start()
    for thread in build:
        thread.join()
    assert reads(log) == data.ids


def test_a_bug_is_not_taken_for_a_bad_study(tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(study_files, "low_stack", broken)
    with pytest.raises(ZeroDivisionError):
        build_cache(FakeDataset(), tmp_path, ["s0"])
    assert not (tmp_path / "s0.json").exists()


def test_a_folder_without_a_cache_says_so(tmp_path):
    with pytest.raises(CspineError, match="no cache"):
        VolumeCache(tmp_path)


def test_opened_again_and_through_pickle(built):
    again = pickle.loads(pickle.dumps(VolumeCache(built.folder)))
    assert again.ids == built.ids and again.failed == built.failed
    assert np.array_equal(again.slices("s2"), built.slices("s2"))
    entry = json.loads((built.folder / "s2.json").read_text())
    assert entry["shape_zyx"] == [42, 64, 64]
