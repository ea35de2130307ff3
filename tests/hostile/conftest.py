"""A run folder without any training, and a small data set, for the hostile tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from dicom_factory import random_hu, write_series

from cspine_lib.anatomy import LEVELS, TARGETS, TEST_COLUMNS, TRAIN_COLUMNS


def study_rows(studies: list[str]) -> str:
    """A ``test.csv`` for these studies."""
    rows = [f"{uid}_{target},{uid},{target}" for uid in studies for target in TARGETS]
    return "\n".join([",".join(TEST_COLUMNS), *rows]) + "\n"


@pytest.fixture
def small_set(tmp_path: Path) -> Path:
    """A data folder with two training and two test studies of five slices."""
    root = tmp_path / "data"
    for i, uid in enumerate(("9.1", "9.2")):
        write_series(root / "test_images" / uid, random_hu((5, 24, 20), seed=i))
        write_series(root / "train_images" / f"1.{i}", random_hu((5, 24, 20), seed=8 + i))
    (root / "test.csv").write_text(study_rows(["9.1", "9.2"]))
    rows = "1.0,1,0,0,1,0,0,0,0\n1.1,0,0,0,0,0,0,0,0\n"
    (root / "train.csv").write_text(",".join(TRAIN_COLUMNS) + "\n" + rows)
    return root


@pytest.fixture(scope="session")
def bare_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run as ``cspine train`` leaves it, with random weights."""
    import json

    from cspine_lib.checkpoint import MODEL_FILE, save_weights
    from cspine_lib.config import get_profile
    from cspine_lib.recipes import get_recipe
    from cspine_lib.runs import RunRecord
    from cspine_lib.stage1 import build_localiser
    from cspine_lib.stage2 import build_classifier
    from cspine_lib.two_stage import MODEL, RECORD, model_facts

    folder = tmp_path_factory.mktemp("bare_run")
    profile, recipe = get_profile("ci"), get_recipe("crop_bilstm")
    parts = [folder / f"localiser-{i}" for i in range(recipe.localiser.parts)]
    for part in parts:
        save_weights(build_localiser(profile, "random").state_dict(), part / MODEL_FILE)
    last = folder / "classifier"
    net = build_classifier(profile, recipe.sequence, "random")
    save_weights(net.state_dict(), last / MODEL_FILE)
    sums = {
        f.name: hashlib.sha256((f / MODEL_FILE).read_bytes()).hexdigest() for f in [*parts, last]
    }
    facts = model_facts(
        profile,
        [Path(p.name) for p in parts],
        sums,
        {"scale": 1.0, "bias": 0.0},
        dict.fromkeys(LEVELS, 0.1),
    )
    (folder / MODEL).write_text(json.dumps(facts))
    RunRecord("crop_bilstm", "ci", 1, "phantom v1, seed 1", "f", "random", "cpu").write(
        folder / RECORD
    )
    return folder
