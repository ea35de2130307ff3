"""The packaged figures agree with each other (they are counts of the same table)."""

import numpy as np
import pytest

from cspine_lib import facts
from cspine_lib.anatomy import LEVELS


def _patterns() -> tuple[np.ndarray, np.ndarray]:
    counts = facts.pattern_counts()
    bits = np.array([[int(bit) for bit in pattern] for pattern in counts])
    return bits, np.array(list(counts.values()))


def test_patterns_add_up_to_the_level_and_study_counts():
    bits, counts = _patterns()
    labels = facts.facts("labels")
    assert counts.sum() == labels["studies"] == 2019
    assert counts[bits.any(axis=1)].sum() == labels["patient_overall_positive"] == 961
    assert dict(zip(LEVELS, counts @ bits, strict=True)) == labels["level_positive"]
    per_study = np.bincount(bits.sum(axis=1), weights=counts, minlength=8).astype(int)
    for n, count in labels["fractured_levels_per_study"].items():
        assert per_study[int(n)] == count


def test_shares():
    assert facts.boxed_share() == pytest.approx(235 / 961)
    assert facts.feet_first_share() == pytest.approx(197 / 2019)


def test_callers_cannot_change_the_figures():
    facts.pattern_counts()["0000000"] = 0
    facts.facts("labels")["studies"] = 0
    assert facts.pattern_counts()["0000000"] == 1058
    assert facts.facts("labels")["studies"] == 2019
    with pytest.raises(KeyError):
        facts.facts("nonsense")
