"""The winners from the inside: strays, changed crops, order within necks, figures."""

from copy import copy
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from fake_studies import FakeDataset

from cspine_lib import winners_lab as lab
from cspine_lib.comparison import group_of
from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.label_maps import LabelMap
from cspine_lib.recipe_parts import VertebraRecipe
from cspine_lib.vertebra_crops import build_vertebrae
from cspine_lib.vertebra_fit import build_vertebra_net, vertebra_logits, view_of
from cspine_lib.winners_lab.looks import CHANGES

mpl.use("Agg")
CI = get_profile("ci")
DATA = FakeDataset()
RECIPE = VertebraRecipe(channels=3, hidden=16)
VIEW = view_of(RECIPE, CI)


def _mask(uid="s0"):
    mask = DATA.draw(uid)[1]
    return np.where(mask <= 7, mask, 0).astype(np.uint8)


class Known:
    """A U-Net that knows the mask, and adds a stray of C1 at the bottom."""

    def __init__(self, stray=True):
        self.stray = stray

    def raw(self, volume):
        found = LabelMap(_mask(), (1.0, 1.0, 1.0), 42)
        return lab.planted(found, "C1", "C7") if self.stray else found


@pytest.fixture(scope="module")
def volume():
    return DATA.read_study("s0").volume


@pytest.fixture(scope="module")
def laid(volume):
    return lab.lay(Known(), volume, _mask())


def test_the_truth_lies_on_the_networks_grid():
    mask = _mask()
    native = LabelMap(mask, (1.0, 1.0, 1.0), 42)
    assert np.array_equal(lab.truth_on(native, mask), mask)
    coarse = LabelMap(np.zeros((21, 32, 32), np.uint8), (2.0, 2.0, 2.0), 42)
    assert np.array_equal(lab.truth_on(coarse, mask), mask[1::2, 1::2, 1::2])
    longer = LabelMap(np.zeros((11, 64, 64), np.uint8), (4.0, 1.0, 1.0), 42)  # 44 slices
    assert lab.truth_on(longer, mask).shape == (11, 64, 64)


def test_a_stray_moves_the_range_and_hardly_the_dice(laid):
    clean, raw = laid.dice(), laid.dice(clean=False)
    assert np.allclose(clean[:6], 1) and 0.98 < clean[6] < 1, "C7 has lost what the stray took"
    assert 0.98 < raw[0] < 1 and np.allclose(raw[1:], clean[1:])
    table = lab.worst_strays([laid, laid])
    first = table.iloc[0]
    assert (first["level"], first["pieces"]) == ("C1", 2)
    assert first["slices before"] > 30 > first["slices after"] == 5
    assert first["shorter by"] == first["slices before"] - 5 == table["shorter by"].max()
    assert 0 < first["gone"] < 0.05
    rest = table[~table["level"].isin(["C1", "C7"])]
    assert (rest["pieces"] == 1).all() and (rest["gone"] == 0).all()
    with pytest.raises(CspineError, match="was not found"):
        lab.planted(LabelMap(np.zeros((4, 4, 4), np.uint8), (1, 1, 1), 4), "C1", "C7")


def test_dice_before_and_after_in_a_table(laid, volume):
    table = lab.dice_table({"3D": [laid, lab.lay(Known(False), volume, _mask())]})
    before, after = laid.dice(False), laid.dice()
    assert table.loc["3D, cleaned", "all"] == pytest.approx((after.mean() + 1) / 2)
    assert table.loc["3D, as it is", "C1"] == pytest.approx((before[0] + 1) / 2)
    assert lab.gain_ci([laid]).value == pytest.approx((after - before).mean())
    with pytest.raises(CspineError, match="with a mask"):
        lab.lay(Known(), volume).dice()


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    torch.manual_seed(0)
    net = build_vertebra_net(RECIPE, CI, "random").eval()
    store = build_vertebrae(
        lambda uid: DATA.read_study(uid).volume,
        lambda volume: LabelMap(_mask(), (1.0, 1.0, 1.0), 42),
        ["s0"],
        tmp_path_factory.mktemp("crops"),
        VIEW,
        by="a",
    )
    return net, store


def test_changes_change_what_they_say(asked):
    _, store = asked
    crops = store.sequences("s0")
    plain = np.array(crops[3])
    seen = {kind: np.array(lab.changed(kind)(crops)[3]) for kind in CHANGES}
    assert not seen["no outline"][:, -1].any() and plain[:, -1].any()
    assert (seen["outline everywhere"][:, -1] == 255).all()
    for kind in ("no outline", "outline everywhere"):
        assert np.array_equal(seen[kind][:, :-1], plain[:, :-1])
    alike = seen["no neighbours"]
    assert (alike[:, :3] == plain[:, 1:2]).all() and np.array_equal(alike[:, 3], plain[:, 3])
    shuffled = seen["images shuffled"]
    assert {image.tobytes() for image in shuffled} == {image.tobytes() for image in plain}
    assert np.array_equal(crops[3], plain), "the stored crops stay"
    with pytest.raises(CspineError, match="known: no outline"):
        lab.changed("upside down")
    bare = lab.changed("no outline")
    with pytest.raises(CspineError, match="keep no outline"):
        bare(type(crops)(crops.planes[:1], crops.index, crops.levels))


def test_asking_is_what_the_library_says(asked):
    net, store = asked
    z = lab.ask(net, store, ["s0", "s0"])
    want = vertebra_logits(net, store.sequences("s0"), store.view)[0]
    assert np.allclose(z, [want, want])
    assert not np.allclose(lab.ask(net, store, ["s0"], lab.changed("no outline")), want)


def test_a_vertebra_is_seen_as_the_net_sees_it(asked):
    net, store = asked
    seen = lab.vertebra_of(net, store, "s0", 2, 42)
    assert seen.level == "C3" and seen.images.shape == (3, 4, VIEW.px, VIEW.px)
    assert seen.logits.shape == (3,) and seen.weights.sum() == pytest.approx(1)
    assert seen.z.tolist() == [14, 16, 18]
    cut = (VIEW.size - VIEW.px) // 2
    middle = np.array(store.sequences("s0")[2])[..., cut : cut + VIEW.px, cut : cut + VIEW.px]
    assert np.array_equal(seen.images, middle)
    whole = build_vertebra_net(VertebraRecipe(channels=3, hidden=16, scope="study"), CI, "random")
    with pytest.raises(CspineError, match="all levels of a study"):
        lab.vertebra_of(whole, store, "s0", 2, 42)
    side = copy(store)
    side.view = replace(store.view, plane="sagittal")
    with pytest.raises(CspineError, match="images from above"):
        lab.vertebra_of(net, side, "s0", 2, 42)


def test_order_within_necks_by_hand():
    y = np.array([[1, 0, 0, 0, 0, 0, 0], [0] * 7, [1] * 7, [1, 1, 0, 0, 0, 0, 0]])
    p = np.tile(np.linspace(0.7, 0.1, 7), (4, 1))
    p[3] = 0.5
    assert lab.pairs_within(y, p).tolist() == [[6, 6], [0, 0], [0, 0], [5, 10]]
    assert lab.order_ci(y, p).value == pytest.approx(11 / 16)


def test_only_some_methods_of_a_group():
    rng = np.random.default_rng(0)
    y = np.column_stack([np.ones(12, int), (rng.uniform(size=(12, 7)) < 0.3).astype(int)])
    p = {m: rng.uniform(0.1, 0.9, y.shape) for m in ("first_place", "crop_bilstm", "cnn3d")}
    ids = [f"s{i}" for i in range(12)]
    group = group_of(p, y, ids, profile="ci", data="fake")
    some = lab.only(group, ("first_place", "cnn3d"))
    assert set(some.methods) == set(some.p) == {"first_place", "cnn3d"}
    assert len(some.pairs()) == 1 and some.difference("cnn3d", "first_place") == group.difference(
        "cnn3d", "first_place"
    )
    wanted = ("first_place", "second_place")
    assert lab.missing_methods(group, wanted) == ["second_place"]


def test_figures_are_drawn(laid, asked, volume):
    import matplotlib.pyplot as plt

    net, store = asked
    seen = lab.vertebra_of(net, store, "s0", 2, 42)
    figures = [
        lab.maps_figure(laid, "a study"),
        lab.dice_figure(lab.dice_table({"3D": [laid], "2.5D": [laid]})),
        lab.sequence_figure(seen, [16]),
        lab.ladder_figure({"a": seen}, volume, [16]),
        lab.span_figure(volume, {"raw": laid.raw, "clean": laid.clean}, "C1"),
        lab.ranks_figure({"coin": lab.order_ci(np.eye(7), np.full((7, 7), 0.5))}, 0.6),
    ]
    for figure in figures:
        figure.canvas.draw()
        assert figure.axes
    assert len(figures[2].axes) == 12
    titles = [axes.get_title() for axes in figures[2].axes[:3]]
    assert titles == ["14", "16", "18"]
    plt.close("all")
