"""Competition loss, rules, ranking, calibration, intervals: against the facts and other tools."""

import math
import time

import numpy as np
import pytest
from sklearn import metrics as sk

from cspine_lib import facts, metrics
from cspine_lib.anatomy import TARGETS
from cspine_lib.errors import CspineError

Y = metrics.pattern_labels()


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return Y, 1 / (1 + np.exp(-(rng.normal(size=Y.shape) + 2.0 * Y - 2.0)))


# --- loss -----------------------------------------------------------------------------------


def test_pattern_labels_have_the_published_frequencies() -> None:
    labels = facts.facts("labels")
    assert Y.shape == (2019, 8)
    assert Y[:, 0].sum() == labels["patient_overall_positive"]
    assert (
        dict(zip(TARGETS[1:], Y[:, 1:].sum(axis=0).tolist(), strict=True))
        == (labels["level_positive"])
    )


@pytest.mark.parametrize(
    ("constant", "per_exam", "overall"),
    [
        (lambda n: np.full(8, 0.5), 0.6931, 0.6931),
        (lambda n: Y.mean(axis=0), 0.5638, 0.6127),
        (lambda n: metrics.best_constants(Y, n), 0.5573, 0.5668),
    ],
)
def test_published_losses_of_constants(constant, per_exam, overall) -> None:
    """0.5 everywhere, the train means, and the best constants of each normalisation."""
    losses = [metrics.weighted_log_loss(Y, constant(n), n) for n in ("per_exam", "global")]
    assert [round(loss, 4) for loss in losses] == [per_exam, overall]


def test_loss_by_hand() -> None:
    y = np.zeros((2, 8))
    y[1, [0, 3]] = 1
    p = np.full((2, 8), 0.2)
    whole, broken = -math.log(0.8), -math.log(0.2)
    first, second = 14 * whole, 14 * broken + 2 * broken + 6 * whole
    assert metrics.per_exam_loss(y, p) == pytest.approx([first / 14, second / 22])
    assert metrics.weighted_log_loss(y, p) == pytest.approx((first / 14 + second / 22) / 2)
    assert metrics.weighted_log_loss(y, p, "global") == pytest.approx((first + second) / 36)


@pytest.mark.parametrize("normalisation", metrics.NORMALISATIONS)
def test_best_constants_are_a_minimum(normalisation) -> None:
    best = metrics.best_constants(Y, normalisation)
    least = metrics.weighted_log_loss(Y, best, normalisation)
    for j in range(8):
        for step in (-0.01, 0.01):
            moved = best.copy()
            moved[j] += step
            assert metrics.weighted_log_loss(Y, moved, normalisation) > least


@pytest.mark.parametrize("normalisation", metrics.NORMALISATIONS)
def test_loss_by_target_sums_to_the_loss(scored, normalisation) -> None:
    y, p = scored
    parts = metrics.loss_by_target(y, p, normalisation)
    assert parts.sum() == pytest.approx(metrics.weighted_log_loss(y, p, normalisation))
    # patient_overall alone carries about half of the weight.
    assert 0.4 < metrics.loss_by_target(y, np.full(8, 0.5), normalisation)[0] / math.log(2) < 0.7


def test_row_weights_make_the_loss_a_plain_weighted_sum(scored) -> None:
    y, p = scored
    for normalisation in metrics.NORMALISATIONS:
        v = metrics.row_weights(y, normalisation)
        assert v.sum() == pytest.approx(1)
        assert (v * metrics.log_loss_terms(y, p)).sum() == pytest.approx(
            metrics.weighted_log_loss(y, p, normalisation)
        )
    with pytest.raises(CspineError, match="normalisation"):
        metrics.row_weights(y, "mean")  # type: ignore[arg-type]


def test_level_losses_stand_on_one_scale(scored) -> None:
    assert metrics.level_losses(Y, np.full(8, 0.5)) == pytest.approx([math.log(2)] * 8)
    y, p = scored
    w = np.where(y[:, 2] == 1, 2.0, 1.0)
    expected = sk.log_loss(y[:, 2], p[:, 2], sample_weight=w)
    assert metrics.level_losses(y, p)[2] == pytest.approx(expected)


def test_clipping_bounds_a_sure_mistake() -> None:
    y, p = np.zeros((1, 8)), np.zeros((1, 8))
    p[0, 0] = 1.0
    assert metrics.weighted_log_loss(y, p, clip=1e-6) == pytest.approx(0.5 * 13.8155, rel=1e-4)
    assert metrics.weighted_log_loss(y, p, clip=1e-15) == pytest.approx(0.5 * 34.54, rel=1e-3)


@pytest.mark.parametrize(
    ("y", "p", "says"),
    [
        (np.zeros((3, 7)), np.zeros((3, 7)), "labels must be"),
        (np.full((3, 8), 0.5), np.zeros((3, 8)), "0 or 1"),
        (np.zeros((3, 8)), np.zeros((2, 8)), "do not fit"),
        (np.zeros((3, 8)), np.full((3, 8), 1.1), r"\[0, 1\]"),
        (np.zeros((3, 8)), np.full((3, 8), np.nan), "NaN"),
    ],
)
def test_wrong_input_is_refused(y, p, says) -> None:
    with pytest.raises(CspineError, match=says):
        metrics.weighted_log_loss(y, p)


def test_unknown_normalisation_is_refused() -> None:
    for call in (metrics.weighted_log_loss, metrics.loss_ci):
        with pytest.raises(CspineError, match="normalisation"):
            call(Y, np.full(8, 0.5), "mean")  # type: ignore[operator]


# --- the shift for submission ---------------------------------------------------------------


def test_shift_of_the_train_means() -> None:
    means = np.tile(Y.mean(axis=0), (len(Y), 1))
    shifted = metrics.submission_shift(means, "global")
    assert metrics.weighted_log_loss(Y, shifted, "global") == pytest.approx(0.5668, abs=5e-5)
    # The shift of the global normalisation hurts under the per-exam one …
    assert metrics.weighted_log_loss(Y, shifted) == pytest.approx(0.5757, abs=5e-5)
    # … and the one made for it comes within 0.0001 of the best constants.
    own = metrics.submission_shift(means, "per_exam")
    assert metrics.weighted_log_loss(Y, own) == pytest.approx(0.5573, abs=1e-4)


def test_shift_lowers_the_expected_loss_of_calibrated_predictions() -> None:
    """Against the exact optimum over all 128 patterns of independent levels."""
    patterns = ((np.arange(128)[:, None] >> np.arange(7)) & 1).astype(float)
    y = np.column_stack([patterns.max(axis=1), patterns])
    rng = np.random.default_rng(1)
    for normalisation in metrics.NORMALISATIONS:
        for _ in range(20):
            p7 = rng.beta(0.3, 2.0, size=7)
            chance = np.prod(np.where(patterns == 1, p7, 1 - p7), axis=1)
            q = np.concatenate([[metrics.overall_noisy_or(p7)], p7])
            w = metrics.weights(y)
            v = w / w.sum(axis=1, keepdims=True) if normalisation == "per_exam" else w
            v = v * chance[:, None]

            def expected(p, v=v):
                return (v * metrics.log_loss_terms(y, p)).sum()

            best = (v * y).sum(axis=0) / v.sum(axis=0)
            shifted = metrics.submission_shift(q[None], normalisation)[0]
            assert expected(best) <= expected(shifted) + 1e-12
            assert expected(shifted) <= expected(q) + 1e-12
            assert np.abs(shifted - best).max() < 0.03


# --- patient overall ------------------------------------------------------------------------


def test_overall_rules() -> None:
    p = np.array([[0.1, 0.5, 0.0, 0.2, 0.0, 0.0, 0.0], [0.0] * 7])
    assert metrics.overall_noisy_or(p) == pytest.approx([1 - 0.9 * 0.5 * 0.8, 0.0])
    assert metrics.overall_noisy_or(p, top_n=2) == pytest.approx([1 - 0.5 * 0.8, 0.0])
    assert metrics.overall_noisy_or(p, top_n=1) == pytest.approx(metrics.overall_max(p))
    steps = [metrics.overall_noisy_or(p, top_n=n)[0] for n in range(1, 8)]
    assert steps == sorted(steps)
    with pytest.raises(CspineError, match="top_n"):
        metrics.overall_noisy_or(p, top_n=8)


# --- ranking --------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
def test_ranking_agrees_with_scikit_learn(ties) -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        y = rng.permutation([0, 1, *rng.integers(0, 2, 40).tolist()])
        s = rng.normal(size=42) + y
        s = np.round(s) if ties else s
        assert metrics.auroc(y, s) == pytest.approx(sk.roc_auc_score(y, s))
        assert metrics.average_precision(y, s) == pytest.approx(sk.average_precision_score(y, s))
        false_rate, sensitivity, _ = sk.roc_curve(y, s, drop_intermediate=False)
        expected = sensitivity[1 - false_rate >= 0.9 - 1e-12].max()
        assert metrics.sensitivity_at_specificity(y, s) == pytest.approx(expected)
        expected = (1 - false_rate)[sensitivity >= 0.9 - 1e-12].max()
        assert metrics.specificity_at_sensitivity(y, s) == pytest.approx(expected)


def test_one_class_has_no_ranking() -> None:
    for call in (metrics.auroc, metrics.average_precision, metrics.sensitivity_at_specificity):
        assert math.isnan(call(np.zeros(4), np.arange(4)))
    with pytest.raises(CspineError, match="NaN"):
        metrics.auroc([0, 1], [0.1, float("nan")])


def test_macro_auroc_leaves_out_levels_without_both_classes() -> None:
    y = np.array([[0, 0], [1, 0], [0, 0]])
    p = np.array([[0.1, 0.3], [0.2, 0.4], [0.9, 0.1]])
    assert metrics.macro_auroc(y, p) == metrics.auroc(y[:, 0], p[:, 0]) == 0.5
    assert math.isnan(metrics.macro_auroc(y[:, 1:], p[:, 1:]))


# --- intervals ------------------------------------------------------------------------------


def test_fast_intervals_equal_the_plain_bootstrap(scored) -> None:
    y, p = scored[0][::7], scored[1][::7]
    other = np.full(8, 0.3)
    for normalisation in metrics.NORMALISATIONS:
        fast = metrics.loss_ci(y, p, normalisation, n=200, seed=3)
        slow = metrics.bootstrap_ci(
            lambda a, b, k=normalisation: metrics.weighted_log_loss(a, b, k), y, p, n=200, seed=3
        )
        assert fast == pytest.approx(slow)
        fast = metrics.loss_ci(y, p, normalisation, minus=other, n=200, seed=3)
        slow = metrics.bootstrap_ci(
            lambda a, b, k=normalisation: (
                metrics.weighted_log_loss(a, b, k) - metrics.weighted_log_loss(a, other, k)
            ),
            y,
            p,
            n=200,
            seed=3,
        )
        assert fast == pytest.approx(slow)
    fast = metrics.auroc_ci(y[:, 7], p[:, 7], n=200, seed=3)
    assert fast == pytest.approx(
        metrics.bootstrap_ci(metrics.auroc, y[:, 7], p[:, 7], n=200, seed=3)
    )
    fast = metrics.macro_auroc_ci(y[:, 1:], p[:, 1:], n=200, seed=3)
    slow = metrics.bootstrap_ci(metrics.macro_auroc, y[:, 1:], p[:, 1:], n=200, seed=3)
    assert fast == pytest.approx(slow)


def test_interval_covers_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        sample = rng.exponential(size=120)
        interval = metrics.bootstrap_ci(np.mean, sample, n=300, seed=trial)
        covered += interval.low <= 1.0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.985


def test_pairing_narrows_a_difference(scored) -> None:
    y, p = scored
    close = np.clip(p + 0.01, 0, 1)
    paired = metrics.loss_ci(y, p, minus=close, seed=1)
    one, two = metrics.loss_ci(y, p, seed=1), metrics.loss_ci(y, close, seed=1)
    assert paired.value == pytest.approx(one.value - two.value)
    assert paired.high - paired.low < 0.5 * (one.high - one.low)
    ranked = metrics.auroc_ci(y[:, 0], p[:, 0], minus=p[:, 0])
    assert ranked == (0, 0, 0)
    assert not ranked.excludes_zero


def test_interval_is_repeatable_and_prints(scored) -> None:
    y, p = scored
    first, again = metrics.loss_ci(y, p, seed=4), metrics.loss_ci(y, p, seed=4)
    assert first == again != metrics.loss_ci(y, p, seed=5)
    assert str(metrics.Interval(0.1, -0.05, 0.25)) == "0.100 [-0.050, 0.250]"
    assert str(metrics.Interval(-1e-9, -0.05, -0.0)) == "0.000 [-0.050, 0.000]"


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(CspineError, match="length"):
        metrics.bootstrap_ci(lambda a, b: 0.0, np.zeros(3), np.zeros(4))


def test_two_thousand_resamples_of_2019_studies_are_quick(scored) -> None:
    y, p = scored
    start = time.process_time()
    metrics.loss_ci(y, p, n=2000)
    metrics.macro_auroc_ci(y[:, 1:], p[:, 1:], n=2000)
    assert time.process_time() - start < 4  # about 1 s on one idle core


# --- calibration ----------------------------------------------------------------------------


def test_brier_and_reliability() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=20_000)
    y = (rng.uniform(size=p.size) < p).astype(int)
    assert metrics.brier(y, p) == pytest.approx(sk.brier_score_loss(y, p))
    table = metrics.reliability_table(y, p)
    assert table["n"].sum() == p.size
    assert table["n"].tolist() == [2000] * 10
    assert ((table["low"] <= table["predicted"]) & (table["predicted"] <= table["high"])).sum() >= 8
    assert metrics.expected_calibration_error(y, p) < 0.02
    assert metrics.expected_calibration_error(y, p**3) > 0.15


def test_reliability_keeps_equal_predictions_together() -> None:
    table = metrics.reliability_table([0, 1, 0, 1, 1, 1], [0.2, 0.2, 0.2, 0.2, 0.7, 0.7], bins=3)
    assert table["n"].tolist() == [4, 2]
    assert table["observed"].tolist() == [0.5, 1.0]


def test_platt_finds_the_distortion() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(size=20_000) * 2
    y = (rng.uniform(size=true.size) < 1 / (1 + np.exp(-true))).astype(int)
    distorted = (true - 0.8) / 0.5  # so that true = 0.5·distorted + 0.8
    scale, bias = metrics.fit_platt(distorted, y)
    assert (scale, bias) == pytest.approx((0.5, 0.8), abs=0.03)
    p = 1 / (1 + np.exp(-distorted))
    mended = metrics.apply_platt(p, scale, bias)
    assert metrics.expected_calibration_error(y, mended) < 0.02
    assert metrics.fit_temperature(true * 3, y) == pytest.approx(3.0, abs=0.15)


def test_platt_stays_finite_where_the_plain_fit_does_not() -> None:
    z = np.array([-2.0, -1.0, 1.0, 2.0])
    scale, bias = metrics.fit_platt(z, z > 0)
    assert 1 < scale < 10
    assert abs(bias) < 1e-3
    scale, bias = metrics.fit_platt(z, np.zeros(4))  # no positive at all
    assert np.isfinite([scale, bias]).all()
    assert bias < 0
    scale, _ = metrics.fit_platt(z, z < 0)  # upside down: order is kept all the same
    assert scale > 0


def test_platt_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(4)
    z = rng.normal(size=3000)
    y = (rng.uniform(size=3000) < 1 / (1 + np.exp(-(1.7 * z - 1)))).astype(int)
    reference = LogisticRegression(C=np.inf).fit(z[:, None], y)
    scale, bias = metrics.fit_platt(z, y, strength=0.0)
    assert scale == pytest.approx(reference.coef_[0, 0], rel=1e-3)
    assert bias == pytest.approx(reference.intercept_[0], rel=1e-3)
