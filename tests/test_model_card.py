"""The model card says what the records say."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from cspine_lib import model_card
from cspine_lib.comparison import load_groups
from cspine_lib.errors import CspineError

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "model_card.md"
RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def committed():
    return PAGE.read_text(encoding="utf-8")


def test_the_committed_card_is_the_one_that_is_drawn(committed):
    assert model_card.renewed(committed, RESULTS) == committed


def test_every_part_is_on_the_card_and_every_number_is_a_drawn_one(committed):
    assert sorted(model_card.BLOCK.findall(committed)) == sorted(model_card.PARTS)
    words = model_card.BLOCK.sub("", committed)
    assert not re.findall(r"\d\.\d{3}", words), "a score stands outside of the drawn parts"


def test_numbers_are_those_of_the_record(committed):
    content = json.loads((RESULTS / "crop_bilstm-laptop-final.json").read_text(encoding="utf-8"))
    c2 = content["scores"]["targets"]["C2"]
    low, high = c2["auroc_ci95"]
    row = f"| C2 | {c2['positives']} | "
    assert row in committed
    assert f"{c2['auroc']:.3f} [{low:.3f}, {high:.3f}]" in committed


def test_a_changed_record_changes_the_card(committed, tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    path = tmp_path / "results" / "crop_bilstm-laptop-final.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["scores"]["targets"]["C2"]["auroc"] = 0.123
    path.write_text(json.dumps(content), encoding="utf-8")
    new = model_card.renewed(committed, tmp_path / "results")
    assert "0.123 [" in new and "0.123 [" not in committed


def test_phantom_numbers_are_named_as_such(committed):
    groups = [g for g in load_groups(RESULTS) if model_card.METHOD in g.methods]
    shown = model_card.PARTS["overall"](groups, RESULTS)
    rows = shown.splitlines()[2:]
    assert len(rows) == len(groups)
    assert all(row.startswith("| phantom v") for row in rows)
    assert "Not RSNA scores" in committed and "Not for clinical use" in committed


def test_energy_counts_each_training_once(tmp_path):
    for name, data in (("cv", "phantom v1"), ("final", "phantom v1, final")):
        record = {
            "parts": [],
            "data": data,
            "seconds": 3600,
            "device": "cpu",
            "environment": {"cpus": "2"},
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
    hours, kwh, kg = model_card.footprint(tmp_path)
    assert hours == 1
    assert kwh == pytest.approx([2 * watt / 1000 for watt in model_card.WATT_PER_CORE])
    assert kg[0] == pytest.approx(kwh[0] * model_card.KG_CO2_PER_KWH[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Card\n", "no part"),
        ("<!-- drawn: weather -->\n<!-- end -->\n", "no drawn part"),
    ],
)
def test_a_page_without_known_parts_is_refused(text, message):
    with pytest.raises(CspineError, match=message):
        model_card.renewed(text, RESULTS)


def test_without_records_nothing_is_drawn(committed, tmp_path):
    with pytest.raises(CspineError, match="cspine run --record"):
        model_card.renewed(committed, tmp_path)
