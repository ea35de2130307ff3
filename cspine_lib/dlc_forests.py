"""Sequential random forests behind a slice classifier (deck A's rival of its own method).

After Wang et al., "Automated segmentation of dental CBCT image with prior-guided sequential
random forests", Medical Physics 2016;43(1):336–346: a first forest judges every place from
appearance and a prior, each further one also from what the forest before it said of the
neighbourhood.  Here a place is a level in a slice, the appearance comes from a network, the
prior from the detection network, and neighbours are slices along the neck and other levels.

What a forest says of its own training rows is too good, and so would be the context of the
next.  Each round is therefore several forests, each grown without one part of the studies;
the context of a training study comes from the forest that has not seen it.  A new study gets
the mean of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.config import Profile
from cspine_lib.dlc_slices import Outputs
from cspine_lib.errors import CspineError
from cspine_lib.forests import Forest, fit_forest, load_forests, save_forests
from cspine_lib.metrics import logit

FloatArray = npt.NDArray[np.floating]

SHOWS = 0.5
PARTS = 3
"""Forests of a round, each grown without one part of the studies."""
COMPONENTS = 12
"""Directions of the network's features that forests see."""
NEAR = (-2, -1, 1, 2)
"""Neighbouring slices whose probabilities are context."""


@dataclass(frozen=True, eq=False)
class Places:
    """The places of one study: rows of the forests.

    Args:
        at, level: (R,) which of the study's slices, and which level.
        weight: (R,) how surely the detection network sees that level there.
        x: (R, F) appearance and prior.
        n: slices of the study.
    """

    at: npt.NDArray[np.intp]
    level: npt.NDArray[np.intp]
    weight: FloatArray
    x: FloatArray
    n: int

    def grid(self, values: FloatArray, fill: float) -> FloatArray:
        """One value per row → (n, 7), ``fill`` where no level is seen."""
        out = np.full((self.n, N_LEVELS), fill)
        out[self.at, self.level] = values
        return out

    def levels(self, values: FloatArray, fill: float) -> FloatArray:
        """One value per row → (7,), the mean over a level's rows by weight."""
        rows = np.full(N_LEVELS, fill)
        for k in np.unique(self.level):
            here = self.level == k
            rows[k] = np.average(values[here], weights=self.weight[here])
        return rows


@dataclass(frozen=True, eq=False)
class ForestChain:
    """The trained forests with all that they need to be applied.

    Args:
        rounds: per round its forests.
        centre, axes: (F,), (F, C) of the projection of the network's features.
        rate: share of broken levels in training: what is said where nothing is seen.
    """

    rounds: list[list[Forest]]
    centre: FloatArray
    axes: FloatArray
    rate: float

    def logits(self, out: Outputs, visible: FloatArray) -> FloatArray:
        """A study's levels (7,) from the network's outputs and the detector's (K, 7)."""
        places = places_of(out, visible, self.centre, self.axes)
        x = places.x
        said = np.full(len(places.at), self.rate)
        for forests in self.rounds:
            said = np.mean([forest.probability(x) for forest in forests], axis=0)
            x = np.column_stack([places.x, context(places, said, self.rate)])
        return logit(places.levels(said, self.rate))

    def save(self, path: Path) -> None:
        """As one ``.npz`` of plain arrays."""
        flat = [forest for forests in self.rounds for forest in forests]
        save_forests(
            path,
            flat,
            per_round=np.array(len(self.rounds[0])),
            centre=self.centre,
            axes=self.axes,
            rate=np.array(self.rate),
        )

    @classmethod
    def load(cls, path: Path) -> ForestChain:
        """What :meth:`save` has written.

        Raises:
            CspineError: no such file, or a damaged one.
        """
        flat, more = load_forests(path)
        try:
            n = int(more["per_round"])
            rounds = [flat[i : i + n] for i in range(0, len(flat), n)]
            chain = cls(rounds, more["centre"], more["axes"], float(more["rate"]))
        except (KeyError, ValueError, TypeError) as error:
            raise CspineError(f"{path} is damaged ({error}): remove it and train again") from error
        width = 5 + chain.axes.shape[1] if chain.axes.ndim == 2 else -1
        widths = [forests[0].width - width for forests in rounds] if rounds else []
        if not widths or widths[0] != 0 or any(extra != _CONTEXT for extra in widths[1:]):
            raise CspineError(f"{path} holds forests of other columns: remove it and train again")
        return chain


# --- rows ----------------------------------------------------------------------------------------


def places_of(out: Outputs, visible: FloatArray, centre: FloatArray, axes: FloatArray) -> Places:
    """The rows of a study: each level in each slice that shows it by the detection network.

    A level that no slice shows surely gets the one slice that comes nearest.

    Args:
        visible: (K, 7) of the slices that ``out`` tells of.
    """
    shows = visible >= SHOWS
    faint = ~shows.any(axis=0) & (visible.max(axis=0) > 0)
    shows[visible.argmax(axis=0)[faint], np.flatnonzero(faint)] = True
    at, level = np.nonzero(shows)
    heights = _height(shows)
    fracture = logit(out.fracture)
    columns = [
        fracture[at, level],
        fracture.max(axis=1)[at],
        visible[at, level],
        level.astype(np.float64),
        heights[at, level],
    ]
    projected = (out.features - centre) @ axes  # (K, C)
    x = np.column_stack([*columns, projected[at]])
    return Places(at, level, visible[at, level], x, len(visible))


def _height(shows: npt.NDArray[np.bool_]) -> FloatArray:
    """(K, 7): how far down within its level a slice lies, 0 at the top, 1 at the bottom."""
    out = np.full(shows.shape, 0.5)
    for k in range(N_LEVELS):
        where = np.flatnonzero(shows[:, k])
        if len(where) > 1:
            out[where, k] = np.linspace(0, 1, len(where))
    return out


_CONTEXT = 1 + len(NEAR) + 5


def context(places: Places, said: FloatArray, rate: float) -> FloatArray:
    """What the forest before said around each row, (R, 10).

    Of the row itself; of the level in neighbouring slices (the row's own where these do not
    show it); of the level as a whole, mean and maximum; of the level above and below; of the
    most suspicious other level.
    """
    grid = places.grid(said, np.nan)
    mean = places.levels(said, rate)
    columns = [said]
    for step in NEAR:
        beside = np.clip(places.at + step, 0, places.n - 1)
        value = grid[beside, places.level]
        columns.append(np.where(np.isnan(value), said, value))
    top = np.full(N_LEVELS, rate)
    for k in np.unique(places.level):
        top[k] = said[places.level == k].max()
    padded = np.concatenate([[rate], mean, [rate]])
    others = np.array([np.delete(mean, k).max() for k in range(N_LEVELS)])
    columns += [
        mean[places.level],
        top[places.level],
        padded[places.level],
        padded[places.level + 2],
        others[places.level],
    ]
    return np.column_stack(columns)


# --- training ------------------------------------------------------------------------------------


def train_chain(
    outputs: Mapping[str, Outputs],
    visible: Mapping[str, FloatArray],
    labels: Mapping[str, npt.ArrayLike],
    ids: Sequence[str],
    profile: Profile,
    *,
    seed: int,
) -> tuple[ForestChain, dict[str, list[FloatArray]]]:
    """Grow all rounds on training studies.

    Args:
        outputs: per study what the network says of its slices.
        visible: per study (K, 7), what the detection network says of the same slices.
        labels: per study (7,).

    Returns:
        The chain, and per study what each round said of its levels (7,) without having seen it.
    """
    centre, axes = principal_axes(np.concatenate([outputs[uid].features for uid in ids]))
    places = {uid: places_of(outputs[uid], visible[uid], centre, axes) for uid in ids}
    y = {uid: np.asarray(labels[uid])[places[uid].level].astype(np.int64) for uid in ids}
    rate = float(np.clip(np.mean([labels[uid] for uid in ids]), 0.001, 0.999))
    part_of = _deal(ids, labels, seed)
    x = {uid: places[uid].x for uid in ids}
    rounds: list[list[Forest]] = []
    history: dict[str, list[FloatArray]] = {uid: [] for uid in ids}
    for r in range(profile.dlc_forest_rounds):
        forests, said = _one_round(x, y, part_of, profile, seed + 100 * r)
        rounds.append(forests)
        for uid in ids:
            history[uid].append(places[uid].levels(said[uid], rate))
            extra = context(places[uid], said[uid], rate)
            x[uid] = np.column_stack([places[uid].x, extra])
    return ForestChain(rounds, centre, axes, rate), history


def principal_axes(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean (F,) and the first directions (F, C) of features (N, F), each scaled to unit spread."""
    centre = features.mean(axis=0)
    scatter = (features - centre).T @ (features - centre) / max(len(features) - 1, 1)
    values, vectors = np.linalg.eigh(scatter)
    order = np.argsort(values)[::-1][: min(COMPONENTS, len(values))]
    return centre, vectors[:, order] / np.sqrt(np.maximum(values[order], 1e-12))


def _deal(ids: Sequence[str], labels: Mapping[str, npt.ArrayLike], seed: int) -> dict[str, int]:
    """Part of each study; studies with a fracture are spread evenly."""
    rng = np.random.default_rng(seed)
    broken = np.array([np.any(labels[uid]) for uid in ids])
    order = np.lexsort([rng.random(len(ids)), broken])
    return {ids[i]: rank % PARTS for rank, i in enumerate(order)}


def _one_round(
    x: Mapping[str, FloatArray],
    y: Mapping[str, npt.NDArray[np.int64]],
    part_of: Mapping[str, int],
    profile: Profile,
    seed: int,
) -> tuple[list[Forest], dict[str, FloatArray]]:
    """The forests of a round, and what each study's rows are told by the one without it."""
    forests: list[Forest] = []
    said: dict[str, FloatArray] = {}
    for part in range(PARTS):
        inside = [uid for uid, p in part_of.items() if p != part]
        forest = fit_forest(
            np.concatenate([x[uid] for uid in inside]),
            np.concatenate([y[uid] for uid in inside]),
            trees=profile.dlc_trees,
            leaf=profile.dlc_leaf,
            seed=seed + part,
        )
        forests.append(forest)
        said |= {uid: forest.probability(x[uid]) for uid, p in part_of.items() if p == part}
    return forests, said
