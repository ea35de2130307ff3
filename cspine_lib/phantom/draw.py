"""``draw_study``: a plan becomes HU, mask, boxes and truth."""

from __future__ import annotations

import numpy as np

from cspine_lib.anatomy import LEVELS
from cspine_lib.phantom.plan import DrawnStudy, Fracture, StudyPlan


def draw_study(plan: StudyPlan, fractures: bool = True) -> DrawnStudy:
    """Draw one study.

    Args:
        plan: what to draw.
        fractures: False draws the same patient and scan unbroken.

    Returns:
        HU int16 and mask uint8, both (Z, Y, X) of ``plan.shape_zyx``.
    """
    nz, ny, nx = plan.shape_zyx
    dz, dy, dx = plan.spacing_zyx_mm
    y = (np.arange(ny, dtype=np.float32) - ny / 2)[:, None] * dy
    x = (np.arange(nx, dtype=np.float32) - nx / 2)[None, :] * dx
    hu = np.full(plan.shape_zyx, -1000, np.float32)
    mask = np.zeros(plan.shape_zyx, np.uint8)
    hu[:, np.hypot(y, x) < 62] = 40
    found = []
    top = 30.0
    body = np.hypot(y - 8, x) < 9
    for i, level in enumerate(LEVELS):
        z0, z1 = (int(np.clip((top + 17 * i + o) / dz, 0, nz)) for o in (0, 14))
        hu[z0:z1, body], mask[z0:z1, body] = 400, i + 1
        if fractures and plan.broken[i] and z1 > z0:
            y0, x0, h, w = int(ny * 0.5), int(nx * 0.44), int(8 / dy) + 1, int(16 / dx) + 1
            hu[z0:z1, y0 : y0 + 2, x0 : x0 + w] = 40
            extent = tuple((z, float(x0), float(y0), float(w), float(h)) for z in range(z0, z1))
            region = (z0, z1, y0, y0 + h, x0, x0 + w)
            centre = ((z0 + z1) / 2 * dz, y0 * dy, (x0 + w / 2) * dx)
            found.append(Fracture(level, "burst", centre, 2.0, 1.0, 0.0, region, extent))
    hu += plan.rng("noise").normal(0, 20, plan.shape_zyx).astype(np.float32)
    boxes = tuple(e for f in found for e in f.extent_px)
    truth = {"fractures": [f.to_dict() for f in found]}
    clipped = np.clip(np.round(hu), -1024, 3071).astype(np.int16)
    return DrawnStudy(clipped, mask, tuple(found), boxes, truth)
