"""How good are labels of visibility?  By level, by study, and in mm from a level's true end.

Truth and labels are tables (Z, 7), one per study: whether, or how surely, each native slice
shows each of C1–C7.  Slices of one study resemble each other, so that every interval here
draws studies, not slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cspine_lib.anatomy import LEVELS, N_LEVELS
from cspine_lib.errors import CspineError
from cspine_lib.metrics import CLIP, Interval, auroc, percentile_interval, ratio_ci, resample_counts

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]
Truth = Mapping[str, BoolArray]
Labels = Mapping[str, FloatArray]

SHOWS = 0.5
"""A slice is taken to show a level from this probability on."""


def level_table(truth: Truth, labels: Labels, ids: Sequence[str]) -> pd.DataFrame:
    """One row per level and one for all: how right the labels of these studies are.

    Columns: ``accuracy`` of slices; ``always no``, the accuracy of a model that never sees
    the level; ``found``, the share of its slices that are labelled so; ``right``, the share
    of so labelled slices that show it; ``auroc``.  All are ``Interval`` but ``always no`` and
    ``auroc``, which are numbers.

    Raises:
        CspineError: no study, or a table that does not fit its truth.
    """
    hits = [_counts(truth, labels, uid) for uid in ids]
    if not hits:
        raise CspineError("a table of labels needs studies, got none")
    right, shown, said, both, slices = np.stack(hits).transpose(1, 2, 0)  # each (7, N)
    y = np.concatenate([truth[uid] for uid in ids])
    p = np.concatenate([labels[uid] for uid in ids])
    rows = []
    for name, k in [*((level, [i]) for i, level in enumerate(LEVELS)), ("all", range(N_LEVELS))]:
        columns = list(k)
        r, t, s, b, n = (a[columns].sum(axis=0) for a in (right, shown, said, both, slices))
        rows.append(
            {
                "level": name,
                "accuracy": ratio_ci(r, n),
                "always no": 1 - float(t.sum() / n.sum()),
                "found": ratio_ci(b, t),
                "right": ratio_ci(b, s),
                "auroc": auroc(y[:, columns].ravel(), p[:, columns].ravel()),
            }
        )
    return pd.DataFrame(rows).set_index("level")


def _counts(truth: Truth, labels: Labels, uid: str) -> npt.NDArray[np.float64]:
    """(5, 7): slices that are right, show the level, are said to, both, and all slices."""
    shows, p = _pair(truth, labels, uid)
    said = p >= SHOWS
    every = np.full(N_LEVELS, len(shows))
    parts = [(said == shows).sum(0), shows.sum(0), said.sum(0), (said & shows).sum(0), every]
    return np.array(parts, dtype=np.float64)


def _pair(truth: Truth, labels: Labels, uid: str) -> tuple[BoolArray, FloatArray]:
    shows, p = truth[uid], labels[uid]
    if shows.shape != p.shape or shows.shape[1:] != (N_LEVELS,):
        raise CspineError(f"labels {p.shape} of {uid} do not fit their truth {shows.shape}")
    return shows, p


def study_loss(truth: Truth, labels: Labels, ids: Sequence[str]) -> FloatArray:
    """Mean log loss in nats over the slices and levels of each study, (N,)."""
    out = []
    for uid in ids:
        shows, p = _pair(truth, labels, uid)
        right = np.clip(np.where(shows, p, 1 - p), CLIP, 1 - CLIP)
        out.append(-np.log(right.astype(np.float64)).mean())
    return np.array(out)


def study_accuracy(truth: Truth, labels: Labels, ids: Sequence[str]) -> FloatArray:
    """Share of right answers over the slices and levels of each study, (N,)."""
    pairs = [_pair(truth, labels, uid) for uid in ids]
    return np.array([((p >= SHOWS) == shows).mean() for shows, p in pairs])


def mean_ci(values: npt.ArrayLike) -> Interval:
    """Mean over studies (N,) with its bootstrap interval."""
    rows = np.asarray(values, dtype=np.float64)
    return ratio_ci(rows, np.ones(len(rows)))


def in_words(value: Interval | float, digits: int = 4) -> str:
    """A number, or an interval, in a table; ``n/a`` where there is none."""
    numbers = value if isinstance(value, Interval) else (value,)
    if not np.isfinite(numbers).all():
        return "n/a"
    first, *rest = (f"{v:.{digits}f}".replace("-", "−") for v in numbers)
    return f"{first} [{rest[0]}, {rest[1]}]" if rest else first


def difference_of_means_ci(a: npt.ArrayLike, b: npt.ArrayLike, seed: int = 0) -> Interval:
    """mean(a) − mean(b) of two groups of other studies, each resampled by itself."""
    groups = [np.asarray(x, dtype=np.float64) for x in (a, b)]
    resampled = [resample_counts(len(x), seed=seed + i) @ x / len(x) for i, x in enumerate(groups)]
    value = float(groups[0].mean() - groups[1].mean())
    return percentile_interval(value, resampled[0] - resampled[1])


# --- where labels are wrong ------------------------------------------------------------------


def edge_distance_mm(shows: npt.ArrayLike, dz_mm: float) -> FloatArray:
    """How far the middle of each slice is from the nearest end of a level, (Z,) mm.

    An end lies half-way between a slice that shows the level and a neighbour that does not;
    infinite where there is none.

    Args:
        shows: (Z,) bool.
        dz_mm: distance between slices.
    """
    column = np.asarray(shows, dtype=bool)
    ends = np.flatnonzero(column[1:] != column[:-1]) + 0.5
    if not len(ends):
        return np.full(len(column), np.inf)
    return np.abs(np.arange(len(column))[:, None] - ends).min(axis=1) * dz_mm


def wrong_slices(
    truth: Truth, labels: Labels, ids: Sequence[str], dz_mm: Mapping[str, float]
) -> pd.DataFrame:
    """Every wrong answer, one row each.

    Returns:
        Columns ``study``, ``level``, ``z``, ``kind``, which is ``missed`` (it shows the level)
        or ``claimed`` (it does not), and ``mm`` from the level's nearest end.
    """
    rows: list[tuple[str, str, int, str, float]] = []
    for uid in ids:
        shows, p = _pair(truth, labels, uid)
        for k, level in enumerate(LEVELS):
            far = edge_distance_mm(shows[:, k], dz_mm[uid])
            for z in np.flatnonzero((p[:, k] >= SHOWS) != shows[:, k]):
                kind = "missed" if shows[z, k] else "claimed"
                rows.append((uid, level, int(z), kind, float(far[z])))
    return pd.DataFrame(rows, columns=["study", "level", "z", "kind", "mm"])
