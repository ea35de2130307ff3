"""The set is what it says: readable by others, and only a fracture tells the label.

Where a test says "chance", it is the AUROC's 99 % interval under the null (normal
approximation of the Mann–Whitney statistic).  Classifiers learn on one set and are
judged on another: scores pooled over folds of one set scatter more than that.
A planted leak shows that the same test finds one.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cspine_lib import anatomy
from cspine_lib.config import PROFILES
from cspine_lib.phantom import design as design_module
from cspine_lib.phantom.build import draw_labelled, study_folder
from cspine_lib.phantom.design import design_set
from cspine_lib.phantom.dicom_writer import affine_mm, common_header, encode_series
from cspine_lib.phantom.draw import draw_study
from cspine_lib.phantom.plan import StudyPlan
from cspine_lib.phantom.traits import Request, StudyDesign


def _request(**change) -> Request:
    size = PROFILES["laptop"].phantom
    base = Request(size.train, size.test, size.shape_zyx, size.fov_mm, size.masked, 7, 0.5)
    return replace(base, **change)


def _designs_of(root: Path) -> list[StudyDesign]:
    asked = json.loads((root / anatomy.PHANTOM_JSON).read_text())["request"]
    asked.pop("version")
    asked["shape_zyx"], asked["fov_mm"] = tuple(asked["shape_zyx"]), tuple(asked["fov_mm"])
    return design_set(Request(**asked))


# --- read by others -------------------------------------------------------------------------


def _one_of_each(designs: list[StudyDesign]) -> list[StudyDesign]:
    """A few studies that have every kind of storage, numbering and mask axes between them."""
    chosen: dict[tuple, StudyDesign] = {}
    for design in designs:
        if design.storage.unreadable_z is None:
            for trait, value in design.traps().items():
                chosen.setdefault((trait, value), design)
    return list({design.uid: design for design in chosen.values()}.values())


def test_simpleitk_reads_what_was_drawn(ci_phantom: Path):
    chosen = _one_of_each(_designs_of(ci_phantom))
    assert {d.storage.syntax for d in chosen} == {"explicit", "implicit", "jpeg"}
    for design in chosen:
        drawn = draw_labelled(design.plan)
        reader = sitk.ImageSeriesReader()
        names = reader.GetGDCMSeriesFileNames(str(study_folder(ci_phantom, design)))
        reader.SetFileNames(names)
        image = reader.Execute()
        # ITK stacks feet to head.
        assert (sitk.GetArrayFromImage(image)[::-1] == drawn.hu_zyx).all()
        nz, (dz, dy, dx) = len(drawn.hu_zyx), design.plan.spacing_zyx_mm
        assert image.GetSpacing() == pytest.approx((dx, dy, dz), abs=1e-4)
        for index_zyx in ((0, 0, 0), (nz - 1, 3, 5)):
            z, y, x = index_zyx
            point = image.TransformIndexToPhysicalPoint((x, y, nz - 1 - z))
            assert point == pytest.approx((affine_mm(design) @ (*index_zyx, 1))[:3], abs=2e-2)
        if design.mask_axes:
            path = ci_phantom / anatomy.SEGMENTATIONS / f"{design.uid}.nii"
            mask = sitk.Resample(sitk.ReadImage(str(path)), image, sitk.Transform(), 1)
            assert (sitk.GetArrayFromImage(mask)[::-1] == drawn.mask_zyx).all()


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "jpeg"])
@pytest.mark.parametrize("signed", [True, False])
def test_every_storage_is_lossless_over_the_whole_range(syntax: str, signed: bool, tmp_path: Path):
    design = design_set(_request(train=1, test=0, masked=0))[0]
    plan = replace(design.plan, shape_zyx=(2, 64, 64))
    design = replace(design, plan=plan, storage=replace(design.storage, syntax=syntax))
    design = replace(design, storage=replace(design.storage, signed=signed, feet_first=False))
    hu_zyx = np.arange(-1024, 3072, dtype=np.int16).reshape(1, 64, 64).repeat(2, axis=0)
    hu_zyx[1] = hu_zyx[1].ravel()[np.random.default_rng(0).permutation(4096)].reshape(64, 64)
    for z, (name, content) in enumerate(encode_series(hu_zyx, design)):
        (tmp_path / name).write_bytes(content)
        ds = pydicom.dcmread(tmp_path / name)
        stored = ds.pixel_array
        assert stored.dtype.kind == ("i" if signed else "u")
        assert (stored.astype(int) - 1024 == hu_zyx[z]).all()
        assert (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name)))[0] == hu_zyx[z]).all()


# --- nothing but the fracture tells the label ------------------------------------------------


def _chance(y: np.ndarray) -> float:
    """Half width of the 99 % interval of the AUROC under the null."""
    positive, negative = y.sum(), (1 - y).sum()
    return 2.576 * np.sqrt((positive + negative + 1) / (12 * positive * negative))


def _aurocs(learn: tuple[np.ndarray, np.ndarray], judge: tuple[np.ndarray, np.ndarray]):
    """AUROC of a linear and of a tree classifier; both arguments are features and labels."""
    models = (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
        RandomForestClassifier(40, min_samples_leaf=10, max_features=0.5, random_state=0),
    )
    return [roc_auc_score(judge[1], m.fit(*learn).predict_proba(judge[0])[:, 1]) for m in models]


def _header_features(designs: list[StudyDesign]) -> np.ndarray:
    """Every number that files, their names and their order give away, without a pixel."""
    rows = []
    for place, design in enumerate(designs):
        header, numbers = common_header(design), design.storage.numbers(design.plan.shape_zyx[0])
        rows.append(
            [
                place,
                int(design.uid.rsplit(".", 1)[1]),
                *design.plan.shape_zyx,
                *design.plan.spacing_zyx_mm,
                *design.storage.origin_mm,
                float(header.SliceThickness),
                header.BitsStored,
                header["WindowCenter"].VM,
                np.mean(header.WindowCenter),
                np.mean(header.WindowWidth),
                ("explicit", "implicit", "jpeg").index(design.storage.syntax),
                numbers[0],
                numbers[-1],
                np.ptp(numbers),
                design.mask_axes is not None,
                design.plan.cut_top,
                design.plan.cut_bottom,
                design.plan.seed + design.plan.index,
            ]
        )
    return np.array(rows, dtype=float)


def _many(seed: int) -> list[StudyDesign]:
    designs = design_set(_request(train=1200, test=0, masked=200, seed=seed))
    # The one study without a neck cannot but be negative.
    return [design for design in designs if not design.plan.no_cervical]


@pytest.fixture(scope="module")
def many() -> list[StudyDesign]:
    return _many(11)


@pytest.mark.parametrize("target", ["patient_overall", "C2", "C7"])
def test_headers_and_order_do_not_tell_the_label(many: list[StudyDesign], target: str):
    sets = []
    for designs in (many, _many(12)):
        flags = np.array([design.plan.broken for design in designs])
        y = flags.any(axis=1)
        if target in anatomy.LEVELS:
            y = flags[:, anatomy.LEVELS.index(target)]
        sets.append((_header_features(designs), y.astype(int)))
    chance = _chance(sets[1][1])
    for auroc in _aurocs(*sets):
        assert abs(auroc - 0.5) < chance
    for x, y in sets:
        x[:, 7] *= 1 + 0.04 * y  # pixels of positives 4 % larger: half of what scans vary
    assert max(_aurocs(*sets)) > 0.5 + chance


def test_masks_are_given_independently_of_the_label(many: list[StudyDesign]):
    masked = np.array([design.mask_axes is not None for design in many])
    y = np.array([any(design.plan.broken) for design in many])
    expected = y.mean() * masked.sum()
    spread = np.sqrt(masked.sum() * y.mean() * (1 - y.mean()))
    assert abs((masked & y).sum() - expected) < 2.6 * spread


def test_other_labels_leave_the_rest_of_the_design_as_it_was(monkeypatch: pytest.MonkeyPatch):
    """Labels use a random stream of their own, but for the study without a neck."""
    one = design_set(_request())
    real = design_module.draw_patterns
    monkeypatch.setattr(design_module, "draw_patterns", lambda n, rng: real(n, rng)[::-1])
    other = design_set(_request())
    assert [d.plan.broken for d in one] != [d.plan.broken for d in other]
    for a, b in zip(one, other, strict=True):
        assert (a.uid, a.part, a.plan.shape_zyx) == (b.uid, b.part, b.plan.shape_zyx)
        assert a.plan.spacing_zyx_mm == b.plan.spacing_zyx_mm
        assert replace(a.storage, unreadable_z=None) == replace(b.storage, unreadable_z=None)


def test_file_sizes_do_not_tell_the_label(ci_phantom: Path):
    """Sizes depend on the scan; a fracture moves them by far less than scans differ."""
    changes, sizes = [], []
    designs = [d for d in _designs_of(ci_phantom) if any(d.plan.broken)][:5]
    for design in designs:
        packed = replace(design, storage=replace(design.storage, syntax="jpeg"))
        total = []
        for fractures in (True, False):
            hu_zyx = draw_study(design.plan, fractures=fractures).hu_zyx
            total.append(sum(len(c) for _, c in encode_series(hu_zyx, packed)) / hu_zyx.size)
        changes.append(total[0] - total[1])
        sizes.append(total[1])
    assert np.std(sizes) > 0
    assert np.abs(changes).max() < 0.1 * np.std(sizes)


# --- crops with the fracture's margin blanked -------------------------------------------------

LEVEL_MARGIN = 2


def _drawn_levels(studies: int) -> list[dict]:
    """Crops of 7 levels per study, half of the levels broken, with fracture regions."""
    rng = np.random.default_rng(5)
    out = []
    for index in range(studies):
        broken = tuple(bool(b) for b in rng.random(7) < 0.5)
        shape, spacing = (48, 80, 80), (3.5, 1.8, 1.8)
        drawn = draw_study(StudyPlan(99, index, broken, shape, spacing))
        for i, level in enumerate(anatomy.LEVELS):
            where = np.argwhere(drawn.mask_zyx == i + 1)
            if len(where) < 30:
                continue
            out.append(
                {
                    "study": index,
                    "level": i,
                    "broken": broken[i],
                    "hu": drawn.hu_zyx,
                    "mask": drawn.mask_zyx,
                    "lo": np.maximum(where.min(axis=0) - LEVEL_MARGIN, 0),
                    "hi": where.max(axis=0) + 1 + LEVEL_MARGIN,
                    "centre": where.mean(axis=0),
                    "own": [f.region_zyx for f in drawn.fractures if f.level == level],
                    "others": [f.region_zyx for f in drawn.fractures if f.level != level],
                }
            )
    return out


def _features(crop: dict, blanked: list[tuple]) -> np.ndarray:
    """Share of kept voxels per HU bin and mean HU, of bone and of the rest around it."""
    keep = np.ones(crop["hu"].shape, dtype=bool)
    for z0, z1, y0, y1, x0, x1 in blanked:
        keep[max(z0, 0) : z1, max(y0, 0) : y1, max(x0, 0) : x1] = False
    box = tuple(slice(lo, hi) for lo, hi in zip(crop["lo"], crop["hi"], strict=True))
    hu, keep = crop["hu"][box].astype(float), keep[box]
    bone = crop["mask"][box] == crop["level"] + 1
    out: list[float] = []
    for part in (bone & keep, ~bone & keep):
        values = hu[part]
        if len(values) < 10:
            values = np.zeros(10)
        share, _ = np.histogram(values, [-1100, -200, 0, 100, 200, 350, 500, 700, 1000, 3100])
        out += [*(share / len(values)), values.mean(), values.std()]
    return np.array(out)


def _like(crop: dict, model: dict) -> list[tuple]:
    """Regions of a broken level laid onto another: the same place from the level's centre."""
    shift = np.round(crop["centre"] - model["centre"]).astype(int).repeat(2)
    return [tuple(int(v) for v in np.add(region, shift)) for region in model["own"]]


def _peers(crop: dict) -> tuple[int, int]:
    return crop["level"], crop["study"] % 2


def _table(crops: list[dict], *, blank: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, F), broken (N,), study (N,).

    Whole levels are blanked where a broken one of the same name, drawn by lot, was;
    broken ones at their own fractures.  Fractures of neighbours are blanked in both.
    The lot is drawn, and levels are centred, within each half of the studies: a place
    that one half has broken and lends to the other would pull the AUROC below 0.5.
    """
    rng = np.random.default_rng(6)
    rows = []
    for crop in crops:
        models = [c for c in crops if c["own"] and _peers(c) == _peers(crop)]
        model = models[rng.integers(len(models))]
        fake = crop["own"] if crop["broken"] else _like(crop, model)
        rows.append(_features(crop, fake + crop["others"] if blank else []))
    x, peers = np.array(rows), np.array([2 * c["level"] + c["study"] % 2 for c in crops])
    for group in np.unique(peers):
        x[peers == group] -= x[peers == group].mean(axis=0)
    y = np.array([crop["broken"] for crop in crops]).astype(int)
    return x, y, np.array([crop["study"] for crop in crops])


@pytest.fixture(scope="module")
def crops() -> list[dict]:
    return _drawn_levels(36)


def _halves(table: tuple[np.ndarray, np.ndarray, np.ndarray]) -> list[tuple]:
    x, y, study = table
    return [(x[part], y[part]) for part in (study % 2 == 0, study % 2 == 1)]


def test_crops_tell_nothing_once_the_fractures_margin_is_blanked(crops: list[dict]):
    one, other = _halves(_table(crops, blank=True))
    assert len(one[1]) > 100 and 0.35 < one[1].mean() < 0.65
    for learn, judge in ((one, other), (other, one)):
        for auroc in _aurocs(learn, judge):
            assert abs(auroc - 0.5) < _chance(judge[1])
    for x, y in (one, other):  # bone beside the fracture denser, by as much as bones differ
        x[:, 9] += x[:, 9].std() * y
    assert max(_aurocs(one, other)) > 0.5 + _chance(other[1])
