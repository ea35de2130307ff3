"""What slices truly show: drawn again it is what the masks say."""

import numpy as np
import pytest

from cspine_lib.config import get_profile
from cspine_lib.errors import CspineError
from cspine_lib.rsna import open_dataset
from cspine_lib.slice_truth import drawn_visibility, true_visibility


@pytest.fixture(scope="module")
def data(ci_phantom, tmp_path_factory):
    from cspine_lib.cache import cache_for

    dataset = open_dataset(ci_phantom)
    root = tmp_path_factory.mktemp("cache")
    profile = get_profile("ci")
    return dataset, cache_for(dataset, profile, dataset.train_ids, root=root, workers=1)


def test_a_study_drawn_again_shows_what_its_mask_says(data):
    dataset, cache = data
    for uid in cache.masked_ids[:2]:
        assert np.array_equal(drawn_visibility(dataset, uid), cache.visible_levels(uid))


def test_every_study_of_a_phantom_is_known_and_drawn_once(data, tmp_path):
    dataset, cache = data
    masked = cache.masked_ids[:1]
    others = [uid for uid in cache.ids if uid not in set(cache.masked_ids)][:2]
    known = true_visibility(dataset, cache, [*others, *masked], tmp_path)
    assert list(known) == [*others, *masked]
    assert all(known[uid].shape == (cache.shape_zyx(uid)[0], 7) for uid in known)
    assert sorted(p.stem for p in tmp_path.glob("*.npy")) == sorted(others)
    again = true_visibility(dataset, cache, others, tmp_path)
    assert all(np.array_equal(again[uid], known[uid]) for uid in others)
    np.save(tmp_path / f"{others[0]}.npy", np.zeros((3, 7), dtype=bool))
    with pytest.raises(CspineError, match="delete that folder"):
        true_visibility(dataset, cache, others, tmp_path)


def test_of_real_studies_only_masks_are_known(data, tmp_path, monkeypatch):
    dataset, cache = data
    monkeypatch.setattr(dataset, "is_phantom", False)
    known = true_visibility(dataset, cache, cache.ids, tmp_path)
    assert set(known) == set(cache.masked_ids)
