"""Random forests as plain arrays: grown by scikit-learn, stored without pickle, walked here.

A pickled forest runs whatever code its file holds.  Here a forest is a handful of arrays in
an ``.npz``, checked when it is read, so that a file can be damaged but cannot do anything.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cspine_lib.errors import CspineError
from cspine_lib.runs import atomic_path

FloatArray = npt.NDArray[np.floating]
_NAMES = ("left", "feature", "threshold", "p")
DEPTH = 12
"""No tree asks more questions in a row."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees of one forest, padded to one length.

    Args:
        left: (T, M) first child of each node, -1 for a leaf.  The second is in ``right``.
        right: (T, M).
        feature: (T, M) column that a node asks about.
        threshold: (T, M); up to it a row goes to the left, as 32-bit number.
        p: (T, M) share of the positive class among a node's training rows.
        width: columns that a row must have.
    """

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]
    width: int

    def probability(self, x: FloatArray) -> npt.NDArray[np.float64]:
        """Mean over the trees of the positive share in the leaf that each row reaches.

        Args:
            x: (N, width), finite.

        Returns:
            (N,) in 0..1, scikit-learn's ``predict_proba(x)[:, 1]``.

        Raises:
            CspineError: another number of columns, or a value that is not finite.
        """
        rows = np.asarray(x, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise CspineError(f"this forest asks for {self.width} columns, got {rows.shape}")
        if not np.isfinite(rows).all():
            raise CspineError("a forest cannot tell where a value that is not finite belongs")
        trees = np.arange(len(self.left))[:, None]  # (T, 1)
        node = np.zeros((len(self.left), len(rows)), dtype=np.int64)  # (T, N), all at the root
        column = np.arange(len(rows))[None]
        while True:
            left = self.left[trees, node]
            if (left < 0).all():
                return self.p[trees, node].mean(axis=0)
            value = rows[column, self.feature[trees, node]]
            down = np.where(value <= self.threshold[trees, node], left, self.right[trees, node])
            node = np.where(left < 0, node, down)


def fit_forest(
    x: FloatArray, y: npt.NDArray[np.integer], *, trees: int, leaf: int, seed: int
) -> Forest:
    """Grow a forest with scikit-learn.

    Args:
        x: (N, F), finite.
        y: (N,) of 0 and 1.
        trees: how many.
        leaf: fewest rows in a leaf.
    """
    from sklearn.ensemble import RandomForestClassifier

    grown = RandomForestClassifier(
        n_estimators=trees, min_samples_leaf=leaf, max_depth=DEPTH, random_state=seed, n_jobs=1
    )
    grown.fit(np.asarray(x, dtype=np.float32), np.asarray(y, dtype=np.int64))
    return from_sklearn(grown)


def from_sklearn(grown: Any) -> Forest:
    """The arrays of a fitted ``RandomForestClassifier`` of the classes 0 and 1."""
    trees = [one.tree_ for one in grown.estimators_]
    shape = (len(trees), max(tree.node_count for tree in trees))
    classes = list(grown.classes_)
    out = {name: np.full(shape, -1, dtype=np.int32) for name in ("left", "right")}
    feature = np.zeros(shape, dtype=np.int32)
    threshold, p = np.zeros(shape), np.zeros(shape)
    for t, tree in enumerate(trees):
        n = tree.node_count
        out["left"][t, :n] = tree.children_left
        out["right"][t, :n] = tree.children_right
        feature[t, :n] = np.maximum(tree.feature, 0)  # -2 in a leaf
        threshold[t, :n] = tree.threshold
        counts = tree.value[:, 0, :]  # shares in newer versions, counts in older ones
        if 1 in classes:
            p[t, :n] = counts[:, classes.index(1)] / counts.sum(axis=1)
    return Forest(out["left"], out["right"], feature, threshold, p, int(grown.n_features_in_))


# --- files ---------------------------------------------------------------------------------------


def save_forests(path: Path, forests: Sequence[Forest], **more: npt.NDArray[Any]) -> None:
    """Write forests, and other arrays, as one ``.npz`` that is whole or not there."""
    arrays: dict[str, npt.NDArray[Any]] = {"count": np.array(len(forests)), **more}
    for i, forest in enumerate(forests):
        arrays[f"{i}.right"] = forest.right
        arrays[f"{i}.width"] = np.array(forest.width)
        arrays |= {f"{i}.{name}": getattr(forest, name) for name in _NAMES}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_forests(path: Path) -> tuple[list[Forest], dict[str, npt.NDArray[Any]]]:
    """What :func:`save_forests` has written: forests, and the other arrays.

    Raises:
        CspineError: no such file, no archive of plain arrays, or arrays that are no trees.
    """
    if not path.is_file():
        raise CspineError(f"no forests at {path}: train first, or name another run")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        count = int(arrays.pop("count"))
        forests = [_forest(arrays, i) for i in range(count)]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise CspineError(f"{path} is damaged ({error}): remove it and train again") from error
    return forests, arrays


def _forest(arrays: dict[str, npt.NDArray[Any]], i: int) -> Forest:
    parts = {name: arrays.pop(f"{i}.{name}") for name in (*_NAMES, "right")}
    forest = Forest(**parts, width=int(arrays.pop(f"{i}.width")))
    if (fault := _fault(forest)) is not None:
        raise ValueError(f"forest {i}: {fault}")
    return forest


def _fault(forest: Forest) -> str | None:
    """Why these arrays are no trees, or None."""
    shape = forest.left.shape
    if len(shape) != 2 or min(shape) < 1:
        return "no trees"
    if any(getattr(forest, name).shape != shape for name in (*_NAMES, "right")):
        return "arrays of different shapes"
    if any(getattr(forest, name).dtype.kind != "i" for name in ("left", "right", "feature")):
        return "nodes that are no whole numbers"
    leaf, here = forest.left < 0, np.broadcast_to(np.arange(shape[1]), shape)
    for child in (forest.left, forest.right):
        # A child after its parent: every walk comes to an end.
        if (child[~leaf] <= here[~leaf]).any() or (child >= shape[1]).any():
            return "a node that leads nowhere"
    if (forest.feature < 0).any() or (forest.feature >= forest.width).any():
        return "a question about a column that is not there"
    if not (np.isfinite(forest.threshold).all() and ((forest.p >= 0) & (forest.p <= 1)).all()):
        return "numbers out of range"
    return None
