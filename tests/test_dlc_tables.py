"""Deck A's claims from records, and the grid as a table."""

import numpy as np
import pytest

from cspine_lib.comparison import group_of
from cspine_lib.dlc_tables import (
    METHODS,
    auroc_difference,
    claim_table,
    grid_table,
    groups_of,
    missing_records,
    read_grid,
    verdict,
)
from cspine_lib.jobs import save_json
from cspine_lib.metrics import Interval


@pytest.fixture(scope="module")
def group():
    rng = np.random.default_rng(0)
    y = (rng.random((150, 8)) < 0.3).astype(int)
    good, flat = np.clip(0.15 + 0.6 * y + rng.normal(0, 0.05, y.shape), 0.01, 0.99), y * 0 + 0.3
    p = {"dlc": good, "single_classifier": flat, "forest_classifier": flat + 0.001}
    ids = [f"s{i}" for i in range(len(y))]
    return group_of(p, y, ids, profile="ci", data="phantom of a test")


def test_claims_are_told_as_they_fall(group):
    table = claim_table([group])
    assert list(table["verdict by loss"][:2]) == ["holds", "holds"]
    assert verdict(Interval(0.1, 0.05, 0.2)) == "the other way round"
    assert verdict(Interval(-0.1, -0.2, 0.01)) == "not told apart"
    assert table.iloc[0]["loss, first − second [95%]"].startswith("−")


def test_a_claim_without_both_methods_is_left_out(group):
    alone = group_of({"dlc": group.p["dlc"]}, group.y, group.ids, profile="ci", data="x")
    assert claim_table([alone]).empty and claim_table([]).empty


def test_the_auroc_difference_is_paired(group):
    same = auroc_difference(group.y, group.p["dlc"], group.p["dlc"])
    assert tuple(same) == (0, 0, 0)
    assert auroc_difference(group.y, group.p["dlc"], group.p["single_classifier"]).low > 0.3


def test_missing_records_are_named(tmp_path):
    assert missing_records("ci", tmp_path) == [
        f"{method}-ci-{tag}.json" for method in METHODS for tag in ("cv", "final")
    ]
    (tmp_path / "dlc-ci-cv.json").write_text("{}")
    assert "dlc-ci-cv.json" not in missing_records("ci", tmp_path)
    assert groups_of("ci", tmp_path / "nothing") == []


def test_the_grid_prints_what_was_not_run(tmp_path):
    assert read_grid("ci", tmp_path) is None
    cells = [
        {"backbone": "net.a", "weights": "imagenet", "normalisation": "hu",
         "status": "not run: no weights"},
        {"backbone": "net.a", "weights": "random", "normalisation": "hu", "status": "trained",
         "auroc": 0.61, "auroc_ci95": [0.5, 0.7]},
        {"backbone": "net.a", "weights": "random", "normalisation": "minmax", "status": "trained",
         "auroc": 0.61, "auroc_ci95": [None, None]},
    ]  # fmt: skip
    save_json(tmp_path / "norm_grid" / "ci.json", {"cells": cells})
    table = grid_table(read_grid("ci", tmp_path))
    assert table.loc[("net", "imagenet"), "hu"] == "not run: no weights"
    assert table.loc[("net", "random"), "hu"] == "0.610 [0.500, 0.700]"
    assert table.loc[("net", "random"), "minmax"] == "n/a"
