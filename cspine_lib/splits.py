"""Patient-grouped folds in which every level's fractures are spread evenly.

Iterative stratification (Sechidis, Tsoumakas & Vlahavas, ECML PKDD 2011) over
patients instead of rows: the rarest label is dealt out first, each time to the
fold that still lacks most of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cspine_lib.errors import CspineError

IntArray = npt.NDArray[np.int64]


def patient_folds(
    ids: Sequence[str],
    labels: npt.ArrayLike,
    k: int = 5,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> IntArray:
    """Fold 0 … k−1 of every study.

    Args:
        ids: N study identifiers, each once.  Their order does not matter: a study
            keeps its fold when the list is shuffled.
        labels: (N, T) of 0 and 1; any number of labels.
        k: number of folds.
        seed: decides ties only.
        groups: N patient identifiers; studies of one patient share a fold.  By
            default each study is a patient of its own, as in RSNA 2022.

    Raises:
        CspineError: fewer patients than folds, doubled ids, or lengths that differ.
    """
    if k < 2:
        raise CspineError(f"at least two folds are needed, got {k}")
    return _deal(ids, labels, np.full(k, 1 / k), seed, groups)


def inner_split(
    ids: Sequence[str],
    labels: npt.ArrayLike,
    fraction: float = 0.15,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> tuple[list[str], list[str]]:
    """Training and validation ids, both in the order given; for early stopping.

    Args:
        ids, labels, seed, groups: as for ``patient_folds``.
        fraction: share of validation, in (0, 1); both parts get at least one patient.

    Raises:
        CspineError: fewer than two patients, a fraction outside (0, 1), doubled ids.
    """
    if not 0 < fraction < 1:
        raise CspineError(f"the validation fraction must lie in (0, 1), got {fraction}")
    part = _deal(ids, labels, np.array([1 - fraction, fraction]), seed, groups)
    train = [i for i, p in zip(ids, part, strict=True) if p == 0]
    return train, [i for i, p in zip(ids, part, strict=True) if p == 1]


def _deal(
    ids: Sequence[str],
    labels: npt.ArrayLike,
    shares: npt.NDArray[np.float64],
    seed: int,
    groups: Sequence[str] | None,
) -> IntArray:
    """Part of every study, where part f is to get ``shares[f]`` of all."""
    label_rows = np.asarray(labels, dtype=np.float64)
    if label_rows.ndim != 2 or len(label_rows) != len(ids):
        raise CspineError(f"{len(ids)} ids need labels of shape (N, T), got {label_rows.shape}")
    if len(set(ids)) != len(ids):
        raise CspineError("study identifiers must not repeat")
    patients = list(ids) if groups is None else list(groups)
    if len(patients) != len(ids):
        raise CspineError(f"{len(ids)} ids but {len(patients)} patient groups")
    names, group_of = np.unique(np.array(patients, dtype=str), return_inverse=True)
    if len(names) < len(shares):
        raise CspineError(f"{len(names)} patients cannot be split into {len(shares)} parts")
    sizes = np.bincount(group_of).astype(np.float64)
    label_sums = np.zeros((len(names), label_rows.shape[1]))
    np.add.at(label_sums, group_of, label_rows)
    part = _stratify(label_sums, sizes, shares, np.random.default_rng(seed))
    return part[group_of]


def _stratify(
    label_sums: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    shares: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> IntArray:
    """Part of every patient; label_sums (G, T), sizes (G,), shares (F,)."""
    part = np.full(len(sizes), -1)
    total = label_sums.sum(axis=0)
    wanted = shares[:, None] * total  # still lacking, (F, T)
    room = shares * sizes.sum()
    shuffled = rng.permutation(len(sizes))
    while (part < 0).any():
        open_ = shuffled[part[shuffled] < 0]
        left = label_sums[open_].sum(axis=0)
        if (left > 0).any():
            rarest = int(np.argmin(np.where(left > 0, left, np.inf)))
            candidates = open_[label_sums[open_, rarest] > 0]
        else:
            candidates = open_
        # Patients with many studies first: what comes late can still even out.
        chosen = candidates[np.argmax(sizes[candidates])]
        if (left > 0).any():
            has = label_sums[chosen] > 0
            others = (wanted[:, has] / total[has]).sum(axis=1)
            needs = [wanted[:, rarest], others, room]
        else:
            needs = [room]
        fold = _neediest(needs, rng)
        part[chosen] = fold
        wanted[fold] -= label_sums[chosen]
        room[fold] -= sizes[chosen]
    return _without_empty_parts(part, sizes, len(shares))


def _neediest(needs: list[npt.NDArray[np.float64]], rng: np.random.Generator) -> int:
    """Part with the largest first need; the next needs, then the lot, decide among equals."""
    best = np.arange(len(needs[0]))
    for need in needs:
        best = best[np.isclose(need[best], need[best].max())]
    return int(rng.choice(best))


def _without_empty_parts(part: IntArray, sizes: npt.NDArray[np.float64], n: int) -> IntArray:
    """Give each empty part the smallest patient of the part with the most patients."""
    for empty in sorted(set(range(n)) - set(part.tolist())):
        largest = np.argmax(np.bincount(part, minlength=n))
        members = np.flatnonzero(part == largest)
        part[members[np.argmin(sizes[members])]] = empty
    return part
