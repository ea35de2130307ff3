"""The page of costs follows from the committed rates, and from nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cspine_lib import costing
from cspine_lib.config import PROFILES
from cspine_lib.errors import CspineError
from cspine_lib.experiment import DECK_B
from cspine_lib.facts import facts
from cspine_lib.plan_counts import census_of_profile, stages_of
from cspine_lib.recipes import get_recipe

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "scaling.md"
RSNA = PROFILES["rsna"]
CENSUS = census_of_profile(RSNA)


@pytest.fixture
def rates():
    """Round numbers, of no machine."""
    networks = ("cube", "visibility", "slices1", "slices2", "localiser", "sequence")
    return {
        "profile": "rsna",
        "machine": {
            "processor": "a processor", "cores": 2, "threads": 2, "device": "cpu", "load": 0.1,
            "system": "Linux", "python": "3.11", "torch": "2", "date": "2026-01-01",
        },
        "read_s_per_slice": {"JPEG Lossless": 0.01, "uncompressed": 0.002},
        "small_s_per_slice": 0.002,
        "cube_s_per_slice": 0.003,
        "crops_s_per_study": 0.5,
        "networks": {n: {"train_s": 0.3, "infer_s": 0.1, "gflop": 7.0} for n in networks},
    }  # fmt: skip


def test_the_committed_page_is_what_the_committed_rates_give():
    text = PAGE.read_text(encoding="utf-8")
    assert costing.with_page(text, costing.page(costing.recorded_rates())) == text


def test_committed_rates_are_whole_and_do_not_name_the_machine():
    rates = costing.recorded_rates()
    if rates is None:
        assert costing.NOT_MEASURED in PAGE.read_text(encoding="utf-8")
        return
    text = json.dumps(rates)
    assert "/home" not in text and "host" not in text.lower()
    assert set(rates["machine"]) >= {"processor", "cores", "threads", "torch", "load", "date"}
    networks = {s.network for n in DECK_B for s in stages_of(get_recipe(n), RSNA, CENSUS)}
    assert networks == set(rates["networks"])
    for rate in rates["networks"].values():
        assert 0 < rate["infer_s"] < rate["train_s"] and rate["gflop"] > 0


def test_counts_are_those_of_rsna(rates):
    assert CENSUS.studies == 2019 == facts("labels")["studies"]
    slices = CENSUS.studies * CENSUS.slices
    assert slices == pytest.approx(facts("slices")["total"], rel=1e-3)
    each = rates["read_s_per_slice"]["JPEG Lossless"] + rates["small_s_per_slice"]
    assert costing.cache_hours(CENSUS, rates) == pytest.approx(slices * each / 3600)


def test_shared_work_is_counted_once():
    found = costing.work(RSNA, CENSUS)
    networks = [stage.network for stages in found.values() for stage in stages]
    assert networks.count("visibility") == 1
    assert {"cube", "slices1", "slices2", "localiser", "sequence"} <= set(networks)


def test_hours_by_hand(rates):
    """One stage, counted with a pencil."""
    (stage,) = costing.work(RSNA, CENSUS)["cnn3d"]
    samples = stage.fits * stage.epochs * stage.samples
    judged = samples * 0.15 / 0.85 + stage.passes
    rate = rates["networks"]["cube"]
    hours = 5 * (samples * rate["train_s"] + judged * rate["infer_s"]) / 3600
    assert costing.network_hours([stage], 5, rates) == pytest.approx(hours)
    operations = 5 * rate["gflop"] * 1e9 * (3 * samples + judged)
    assert costing.petaflop([stage], 5, rates) == pytest.approx(operations / 1e15)
    assert costing.gpu_hours(operations / 1e15) == pytest.approx(operations / 5e12 / 3600)
    assert costing.gpu_hours(18.0, 2) == pytest.approx(costing.gpu_hours(10.0))


def test_twice_the_seconds_are_twice_the_hours(rates):
    stages = costing.work(RSNA, CENSUS)["crop_bilstm"]
    before = costing.network_hours(stages, 5, rates)
    for rate in rates["networks"].values():
        rate["train_s"] *= 2
        rate["infer_s"] *= 2
    assert costing.network_hours(stages, 5, rates) == pytest.approx(2 * before)
    fewer = replace(CENSUS, studies=CENSUS.studies // 2)
    assert costing.cache_hours(fewer, rates) < 0.51 * costing.cache_hours(CENSUS, rates)


def test_the_page_says_what_is_assumed_and_whether_cores_were_shared(rates):
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"{costing.GPU_TFLOPS:.0f} TFLOP/s" in text and "not a measurement" in text
    assert f"add {costing.SECOND_CARD:.0%} of the first" in text
    assert costing.page(rates).count("(assumed rate)") == 2
    rates["machine"]["load"] = 3.2
    assert "cores were shared** (load average 3.2" in costing.page(rates)
    rates["machine"]["load"] = 0.1
    assert "shared" not in costing.page(rates)


def test_a_page_is_renewed_between_its_marks(rates, tmp_path, monkeypatch):
    place, page = tmp_path / "rates.json", tmp_path / "page.md"
    monkeypatch.setattr(costing, "RATES", place)
    page.write_text(f"before\n{costing.BEGIN}\nold\n{costing.END}\nafter\n")
    costing.main([str(page)])
    assert costing.NOT_MEASURED in page.read_text()
    place.write_text(json.dumps(rates))
    costing.main([str(page)])
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "\nold\n" not in text
    assert "| read a slice of 512 × 512, JPEG Lossless | 10.0 ms |" in text
    # 711 601 slices at 12 ms, on one core and on four.
    assert "| 1 | 2.4 |" in text and "| 4 | 0.59 |" in text


def test_unfit_rates_and_pages_are_one_line(rates):
    with pytest.raises(CspineError, match="measure again"):
        costing.page({**rates, "profile": "ci"})
    del rates["networks"]["cube"]
    with pytest.raises(CspineError, match="lacks 'cube'"):
        costing.page(rates)
    with pytest.raises(CspineError, match="needs the lines"):
        costing.with_page("no marks", "x")
    with pytest.raises(CspineError, match="--measure"):
        costing.main([])


def test_rates_are_measured():
    from cspine_lib.rates import measure

    said: list[str] = []
    found = measure(PROFILES["ci"], ("cnn3d", "crop_bilstm"), said.append, (8, 48, 48))
    assert json.loads(json.dumps(found)) == found
    assert set(found["networks"]) == {"cube", "localiser", "sequence"} and len(said) == 4
    assert all(v > 0 for rate in found["networks"].values() for v in rate.values())
    assert all(v > 0 for v in found["read_s_per_slice"].values())
    assert min(found[k] for k in found if k.endswith(("slice", "study")) and k[:4] != "read") > 0
