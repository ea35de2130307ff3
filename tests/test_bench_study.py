"""The benchmark of a study counts what it says: images, operations, five models, words."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
bench = pytest.importorskip("bench_study")


def test_settings_are_those_of_the_deck_and_its_authors() -> None:
    rsna, deck, later = bench.settings(300, 180.0)
    assert (deck.backbone, deck.stage1_px, deck.crop_px, deck.folds) == (
        "convnext_tiny",
        224,
        224,
        5,
    )
    assert deck.stage1_images == 24 * 7 and deck.crops == 56
    assert (later.stage1_px, later.stage1_images, later.crop_px) == (384, 300, 320)
    assert (rsna.stage1_px, rsna.localisers, rsna.crops) == (256, 2, 112)
    assert rsna.stage1_images == 300  # every 1 mm, in slices of 0.6 mm
    assert bench.settings(300, 120.0)[0].stage1_images == 150


def test_five_models_cost_five_times_in_the_networks_only() -> None:
    parts = {"read": 2.0, "prepare": 1.0, "stage 1": 3.0, "stage 2": 4.0}
    five = bench.five_of({"seconds": parts, "flops": 7.0, "rounds": [10.0, 12.0]}, "five")
    assert five["seconds"] == {"read": 2.0, "prepare": 1.0, "stage 1": 15.0, "stage 2": 20.0}
    assert five["flops"] == 35.0 and five["rounds"] == [38.0, 40.0]


def test_networks_are_scaled_to_a_whole_study() -> None:
    setting = bench.Setting("x", "test_efficientnet", 32, 64, 32, folds=5)
    net = bench.Networks(setting, sample=16)
    assert len(net.images) == 16 and net.levels == 2
    one, two = net.measure()
    assert one > 0 and two > 0
    twice = bench.Networks(bench.Setting("x", "test_efficientnet", 32, 128, 32, folds=5), 16)
    image = bench.cost.flops(net.stage1, net.images[:1])
    assert twice.flops() - net.flops() == pytest.approx(5 * 64 * image)


def test_what_is_timed_as_a_whole_takes_all_rounds() -> None:
    splits = [
        {"read": 1.0, "decode": 1.0, "crop": 0.5, "localise": 3.0, "classify": 4.0 + k}
        for k in (1, 0)
    ]
    row = bench.whole_row("x", splits, 7.0)
    assert row["seconds"] == {"read": 2.0, "prepare": 0.5, "stage 1": 3.0, "stage 2": 4.0}
    assert row["rounds"] == [10.5, 9.5]
    assert bench.whole(bench.BEYOND, quick=False).recipe.name == "beyond"
    sizes = [bench.whole(bench.BEYOND_RSNA, quick).profile.name for quick in (True, False)]
    assert sizes == ["ci", "rsna"]


def test_page_says_what_was_not_run() -> None:
    parts = {"read": 2.0, "prepare": 1.0, "stage 1": 3.0, "stage 2": 4.0}
    rows = [
        {"name": name, "seconds": parts, "flops": 1e12, "rounds": [10.0], "hours_2019": 5.5}
        for name in (bench.KIT, bench.DECK)
    ]
    result = {
        "rows": rows,
        "matmul_rate": 1e11,
        "decode_floor": {"decoder": "GDCM", "seconds": 1.0},
        "shape_zyx": [300, 512, 512],
        "slices": 300,
        "megabytes": 90.0,
        "rounds": 1,
        "command": "make bench",
        "machine": "a machine",
        "load": 0.1,
        "reading": {"this kit, read_series": [2.0, 1.5], "pydicom loop, gdcm": [3.0]},
    }
    text = bench.page(result)
    assert "not run: pylibjpeg-libjpeg is not installed" in text and "GDCM\n  plugin" in text
    assert "| this kit, read_series | 1.50 | 5.0 |  |" in text
    assert "5.5 h" in text and "3.67 h" in text
    result["reading"]["pydicom loop, pylibjpeg"] = [4.5]
    text = bench.page(result)
    assert "| this kit, read_series | 1.50 | 5.0 | 3.00 |" in text and "pylibjpeg\n  plugin" in text


def test_hours_grow_with_slices() -> None:
    row = {"seconds": {"read": 2.0, "prepare": 1.0, "stage 1": 3.0, "stage 2": 4.0}}
    want = 2019 * (6.0 * 352.5 / 300 + 4.0) / 3600
    assert bench.hours_2019(row, 300) == pytest.approx(want)
