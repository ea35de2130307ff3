"""Every kind at every level it belongs to cuts the bone; visibility follows difficulty."""

from __future__ import annotations

import numpy as np
import pytest

from cspine_lib.anatomy import LEVELS
from cspine_lib.phantom.bones import VertebraModel
from cspine_lib.phantom.draw import _model
from cspine_lib.phantom.fractures import Visibility, draw_visibility
from cspine_lib.phantom.kinds import COMPANIONS, KINDS, make_break
from cspine_lib.phantom.plan import DEFAULT_DIFFICULTY, StudyPlan
from cspine_lib.phantom.sdf import Grid
from cspine_lib.phantom.spine import Spine, draw_patient, place_spine

PLAN = StudyPlan(5, 0, (False,) * 7, (120, 90, 90), (1.2, 1.2, 1.2))
PLAIN = Visibility(width_mm=1.8, contrast=1.0, displacement_mm=1.5, reach=1.0, hidden=0.1)
CASES = [(level, kind) for level in LEVELS for kind in KINDS[level]]


def _scene() -> tuple[Grid, Spine]:
    spine = place_spine(PLAN, draw_patient(PLAN))
    origin = np.array([-54.0, -45.0, -75.0])
    return Grid(PLAN.shape_zyx, PLAN.spacing_zyx_mm, origin, np.zeros((120, 2))), spine


GRID, SPINE_ = _scene()


def _vertebra(level: str) -> VertebraModel:
    return _model(PLAN, GRID, SPINE_, level)[0]


@pytest.mark.parametrize(("level", "kind"), CASES)
def test_kind_cuts_and_moves_bone_locally(level, kind):
    model = _vertebra(level)
    xyz = model.coordinates()
    d = model.distance(xyz)
    core = np.full(d.shape, 300.0, dtype=np.float32)
    whole = model.paint(xyz, d, core)
    one = make_break(SPINE_[level], kind, np.random.default_rng(3), PLAIN)
    broken = model.paint(xyz, d, core, [one])
    # The gap removes bone of a few mm at least …
    lost_mm3 = float((one.gap(xyz, GRID.edge_mm) * whole.cover).sum()) * 1.2**3
    assert 8 < lost_mm3 < 1500
    # … darkens some voxels clearly …
    assert (broken.hu - whole.hu).min() < -250
    # … and leaves most of the vertebra as it was.
    bone = whole.cover > 0.5
    assert (np.abs(broken.hu - whole.hu)[bone] > 0).mean() < 0.75


@pytest.mark.parametrize("level", LEVELS)
def test_kinds_are_those_of_the_level(level):
    assert np.isclose(sum(KINDS[level].values()), 1.0)
    upper = {"jefferson", "anterior_arch", "posterior_arch", "lateral_mass"}
    assert (set(KINDS[level]) <= upper) == (level == "C1")
    assert any(k.startswith("dens") for k in KINDS[level]) == (level == "C2")
    assert set(COMPANIONS.get(level, ())) <= set(KINDS[level])


def test_visibility_falls_with_difficulty_draw_by_draw():
    for seed in range(200):
        drawn = [draw_visibility(np.random.default_rng(seed), d) for d in (0, 0.25, 0.5, 0.75, 1)]
        for name in ("width_mm", "contrast", "displacement_mm", "reach"):
            assert np.all(np.diff([getattr(v, name) for v in drawn]) <= 1e-12), name


def test_default_difficulty_mixes_plain_and_hidden():
    rng = np.random.default_rng(0)
    hidden = [draw_visibility(rng, DEFAULT_DIFFICULTY).hidden for _ in range(2000)]
    assert np.mean(np.array(hidden) < 0.2) > 0.5
    assert np.mean(np.array(hidden) > 0.3) > 0.05
