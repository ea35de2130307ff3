"""Predictions per slice → the slice range and box of each level.

Two ways.  By itself each level gets the slices where its probability is high, as in
the deck.  In order, a dynamic programme places the centres of C1 < C2 < … < C7 together:
it knows how far apart they can be and that the levels in view have no gap.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import LEVELS, N_LEVELS
from cspine_lib.errors import CspineError
from cspine_lib.labels import LevelBox

Float = npt.NDArray[np.floating]

PITCH_MM = np.array([16.0, 22.0, 17.0, 17.0, 17.0, 17.0])
"""Expected distance along z between the centres of neighbouring levels, C1–C2 first.

C3–C7: mid-body height of 12–14 mm (Gilad & Nissan, J Anat 1985;143:115–120) plus a disc of
4.1 ± 1.2 mm (CT of 1,000 adults, PMC11225399).  C1 and C2 overlap, as the dens stands inside
the ring of C1; the centre of C2's slices, dens included, is about at the base of the dens,
hence the shorter first and the longer second distance.
"""

PITCH_SD_MM = np.array([6.0, 5.0, 4.0, 4.0, 4.0, 4.0])
"""Spread of these distances.  Wide: stature, tilt and lordosis add to that of the bones."""

HEIGHT_MM = np.array([23.0, 39.0, 23.0, 23.0, 23.0, 23.0, 26.0])
"""About how much of z a level fills, arches and spinous process included: the window over
which its probability is averaged to find its centre.  It grows by half at most."""

LOGIT_CLIP = 4.0
"""One very sure slice must not outvote a level's height of unsure ones."""

ABSENT_COST = 2.0
"""Cost of leaving out a level whose expected place is in view, in units of log-odds.  Leaving out
a level that would lie outside the scan costs ``OUTSIDE_COST``."""

OUTSIDE_COST = 1.0
"""Cost of a level outside the scan.  Not nothing: a scan of the neck is made to show all seven
(of RSNA's 2019 one shows none), and a single level at the end of a long scan is a mistake."""

MIN_HALF_MM = 5.0
"""Half of the shortest slice range that the ordered way gives a level."""


def decode_levels(
    prob_z7: npt.ArrayLike,
    box_z4_px: npt.ArrayLike,
    z_index: npt.ArrayLike,
    spacing_zyx_mm: tuple[float, float, float],
    *,
    ordered: bool = True,
    threshold: float = 0.5,
) -> dict[str, LevelBox]:
    """Slice range and box of each level from the predictions of stage 1.

    Args:
        prob_z7: (N, 7) probability that each looked-at slice shows C1…C7.
        box_z4_px: (N, 4) box of the cervical spine in these slices, x0, y0, x1, y1
            as half-open edges in native pixels; NaN where there is none.
        z_index: (N,) index of the slices in the volume, ascending.
        spacing_zyx_mm: the volume's spacing; only z is used.
        ordered: place all levels together; else each by itself, where a level is its
            longest run (by summed probability) of slices at or above ``threshold``.
        threshold: probability from which a level counts as seen.  In order, there is
            no cervical level if none has a mean probability of half of it over its
            height, and each range ends where it falls below ``threshold`` × its peak.

    Returns:
        Levels found, C1 first; empty if there is none.

    Raises:
        CspineError: shapes disagree, probabilities outside [0, 1], slices not ascending.
    """
    prob, boxes, z = _checked(prob_z7, box_z4_px, z_index)
    if not 0 < threshold < 1:
        raise CspineError(f"threshold must be between 0 and 1, got {threshold}")
    dz = spacing_zyx_mm[0]
    # On every native slice: the slices in between are read off a straight line.
    grid = np.arange(z[0], z[-1] + 1)
    fine = np.stack([np.interp(grid, z, column) for column in prob.T], axis=1)
    ranges = (
        _ranges_in_order(fine, dz, threshold) if ordered else _ranges_alone(fine, dz, threshold)
    )
    out = {}
    for k, (first, last) in ranges.items():
        z0, z1 = int(grid[first]), int(grid[last])
        edges = _robust_box(boxes, z, prob[:, k], z0, z1)
        if edges is not None:
            score = float(np.clip(fine[first : last + 1, k].mean(), 0, 1))
            out[LEVELS[k]] = LevelBox(LEVELS[k], z0, z1, *edges, score=score)
    return out


def _checked(
    prob_z7: npt.ArrayLike, box_z4_px: npt.ArrayLike, z_index: npt.ArrayLike
) -> tuple[Float, Float, npt.NDArray[np.int64]]:
    prob = np.asarray(prob_z7, dtype=np.float64)
    boxes = np.asarray(box_z4_px, dtype=np.float64)
    z = np.asarray(z_index, dtype=np.int64)
    n = len(z)
    if n == 0 or prob.shape != (n, N_LEVELS) or boxes.shape != (n, 4):
        raise CspineError(
            f"expected (N, 7) probabilities, (N, 4) boxes and N ≥ 1 slices, got {prob.shape}, "
            f"{boxes.shape} and {n}"
        )
    if not ((prob >= 0) & (prob <= 1)).all():
        raise CspineError("probabilities must lie in [0, 1] and not be NaN")
    if (np.diff(z) <= 0).any():
        raise CspineError("slices must be given in ascending order, each once")
    return prob, boxes, z


def _ranges_alone(prob: Float, dz: float, threshold: float) -> dict[int, tuple[int, int]]:
    """Each level's strongest run at or above the threshold."""
    out = {}
    for k in range(N_LEVELS):
        runs = _runs(prob[:, k] >= threshold)
        if runs:
            # max() keeps the first of equals, so ties are settled head first.
            out[k] = max(runs, key=lambda r: prob[r[0] : r[1] + 1, k].sum())
    return out


def _ranges_in_order(prob: Float, dz: float, threshold: float) -> dict[int, tuple[int, int]]:
    """Ranges around centres that were placed together."""
    smooth = np.stack([_window_mean(prob[:, k], HEIGHT_MM[k] / dz) for k in range(N_LEVELS)], 1)
    # Some level must be half likely over its whole height; one sure slice is not enough.
    if smooth.max() < threshold / 2:
        return {}
    # On scans unlike the training ones all levels are unsure: judge by the surest of them.
    even = threshold * min(float(smooth.max()), 1.0)
    clipped = np.clip(prob, 1e-6, 1 - 1e-6)
    odds = np.log(clipped / (1 - clipped)) - np.log(even / (1 - even))
    odds = np.clip(odds, -LOGIT_CLIP, LOGIT_CLIP)
    score = np.stack([_window_mean(odds[:, k], HEIGHT_MM[k] / dz) for k in range(N_LEVELS)], 1)
    centres = _best_chain(score, dz)
    return {k: _extent(prob[:, k], c, HEIGHT_MM[k] / dz, dz, threshold) for k, c in centres.items()}


def _window_mean(values: Float, height: float) -> Float:
    """Mean around each sample, weighted by a bell as wide as a level of ``height`` samples.

    A bell and not a box, so that the middle of a run scores best even where the run is
    longer or shorter than expected.  Where the bell hangs over the end of the scan only
    the part inside counts, but as no less than half: a level that the field of view cuts
    off is still found, one wholly outside is not made up.
    """
    sd = max(height / np.sqrt(12), 0.5)  # that of a box of this height
    at = np.arange(len(values))
    bell = np.exp(-0.5 * ((at[:, None] - at[None, :]) / sd) ** 2)
    whole = sd * np.sqrt(2 * np.pi)
    return bell @ values / np.maximum(bell.sum(axis=1), whole / 2)


def _best_chain(score: Float, dz: float) -> dict[int, int]:
    """Centres of a gapless run of levels that maximise score + prior − cost of absent levels."""
    n = len(score)
    at_mm = np.arange(n, dtype=np.float64) * dz
    gap_mm = at_mm[:, None] - at_mm[None, :]  # (this, one above)
    best = np.empty((N_LEVELS, n))
    above = np.full((N_LEVELS, n), -1, dtype=np.intp)
    for k in range(N_LEVELS):
        start = score[:, k] - _absent_above(k, at_mm)
        best[k] = start
        if k:
            deviation = (gap_mm - PITCH_MM[k - 1]) / PITCH_SD_MM[k - 1]
            prior = np.where(gap_mm > 0, -0.5 * deviation**2, -np.inf)
            joined = best[k - 1][None, :] + prior
            pick = joined.argmax(axis=1)
            joined_score = score[:, k] + joined[np.arange(n), pick]
            take = joined_score >= start
            best[k] = np.where(take, joined_score, start)
            above[k] = np.where(take, pick, -1)
    total = best - np.stack([_absent_below(k, at_mm) for k in range(N_LEVELS)])
    k, centre = (int(i) for i in np.unravel_index(total.argmax(), total.shape))
    chain = {k: centre}
    while above[k, centre] >= 0:
        k, centre = k - 1, int(above[k, centre])
        chain[k] = centre
    return dict(sorted(chain.items()))


def _absent_above(k: int, at_mm: Float) -> Float:
    """Cost of having no level above level ``k`` at each position."""
    expected = at_mm[:, None] - np.cumsum(PITCH_MM[:k][::-1])[None, :]
    inside = (expected >= at_mm[0]).sum(axis=1)
    return ABSENT_COST * inside + OUTSIDE_COST * (k - inside)


def _absent_below(k: int, at_mm: Float) -> Float:
    """Cost of having no level below level ``k`` at each position."""
    expected = at_mm[:, None] + np.cumsum(PITCH_MM[k:])[None, :]
    inside = (expected <= at_mm[-1]).sum(axis=1)
    return ABSENT_COST * inside + OUTSIDE_COST * (expected.shape[1] - inside)


def _extent(
    prob: Float, centre: int, height: float, dz: float, threshold: float
) -> tuple[int, int]:
    """Run of slices around a centre where the probability stays near its peak."""
    n = len(prob)
    reach = max(round(0.75 * height), 1)
    lo, hi = max(centre - reach, 0), min(centre + reach, n - 1)
    # The peak is looked for in the level's middle half, where no neighbour is.
    quarter = max(round(height / 4), 1)
    near = slice(max(centre - quarter, lo), min(centre + quarter, hi) + 1)
    top = near.start + int(prob[near].argmax())
    limit = threshold * prob[top]
    first = last = top
    while first > lo and prob[first - 1] >= limit:
        first -= 1
    while last < hi and prob[last + 1] >= limit:
        last += 1
    least = int(np.ceil(MIN_HALF_MM / dz))
    return max(min(first, centre - least), 0), min(max(last, centre + least), n - 1)


def _runs(inside: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


BOX_QUANTILE = 0.1
"""Share of weight cut off at each edge of a level's box: wide enough to hold nearly all of the
level's slices, deaf to single slices where stage 1 erred."""


def _robust_box(
    boxes: Float, z: npt.NDArray[np.int64], prob: Float, z0: int, z1: int
) -> tuple[float, float, float, float] | None:
    """One box for a level from its slices' boxes, each weighted by the level's probability."""
    known = np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > boxes[:, 0])
    known &= boxes[:, 3] > boxes[:, 1]
    if not known.any():
        return None
    use = known & (z >= z0) & (z <= z1)
    if not use.any():
        # A range between two looked-at slices: the nearest one stands for it.
        distance = np.where(known, np.abs(z - (z0 + z1) / 2), np.inf)
        use = np.arange(len(z)) == distance.argmin()
    weight = np.maximum(prob[use], 1e-3)
    x0, y0 = (_weighted_quantile(boxes[use, i], weight, BOX_QUANTILE) for i in (0, 1))
    x1, y1 = (_weighted_quantile(boxes[use, i], weight, 1 - BOX_QUANTILE) for i in (2, 3))
    return x0, y0, x1, y1


def _weighted_quantile(values: Float, weight: Float, q: float) -> float:
    """Quantile of values that count by weight, read off linearly between their middles."""
    order = np.argsort(values, kind="stable")
    v, w = values[order], weight[order]
    middle = (np.cumsum(w) - w / 2) / w.sum()
    return float(np.interp(q, middle, v))


def truth_errors(
    pred: Mapping[str, LevelBox],
    true: Mapping[str, LevelBox],
    spacing_zyx_mm: tuple[float, float, float],
) -> pd.DataFrame:
    """How far predicted levels are from the true ones.

    Returns:
        One row per level that either side has: ``level``, ``found`` and ``present``
        (bool), ``centre_error_mm`` (signed, along z, positive: too far to the feet),
        ``centre_distance_mm`` (in three axes), ``slice_iou``, ``box_iou``; NaN where
        one side lacks the level.
    """
    rows = []
    for level in LEVELS:
        p, t = pred.get(level), true.get(level)
        if p is None and t is None:
            continue
        row: dict[str, object] = {"level": level, "found": p is not None, "present": t is not None}
        if p is not None and t is not None:
            gap = (np.array(p.centre_zyx) - np.array(t.centre_zyx)) * np.array(spacing_zyx_mm)
            row["centre_error_mm"] = float(gap[0])
            row["centre_distance_mm"] = float(np.linalg.norm(gap))
            row["slice_iou"] = _overlap((p.z0, p.z1 + 1), (t.z0, t.z1 + 1))
            row["box_iou"] = box_iou(p, t)
        rows.append(row)
    columns = ["level", "found", "present", "centre_error_mm", "centre_distance_mm"]
    return pd.DataFrame(rows, columns=[*columns, "slice_iou", "box_iou"])


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Intersection over union of two intervals."""
    common = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return common / ((a[1] - a[0]) + (b[1] - b[0]) - common)


def box_iou(a: LevelBox, b: LevelBox) -> float:
    """Intersection over union of two boxes in the axial plane."""
    width = max(0.0, min(a.x1, b.x1) - max(a.x0, b.x0))
    height = max(0.0, min(a.y1, b.y1) - max(a.y0, b.y0))
    common = width * height
    area = sum((box.x1 - box.x0) * (box.y1 - box.y0) for box in (a, b))
    return common / (area - common)
