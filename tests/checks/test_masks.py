"""Graders of notebook 03: right answers in two styles pass, each usual mistake is named."""

import inspect

import numpy as np
import pytest
from scipy import ndimage

from cspine_lib import checks
from cspine_lib.checks import mask_labels, mask_pieces, masks
from cspine_lib.labels import evenly_spaced
from cspine_lib.mask_lab import cleaned
from cspine_lib.volume import LPS_TO_RAS

GRADERS = [checks.align_mask, checks.level_box, checks.spread_frames, checks.largest_piece]


# --- align_mask


def scatter(values, ras, shape, lps, *, to_image=None, rounding=np.rint):
    if to_image is None:
        to_image = np.linalg.inv(lps) @ np.diag([-1, -1, 1, 1]) @ ras
    ijk = np.argwhere(values >= 0)
    zyx = rounding(ijk @ to_image[:3, :3].T + to_image[:3, 3]).astype(int)
    keep = ((zyx >= 0) & (zyx < shape)).all(axis=1)
    out = np.zeros(shape, values.dtype)
    out[tuple(zyx[keep].T)] = values[tuple(ijk[keep].T)]
    return out


def turn(values, ras, shape, lps, *, step=lambda s: s, frame=LPS_TO_RAS, transposed=False):
    """Transpose and flip, then put the block where it belongs."""
    to_image = np.linalg.inv(lps) @ frame @ ras
    matrix = np.rint(to_image[:3, :3]).astype(int)
    matrix = matrix.T if transposed else matrix
    axes = np.abs(matrix).argmax(axis=1)
    block = values.transpose(axes)
    block = block[tuple(slice(None, None, step(int(matrix[r, a]))) for r, a in enumerate(axes))]
    return block, to_image


def right_turn(values, ras, shape, lps):
    block, to_image = turn(values, ras, shape, lps)
    ends = np.array([[0, 0, 0, 1], [*(n - 1 for n in values.shape), 1]]) @ to_image.T
    first = np.rint(ends[:, :3].min(axis=0)).astype(int)
    out = np.zeros(shape, values.dtype)
    box = tuple(slice(f, f + n) for f, n in zip(first, block.shape, strict=True))
    out[box] = block
    return out


def resampled(values, ras, shape, lps):
    to_mask = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ ras) @ lps
    return ndimage.affine_transform(
        values, to_mask[:3, :3], to_mask[:3, 3], output_shape=shape, order=0, mode="grid-constant"
    )


def one_too_far(values, ras, shape, lps):
    to_image = np.linalg.inv(lps) @ LPS_TO_RAS @ ras
    to_image[:3, 3] += np.rint(to_image[:3, :3]).sum(axis=1) < 0
    return scatter(values, ras, shape, lps, to_image=to_image)


@pytest.mark.parametrize("right", [scatter, right_turn, resampled])
def test_an_aligned_mask_passes(right):
    verdict = checks.align_mask(right)
    assert verdict, verdict


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (lambda v, r, s, a: v[:, ::-1, ::-1].transpose(2, 1, 0), "fixed flip, [:, ::-1, ::-1]"),
        (lambda v, r, s, a: v[:, ::-1].transpose(2, 1, 0), "stored feet first"),
        (lambda v, r, s, a: v.transpose(2, 1, 0), "only transpose"),
        (lambda v, r, s, a: v, "as it lies in the file"),
        (lambda v, r, s, a: scatter(v, r, s, a, to_image=np.linalg.inv(a) @ r), "RAS"),
        (lambda v, r, s, a: turn(v, r, s, a, frame=np.eye(4))[0], "RAS"),
        (lambda v, r, s, a: turn(v, r, s, a, step=lambda s: -s)[0], "where it should not be"),
        (lambda v, r, s, a: turn(v, r, s, a, step=lambda s: 1)[0], "must be flipped"),
        (lambda v, r, s, a: turn(v, r, s, a)[0], "the place is not"),
        (lambda v, r, s, a: turn(v, r, s, a, transposed=True)[0], "wrong way round"),
        (
            lambda v, r, s, a: scatter(v, r, s, a, to_image=np.linalg.inv(LPS_TO_RAS @ r) @ a),
            "wrong way round",
        ),
        (lambda v, r, s, a: scatter(v, r, s, a, rounding=np.floor), "round to the nearest"),
        (lambda v, r, s, a: scatter(v, r, s, a, rounding=np.trunc), "round to the nearest"),
        (one_too_far, "off by one"),
        (lambda v, r, s, a: scatter(v, r, s, a).transpose(2, 1, 0), "images here are (z, y, x)"),
        (lambda v, r, s, a: scatter(v, r, s, a) > 0, "the levels are gone"),
        (lambda v, r, s, a: scatter(v, r, s, a)[1:], "shape"),
    ],
)
def test_mistakes_of_alignment_are_named(mutant, words):
    _rejected(checks.align_mask(mutant), words)


def test_alignment_is_tried_where_it_can_fail():
    cases = masks._align_cases()
    codes = {masks._codes(case[1]) for case in cases}
    assert "LAS" in codes and len(codes) >= 10
    assert any(c[0].size < np.prod(c[2]) for c in cases), "a mask that is smaller than the image"
    assert all(len(set(c[2])) == 3 for c in cases), "no two axes are of one length"


# --- level_box


def by_points(plane, value):
    y, x = np.nonzero(plane == value)
    if not len(y):
        return None
    return x.min(), y.min(), x.max() + 1, y.max() + 1


def by_objects(plane, value):
    found = ndimage.find_objects((plane == value).astype(int))
    if not found:
        return None
    rows, columns = found[0]
    return [columns.start, rows.start, columns.stop, rows.stop]


def changed(fn):
    """A mutant that changes a right box."""

    def mutant(plane, value):
        box = by_points(plane, value)
        return None if box is None else fn(*box)

    return mutant


def not_asked_whether_absent(plane, value):
    y, x = np.nonzero(plane == value)
    return x.min(), y.min(), x.max() + 1, y.max() + 1


def around(inside):
    """A mutant that draws the box around other pixels."""

    def mutant(plane, value):
        return by_points(inside(plane, value).astype(int), 1)

    return mutant


@pytest.mark.parametrize("right", [by_points, by_objects])
def test_a_right_box_passes(right):
    verdict = checks.level_box(right)
    assert verdict, verdict


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (changed(lambda x0, y0, x1, y1: (x0, y0, x1 - 1, y1 - 1)), "half open"),
        (changed(lambda x0, y0, x1, y1: (y0, x0, y1, x1)), "swapped"),
        (changed(lambda x0, y0, x1, y1: (y0, x0, y1 - 1, x1 - 1)), "swapped, and"),
        (changed(lambda x0, y0, x1, y1: (x0, x1, y0, y1)), "x0, x1, y0, y1"),
        (changed(lambda x0, y0, x1, y1: (x0, y0, x1 - x0, y1 - y0)), "width, height"),
        (changed(lambda x0, y0, x1, y1: (x0, y0)), "four numbers"),
        (around(lambda m, v: m > 0), "all bone"),
        (around(lambda m, v: (m > 0) & (m <= 7)), "all cervical"),
        (around(lambda m, v: m >= v), "larger values"),
        (lambda m, v: (0, 0, m.shape[1], m.shape[0]), "whole image"),
        (
            lambda m, v: by_points(m, v) or (0, 0, m.shape[1], m.shape[0]),
            "has no box: return None",
        ),
        (lambda m, v: by_points(m, v) or (0, 0, 0, 0), "has no box: return None"),
        (lambda m, v: None, "None where the level is there"),
        (not_asked_whether_absent, "ValueError"),
    ],
)
def test_mistakes_of_the_box_are_named(mutant, words):
    _rejected(checks.level_box(mutant), words)


# --- spread_frames


def exact(n, k):
    return np.round(np.linspace(0, n - 1, k)).astype(int) if k > 1 else np.array([(n - 1) // 2])


def in_a_list(n, k):
    if k == 1:
        return [n // 2]
    return [int(i * (n - 1) / (k - 1) + 0.5) for i in range(k)]


@pytest.mark.parametrize("right", [exact, in_a_list, evenly_spaced])
def test_right_frames_pass(right):
    verdict = checks.spread_frames(right)
    assert verdict, verdict


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (lambda n, k: np.arange(k) * n // k, "last slice is never shown"),
        (lambda n, k: np.linspace(0, n, k, endpoint=False).round().astype(int), "never shown"),
        (lambda n, k: np.linspace(0, n, k).round().astype(int), "one beyond the end"),
        (lambda n, k: np.linspace(1, n, k).round().astype(int), "count from 1"),
        (lambda n, k: np.linspace(0, n - 1, k).astype(int), "cut off"),
        (lambda n, k: np.linspace(0, n - 1, k).round(), "whole number"),
        (lambda n, k: np.linspace(0, n - 1, k), "whole number"),
        (lambda n, k: np.unique(exact(n, k)), "always k"),
        (lambda n, k: np.arange(0, n, max(n // k, 1))[:k], "does not reach the end"),
        (lambda n, k: np.arange(k), "first k slices"),
        (lambda n, k: exact(n, k)[::-1], "turned round"),
        (lambda n, k: np.sort(np.random.default_rng(0).choice(n, k, False)), "it should be"),
        (lambda n, k: [i * (n - 1) / (k - 1) for i in range(k)], "whole number"),
        (lambda n, k: list(range(0, n, n // k)), "always k"),
        (lambda n, k: in_a_list(n, k) if n > k else list(range(n)), "always k"),
        (lambda n, k: [round(i * (n - 1) / (k - 1)) for i in range(k)], "ZeroDivisionError"),
        (lambda n, k: np.full(k, np.nan), "it should be"),
    ],
)
def test_mistakes_of_the_frames_are_named(mutant, words):
    _rejected(checks.spread_frames(mutant), words)


# --- largest_piece


def by_label(mask, *, structure=None, take=np.argmax, last=99):
    out = np.zeros_like(mask)
    for value in np.unique(mask):
        if value == 0 or value > last:
            continue
        numbered, _ = ndimage.label(mask == value, structure)
        sizes = np.bincount(numbered.ravel())[1:]
        out[numbered == 1 + take(sizes)] = value
    return out


def corners_too(mask):
    return by_label(mask, structure=np.ones((3, 3, 3)))


def all_together(mask):
    numbered, count = ndimage.label(mask > 0)
    if not count:
        return mask
    return np.where(numbered == 1 + np.argmax(np.bincount(numbered.ravel())[1:]), mask, 0)


def slice_by_slice(mask):
    return np.stack([by_label(plane) for plane in mask])


def background_counts(mask):
    out = np.zeros_like(mask)
    for value in np.unique(mask[mask > 0]):
        numbered, _ = ndimage.label(mask == value)
        best = np.argmax(np.bincount(numbered.ravel()))
        out[(numbered == best) & (numbered > 0)] = value
    return out


def one_less(mask):
    out = np.zeros_like(mask)
    for value in np.unique(mask[mask > 0]):
        numbered, _ = ndimage.label(mask == value)
        out[numbered == np.argmax(np.bincount(numbered.ravel())[1:])] = value
    return out


def one_level_only(mask):
    clean = by_label(mask)
    counts = np.bincount(clean.ravel(), minlength=2)
    return np.where(clean == 1 + np.argmax(counts[1:]), clean, 0)


def above_ten_voxels(mask):
    out = mask.copy()
    for value in np.unique(mask[mask > 0]):
        numbered, _ = ndimage.label(mask == value)
        out[(np.bincount(numbered.ravel()) < 10)[numbered]] = 0
    return out


@pytest.mark.parametrize("right", [by_label, corners_too])
def test_the_largest_pieces_pass(right):
    verdict = checks.largest_piece(right)
    assert verdict, verdict


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (lambda m: m.copy(), "nothing has been removed"),
        (all_together, "all bone together"),
        (slice_by_slice, "slice by slice"),
        (lambda m: by_label(m) > 0, "the levels are gone"),
        (lambda m: by_label(m, take=np.argmin), "smallest piece"),
        (lambda m: by_label(m, last=7), "thoracic levels (8 and on) are gone"),
        (lambda m: np.where(m > 7, m, by_label(m)), "still have their strays"),
        (one_level_only, "only one level is left"),
        (background_counts, "that of the background"),
        (one_less, "belong to no largest piece"),
        (above_ten_voxels, "belong to no largest piece"),
        (lambda m: np.where(by_label(m) > 0, 0, m), "turn the condition round"),
        (lambda m: by_label(m)[:-1], "shape"),
        (lambda m: ndimage.binary_opening(m > 0) * m, "are gone that do"),
    ],
)
def test_mistakes_of_cleaning_are_named(mutant, words):
    _rejected(checks.largest_piece(mutant), words)


def test_the_flood_finds_the_same_pieces_as_scipy():
    for mask in mask_pieces._piece_cases():
        assert np.array_equal(mask_pieces._largest(mask), by_label(mask))
        if (mask <= 7).all():
            assert np.array_equal(cleaned(mask), by_label(mask))


# --- all of them


def _rejected(verdict, words):
    assert not verdict
    assert words in verdict.message, verdict
    assert repr(verdict).startswith("Not yet: ")


def _raises(*args):
    raise RuntimeError("on purpose")


def _spoils(*args):
    for given in args:
        if isinstance(given, np.ndarray):
            given[...] = 0
    return args[0]


NONSENSE = [
    None,
    "text",
    _raises,
    lambda: 1,
    lambda *args: "text",
    lambda *args: float("nan"),
    lambda *args: np.full((2, 2), np.nan),
    lambda *args: [[1, 2], [3]],
    lambda *args: {},
    lambda *args: np.zeros((0, 3)),
    _spoils,
]


@pytest.mark.parametrize("grader", GRADERS)
@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_refused_in_words(grader, nonsense):
    verdict = grader(nonsense)
    assert not verdict and verdict.message


@pytest.mark.parametrize("grader", GRADERS)
def test_an_unsolved_exercise_is_no_error(grader):
    def unsolved(*args):
        raise NotImplementedError

    assert "nothing to check" in grader(unsolved).message


def test_a_box_that_spoils_the_mask_is_told():
    def spoils(plane, value):
        box = by_points(plane, value)
        plane[:] = 0
        return box

    assert "changes the array" in checks.level_box(spoils).message


def test_the_graders_boxes_and_cases_do_not_lean_on_the_library():
    for module in (masks, mask_labels, mask_pieces):
        text = inspect.getsource(module)
        assert "cspine_lib.labels" not in text and "cspine_lib.masks" not in text
