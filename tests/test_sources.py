"""Which data set is meant, in which order, and what an error says."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from cspine_lib import sources
from cspine_lib.anatomy import BOX_COLUMNS, TRAIN_COLUMNS
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.rsna import open_dataset
from cspine_lib.sources import dataset_for, make_profile_phantom, resolve_data, subset

PROFILE = get_profile("ci")


def real_like(root: Path, n: int = 100, masked: int = 30) -> Path:
    """Tables and empty masks of a set in RSNA's layout, without images."""
    (root / "segmentations").mkdir(parents=True)
    ids = [f"1.2.826.0.1.3680043.{i}" for i in range(n)]
    rows = [[uid, 1, 1, *[0] * 6] if i % 2 else [uid, *[0] * 8] for i, uid in enumerate(ids)]
    pd.DataFrame(rows, columns=list(TRAIN_COLUMNS)).to_csv(root / "train.csv", index=False)
    boxes = [[uid, 1.0, 2.0, 3.0, 4.0, 5] for uid in ids]
    table = pd.DataFrame(boxes, columns=list(BOX_COLUMNS))
    table.to_csv(root / "train_bounding_boxes.csv", index=False)
    for uid in ids[:masked]:
        (root / "segmentations" / f"{uid}.nii").touch()
    return root


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """No data anywhere, and phantoms are only asked for, not drawn."""
    made = []

    def note(out, **request):
        made.append((Path(out), request))
        return real_like(Path(out)) if not Path(out).exists() else Path(out)

    monkeypatch.delenv("CSPINE_DATA", raising=False)
    monkeypatch.setenv("CSPINE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sources, "KAGGLE_MOUNTS", (tmp_path / "mounted", tmp_path / "mounted2"))
    monkeypatch.setattr("cspine_lib.phantom.build.make_phantom", note)
    return made


def test_the_order_is_given_environment_mounted_phantom(tmp_path, monkeypatch, bare_machine):
    phantom = resolve_data(None, PROFILE, quiet=True)
    assert phantom == tmp_path / "home" / "data" / "phantom-ci"
    mounted = real_like(tmp_path / "mounted2")
    assert resolve_data(None, PROFILE) == mounted
    in_environment = real_like(tmp_path / "env")
    monkeypatch.setenv("CSPINE_DATA", str(in_environment))
    assert resolve_data(None, PROFILE) == in_environment
    given = real_like(tmp_path / "given")
    assert resolve_data(str(given), PROFILE) == given
    assert resolve_data("phantom", PROFILE, quiet=True) == phantom
    assert resolve_data("rsna", PROFILE) == mounted
    assert resolve_data(given, PROFILE, phantom=True, quiet=True) == phantom


def test_the_phantom_is_the_profiles_and_is_announced_once(tmp_path, capsys, bare_machine):
    resolve_data(None, PROFILE)
    out, request = bare_machine[0]
    size = PROFILE.phantom
    assert (request["train"], request["test"], request["masked"]) == (20, 8, size.masked)
    assert request["shape_zyx"] == size.shape_zyx and request["fov_mm"] == size.fov_mm
    text = capsys.readouterr().out
    assert text.count("\n") == 1 and "20 + 8 simulated studies" in text and str(out) in text
    assert "0.021 GB" in text
    (out / "phantom.json").write_text("{}")
    resolve_data(None, PROFILE)
    assert capsys.readouterr().out == ""
    (out / "phantom.json").unlink()
    resolve_data(None, PROFILE, quiet=True)
    assert capsys.readouterr().out == ""


def test_other_counts_of_a_phantom(tmp_path, bare_machine):
    make_profile_phantom(PROFILE, tmp_path / "p", train=5, test=0, difficulty=0.25, quiet=True)
    request = bare_machine[0][1]
    assert (request["train"], request["test"], request["masked"]) == (5, 0, 5)
    assert request["difficulty"] == 0.25
    with pytest.raises(CspineError, match="ci, laptop, gpu"):
        make_profile_phantom(get_profile("rsna"), tmp_path / "p")


def test_a_mounted_set_is_cut_down_and_says_so(tmp_path, capsys):
    real_like(tmp_path / "mounted")
    data = dataset_for(PROFILE)
    assert len(data.train_ids) == 60 and len(data.masked_ids) == 24
    assert set(data.boxes["StudyInstanceUID"]) == set(data.train_ids)
    assert data.name == "RSNA 2022, 60 of 100 studies" and data.name in capsys.readouterr().out
    assert dataset_for(PROFILE, quiet=True).train_ids == data.train_ids
    assert capsys.readouterr().out == ""
    whole = dataset_for(get_profile("rsna"))
    assert len(whole.train_ids) == 100
    assert data.train_ids == [u for u in whole.train_ids if u in set(data.train_ids)]
    assert data.labels(data.train_ids[7]).tolist() == whole.labels(data.train_ids[7]).tolist()


def test_a_set_that_somebody_named_is_whole(tmp_path, monkeypatch):
    root = real_like(tmp_path / "mounted")
    assert len(dataset_for(PROFILE, root).train_ids) == 100
    monkeypatch.setenv("CSPINE_DATA", str(root))
    assert len(dataset_for(PROFILE).train_ids) == 100


def test_the_real_profile_wants_real_data(tmp_path):
    profile = get_profile("rsna")
    with pytest.raises(CspineError, match="CSPINE_DATA"):
        resolve_data(None, profile)
    under_data = real_like(tmp_path / "home" / "data" / sources.RSNA_NAME)
    assert resolve_data(None, profile) == under_data
    small = dataclasses.replace(profile, phantom=PROFILE.phantom)
    assert resolve_data(None, small, quiet=True).name == "phantom-rsna"


def test_wrong_names_are_errors_that_list_what_is_known(tmp_path):
    with pytest.raises(CspineError, match=r"no folder .*nowhere.*'phantom'"):
        resolve_data(tmp_path / "nowhere", PROFILE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CspineError, match=r"no train\.csv"):
        resolve_data(tmp_path / "empty", PROFILE)
    with pytest.raises(CspineError, match="in none of"):
        resolve_data("rsna", PROFILE)


def test_a_subset_of_unknown_studies_is_refused(tmp_path):
    with pytest.raises(CspineError, match=r"9\.9 is not in"):
        subset(open_dataset(real_like(tmp_path / "r")), ["9.9"])
