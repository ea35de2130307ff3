"""The viewer: what goes to the browser, what the sliders draw, and that no output is blank."""

import gzip
import io
import sys
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cspine_lib import viewer
from cspine_lib.anatomy import WINDOWS
from cspine_lib.errors import CspineError
from cspine_lib.labels import LevelBox
from cspine_lib.viewer import front_end, panel, payload, probe, webgl
from cspine_lib.viewer.sliders import Sliders
from cspine_lib.viewer.study import ViewedStudy
from cspine_lib.volume import LPS_TO_RAS, Volume

AFFINE = np.array([[0, 0, 0.5, -40], [0, 0.7, 0, -90], [-2.0, 0, 0, 300], [0, 0, 0, 1.0]])
SHAPE = (20, 30, 40)


@pytest.fixture(scope="module")
def volume():
    hu = np.random.default_rng(0).normal(0, 200, SHAPE).astype(np.int16)
    hu[:, 10:20, 15:25] = 900
    return Volume(hu, AFFINE)


@pytest.fixture(scope="module")
def mask():
    out = np.zeros(SHAPE, np.uint8)
    for value in range(1, 10):  # C1 … C7, T1, T2
        out[2 * value : 2 * value + 2, 10:20, 15:25] = value
    return out


@pytest.fixture(scope="module")
def boxes():
    return pd.DataFrame([(5, 12.0, 8.0, 10.0, 6.0)], columns=["z", "x", "y", "width", "height"])


PROBABILITY = {"C1": 0.1, "C4": 0.9, "patient_overall": 0.8}


@pytest.fixture(scope="module")
def study(volume, mask, boxes):
    return ViewedStudy(volume, mask, boxes, {}, PROBABILITY, "a title")


# --- what is shown ---------------------------------------------------------------------------


def test_the_eye_begins_at_a_fracture_else_in_the_neck(study, volume, mask):
    assert study.start_zyx == (5, 11, 17)
    assert ViewedStudy(volume, mask).start_zyx[0] == pytest.approx(9, abs=1)
    assert ViewedStudy(volume).start_zyx == (10, 15, 20)


def test_levels_come_from_the_mask_else_from_the_localiser(study, volume):
    assert list(study.centres_zyx) == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    assert study.centres_zyx["C2"][0] in (4, 5)
    claimed = {"C5": LevelBox("C5", 8, 11, 10, 12, 20, 22)}
    assert ViewedStudy(volume, levels=claimed).centres_zyx["C5"][0] in (9, 10)
    assert study.level_at(2, 12, 17) == "C1" and study.level_at(16, 12, 17) == ""


def test_box_frames_are_hollow_and_on_their_slice(study):
    frames = study.box_frames()
    assert np.flatnonzero(frames.any(axis=(1, 2))).tolist() == [5]
    assert frames[5, 8, 12:22].all() and frames[5, 13, 12:22].all()
    assert not frames[5, 10:12, 15:20].any()
    assert not frames[5, :, 22:].any() and not frames[5, :8].any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask_zyx": np.zeros((3, 3, 3), int)}, "read_mask"),
        ({"boxes": pd.DataFrame({"z": [1]})}, "lack the columns height"),
        ({"probability": {"T1": 0.5}}, "unknown target"),
        ({"probability": {"C1": 1.5}}, "not within"),
        ({"probability": {"C1": float("nan")}}, "not within"),
    ],
)
def test_what_does_not_fit_is_refused(volume, change, words):
    with pytest.raises(CspineError, match=words):
        ViewedStudy(volume, **change)


# --- what goes to the browser ----------------------------------------------------------------


def test_the_file_for_the_browser_is_the_study_in_ras(volume, mask):
    for values in (payload.display_hu(volume.hu_zyx), mask):
        data = payload.nifti_gz(values, volume.affine_mm)
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
        stored = np.asarray(image.dataobj)
        assert stored.dtype == values.dtype
        assert np.array_equal(stored.transpose(2, 1, 0), values)
        corner_lps = volume.affine_mm @ [3, 4, 5, 1]
        assert np.allclose(image.affine @ [5, 4, 3, 1], LPS_TO_RAS @ corner_lps)


def test_rounding_is_finer_than_a_grey_of_the_bone_window():
    hu = np.arange(-2000, 4000, dtype=np.int16)
    shown = payload.display_hu(hu)
    assert shown.dtype == np.int16
    inside = (hu >= payload.LOWEST_HU) & (hu <= payload.HIGHEST_HU)
    assert np.abs(shown[inside] - hu[inside]).max() <= payload.STEP_HU / 2
    assert WINDOWS["bone"][0] / 256 > payload.STEP_HU
    for width, level in WINDOWS.values():  # what is clipped is black or white in all of them
        assert level - width / 2 >= payload.LOWEST_HU
        assert level + width / 2 <= payload.HIGHEST_HU


def test_rounding_saves_bytes(volume):
    fine = payload.nifti_gz(volume.hu_zyx, volume.affine_mm)
    assert len(payload.nifti_gz(payload.display_hu(volume.hu_zyx), volume.affine_mm)) < len(fine)


@pytest.mark.parametrize("at", [(0, 0, 0), (19, 29, 39), (7, 3, 31)])
def test_crosshair_goes_there_and_back(at):
    position = webgl.fraction(at, SHAPE)
    assert all(0 < f < 1 for f in position)
    assert webgl.voxel(position, SHAPE) == at
    # NiiVue counts from the patient's left, back and feet; the volume from right, front, head.
    assert webgl.fraction((0, 0, 0), SHAPE) == pytest.approx([1 - 0.5 / n for n in SHAPE[::-1]])


def test_voxels_are_not_sent_back_by_the_widget():
    import ipyniivue

    script = Path(ipyniivue.__file__).with_name("static") / "widget.js"
    source = script.read_text(encoding="utf-8")
    assert len(webgl.UPLOAD.findall(source)) == 1
    assert len(webgl._widget_class()._esm) < len(source)


def test_niivue_gets_ct_mask_and_boxes_once(study):
    shown = webgl.WebGL(study)
    assert list(shown.layers) == ["ct", "mask", "boxes"]
    assert shown.sent_bytes == sum(len(v.data) for v in shown.layers.values())
    ct = shown.layers["ct"]
    assert (ct.cal_min, ct.cal_max) == (-400, 1400)
    shown.controls.window.value = "soft"
    assert (ct.cal_min, ct.cal_max) == (-160, 240)
    shown.controls.overlays["mask"].value = False
    assert shown.layers["mask"].opacity == 0 and shown.layers["boxes"].opacity > 0
    shown.controls.overlays["mask"].value = True
    assert shown.layers["mask"].opacity == webgl.MASK_OPACITY
    shown.controls.levels["C6"].click()
    assert webgl.voxel(shown.nv.scene.crosshair_pos, SHAPE) == study.centres_zyx["C6"]
    assert "<b>C6</b>" in shown.status.value
    shown._located({"frac": webgl.fraction((3, 12, 17), SHAPE)})
    assert "slice 3 of 0–19" in shown.status.value and "900 HU" in shown.status.value
    stored = gzip.decompress(shown.layers["mask"].data)
    assert np.asarray(nibabel.Nifti1Image.from_bytes(stored).dataobj).max() == 7  # no T1, T2


# --- sliders ---------------------------------------------------------------------------------


def _pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_sliders_and_controls_change_the_picture(study):
    shown = Sliders(study)
    first = _pixels(shown.picture.value)
    shown.sliders["axial"].value = 15
    moved = _pixels(shown.picture.value)
    assert "slice 15 of 0–19" in shown.status.value
    third = first.shape[1] // 3
    assert (first[:, :third] != moved[:, :third]).any(axis=2).mean() > 0.02
    shown.controls.overlays["mask"].value = False
    plain = _pixels(shown.picture.value)
    assert (plain != moved).any(axis=2).mean() > 0.002
    shown.controls.window.value = "soft"
    assert (_pixels(shown.picture.value) != plain).any(axis=2).mean() > 0.02
    shown.controls.levels["C3"].click()
    assert shown.at_zyx == study.centres_zyx["C3"]


def test_bars_name_every_known_probability(study, volume):
    html = panel.bars_html(study)
    assert html.count("<tr>") == 3 and "overall" in html and "0.90" in html
    assert panel.bars_html(ViewedStudy(volume)) == ""


# --- which of them ---------------------------------------------------------------------------


@pytest.fixture
def nobody(monkeypatch):
    for name in (*front_end.LIVE, front_end.VARIABLE, "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_nobody_there_means_a_still(nobody, volume, mask, boxes):
    view = viewer.show(volume, mask, boxes, probability=PROBABILITY, title="a title")
    data, _ = view._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/png"}
    assert "Volume(20×30×40" in data["text/plain"] and "1 fracture boxes" in data["text/plain"]
    picture = _pixels(data["image/png"])
    assert picture.std() > 30  # not blank
    without, _ = viewer.show(volume, boxes=boxes)._repr_mimebundle_()
    assert (_pixels(without["image/png"])[:250, :300] != picture[:250, :300]).any()


def test_somebody_there_gets_sliders_until_the_browser_says_webgl(nobody, volume, mask):
    nobody.setenv("JPY_SESSION_NAME", "a.ipynb")
    import ipykernel  # noqa: F401  what a kernel has loaded

    view = viewer.show(volume, mask)
    data, _ = view._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png"} <= set(data)
    assert isinstance(view.viewer, Sliders)
    asking = view.widget.children[-1]
    asking.answer = "yes"
    assert isinstance(view.viewer, webgl.WebGL)
    assert view.widget.children == (view.viewer.widget,)


def test_a_browser_without_webgl_keeps_the_sliders(volume):
    view = viewer.StudyView(ViewedStudy(volume), None)
    view.widget.children[-1].answer = "no"
    assert isinstance(view.viewer, Sliders)
    assert "no WebGL 2" in view.widget.children[-1].value


def test_a_missing_widget_library_is_said_not_raised(volume, monkeypatch):
    monkeypatch.setattr(webgl, "is_there", lambda: False)
    for mode in (None, "webgl"):
        view = viewer.StudyView(ViewedStudy(volume), mode)
        assert "pip install ipyniivue" in view.widget.children[-1].value
        assert isinstance(view.viewer, Sliders)


def test_a_kaggle_batch_run_has_nobody_in_front(nobody):
    import ipykernel  # noqa: F401  what a kernel has loaded

    nobody.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert front_end.choose(None) == "still"
    nobody.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert front_end.choose(None) is None


def test_colab_is_asked_to_show_custom_widgets(nobody, volume):
    asked = []
    output = ModuleType("google.colab.output")
    output.enable_custom_widget_manager = lambda: asked.append(True)
    viewer.show(volume, mode="sliders").widget  # noqa: B018  elsewhere nothing is asked
    for name in ("google", "google.colab"):
        nobody.setitem(sys.modules, name, ModuleType(name))
    nobody.setitem(sys.modules, "google.colab.output", output)
    viewer.show(volume, mode="sliders").widget  # noqa: B018
    assert asked == [True]


def test_a_way_can_be_asked_for(nobody):
    nobody.setenv(front_end.VARIABLE, "sliders")
    assert front_end.choose(None) == "sliders" and front_end.choose("webgl") == "webgl"
    with pytest.raises(CspineError, match="known: webgl, sliders, still"):
        front_end.choose("vr")


def test_the_probe_starts_without_an_answer():
    assert probe.probe().answer == ""
