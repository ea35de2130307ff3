"""Slices in three windows, and a net over the study that knows one label."""

import numpy as np
import pytest
import torch
from fake_studies import FakeDataset

from cspine_lib.anatomy import WINDOWS
from cspine_lib.cache import build_cache
from cspine_lib.config import get_profile
from cspine_lib.neck_windows import (
    CHANNELS,
    NeckSequences,
    WindowStacks,
    build_neck_net,
    neck_logit,
    window_stack,
)
from cspine_lib.volume import Volume, window

CI = get_profile("ci")


def test_the_windows_are_those_that_are_quoted():
    assert [WINDOWS[name] for name in CHANNELS] == [(300, 80), (650, 400), (1800, 500)]


def test_a_stack_is_evenly_spaced_slices_through_each_window():
    rng = np.random.default_rng(0)
    hu = rng.integers(-900, 1500, (11, 16, 16)).astype(np.int16)
    volume = Volume(hu, np.diag([2.0, 1, 1, 1]))
    stack = window_stack(volume, 6, 16)
    for i, z in enumerate((0, 2, 4, 6, 8, 10)):
        for c, name in enumerate(CHANNELS):
            assert np.array_equal(stack[i, c], window(hu[z], name))


def test_a_slice_that_is_not_square_is_filled_up_with_air():
    volume = Volume(np.full((3, 8, 16), 2000, dtype=np.int16), np.diag([2.0, 1, 1, 1]))
    stack = window_stack(volume, 2, 16)
    assert (stack[:, :, :8] == 255).all() and (stack[:, :, 8:] == 0).all()


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    data = FakeDataset()
    cache = build_cache(data, tmp_path_factory.mktemp("c"), data.ids, low_px=16)
    stacks = WindowStacks(cache, data, tmp_path_factory.mktemp("w"), CI)
    stacks.build(["s0", "s1"])
    return stacks, cache


def test_stacks_are_made_once(stacks):
    made, cache = stacks
    before = {p.name: p.stat().st_mtime_ns for p in made.folder.glob("*.npy")}
    assert set(before) == {"s0.npy", "s1.npy"}
    made.build(["s0", "s1", "s2"])
    after = {p.name: p.stat().st_mtime_ns for p in made.folder.glob("*.npy")}
    assert {name: after[name] for name in before} == before and "s2.npy" in after
    wanted = window_stack(cache.volume("s1"), CI.neck_frames, CI.neck_px)
    assert np.array_equal(made["s1"], wanted)


def test_without_cached_volumes_files_are_decoded_again(stacks, tmp_path):
    made, _ = stacks
    data = FakeDataset()
    low = build_cache(data, tmp_path / "low", data.ids, mode="low", low_px=16)
    again = WindowStacks(low, data, tmp_path, CI)
    again.build(["s0"])
    assert np.array_equal(again["s0"], made["s0"])


def test_an_item_has_one_label_for_the_whole_study(stacks):
    items = NeckSequences(stacks[0], ["s1", "s0"], {"s0": 0, "s1": 1})
    (frames,), label = items[0]
    assert frames.shape == (CI.neck_frames, 3, CI.neck_px, CI.neck_px)
    assert label.shape == () and label == 1 and items[1][1] == 0


def test_the_net_gives_a_logit_a_study_also_mirrored():
    torch.manual_seed(0)
    net = build_neck_net(CI, "random").eval()
    stack = np.random.default_rng(0).integers(0, 255, (4, 3, 32, 32), dtype=np.uint8)
    frames = torch.from_numpy(stack)[None] / 255.0
    with torch.inference_mode():
        a, b = net(frames), net(frames.flip(-1))
        assert net(torch.rand(3, 4, 3, 32, 32)).shape == (3,)
    assert neck_logit(net, stack) == pytest.approx(float((a + b) / 2), abs=1e-5)
    assert a != b
