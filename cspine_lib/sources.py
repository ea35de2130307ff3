"""Which data set is meant: the one given, a mounted one, or a phantom made on first use."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from cspine_lib.anatomy import PHANTOM_JSON, STUDY_COLUMN, TEST_CSV, TRAIN_CSV
from cspine_lib.config import DEFAULT_SEED, PROFILES, Profile, data_home
from cspine_lib.config.platforms import competition_mounts, drive_mounts
from cspine_lib.errors import CspineError
from cspine_lib.jobs import usable_cores
from cspine_lib.ranks import main_first
from cspine_lib.rsna import RsnaDataset, open_dataset

RSNA_NAME = "rsna-2022-cervical-spine-fracture-detection"
"""Name of the competition, hence of the folder that Kaggle mounts."""

KAGGLE_MOUNTS = competition_mounts(RSNA_NAME)
"""Where Kaggle mounts the competition's data in a notebook, in older and newer sessions."""

SUBSET_MASKED, SUBSET_OTHER = 24, 36
"""Studies with and without a mask of which a small profile takes the mounted real set."""


def resolve_data(
    data: str | Path | None, profile: Profile, *, quiet: bool = False, phantom: bool = False
) -> Path:
    """The folder of the data set that is meant.

    In this order: ``data``; ``CSPINE_DATA``; a set that Kaggle or a Google Drive has mounted
    (for the profile ``rsna`` also one under ``data/``); the profile's phantom, made on first use.
    ``data`` and ``CSPINE_DATA`` may be ``"phantom"`` or ``"rsna"`` instead of a folder.

    Args:
        quiet: no line about what is written, no progress bar.
        phantom: the profile's phantom, whatever else is there.

    Raises:
        CspineError: no such folder, no data set in it, or a profile without a phantom
            where no real set is in place.
    """
    given = data or os.environ.get("CSPINE_DATA")
    if phantom or str(given) == "phantom":
        return _profile_phantom(profile, quiet)
    if given and str(given) != "rsna":
        return _folder(Path(given).expanduser())
    real = _real_set(everywhere=bool(given) or profile.phantom is None)
    if real is not None:
        return real
    if given:
        raise CspineError(f"the RSNA data set is in none of {_places()}: see data/README.md")
    return _profile_phantom(profile, quiet)


def data_in_place(data: str | Path | None, profile: Profile) -> Path | None:
    """As :func:`resolve_data`, but None where a phantom would have to be made first.

    Raises:
        CspineError: as there; not for a profile whose data are missing.
    """
    given = data or os.environ.get("CSPINE_DATA")
    if given and str(given) != "phantom":
        return resolve_data(data, profile)
    real = None if given else _real_set(everywhere=profile.phantom is None)
    if real is not None or profile.phantom is None:
        return real
    made = data_home() / f"phantom-{profile.name}"
    return made if (made / PHANTOM_JSON).exists() else None


def dataset_for(
    profile: Profile,
    data: str | Path | None = None,
    *,
    phantom: bool = False,
    quiet: bool = False,
) -> RsnaDataset:
    """The data set that is meant, opened; see :func:`resolve_data`.

    A set that Kaggle has mounted, and nobody named, is cut down to 60 studies (named by a
    line of output), until the profile ``rsna`` asks for all.
    """
    path = resolve_data(data, profile, quiet=quiet, phantom=phantom)
    dataset = open_dataset(path)
    named = data or os.environ.get("CSPINE_DATA") or phantom
    if named or profile.phantom is None or dataset.is_phantom:
        return dataset
    small = subset(dataset, small_sample(dataset))
    if not quiet:
        print(
            f"real data found in {path}: using {small.name}, {len(small.masked_ids)} of them "
            "with masks; profile rsna uses all"
        )
    return small


def small_sample(dataset: RsnaDataset) -> list[str]:
    """60 training studies, 24 with masks, the same ones on every machine."""
    masked = set(dataset.masked_ids)
    # The order of a hash has nothing to do with labels, order or size of a study.
    order = sorted(dataset.train_ids, key=lambda uid: hashlib.sha256(uid.encode()).digest())
    chosen = [uid for uid in order if uid in masked][:SUBSET_MASKED]
    chosen += [uid for uid in order if uid not in masked][:SUBSET_OTHER]
    return [uid for uid in dataset.train_ids if uid in set(chosen)]


def subset(dataset: RsnaDataset, ids: Sequence[str]) -> RsnaDataset:
    """The same data set with some of its training studies; its name says so."""
    keep = set(ids)
    missing = keep - set(dataset.train_ids)
    if missing:
        raise CspineError(f"study {min(missing)} is not in {dataset.root / TRAIN_CSV}")
    small = open_dataset(dataset.root)
    small.name = f"{dataset.name}, {len(keep)} of {len(dataset.train_ids)} studies"
    small.train = small.train[small.train[STUDY_COLUMN].isin(keep)].reset_index(drop=True)
    small.boxes = small.boxes[small.boxes[STUDY_COLUMN].isin(keep)].reset_index(drop=True)
    return small


def make_profile_phantom(
    profile: Profile,
    out: Path,
    *,
    train: int | None = None,
    test: int | None = None,
    masked: int | None = None,
    difficulty: float | None = None,
    seed: int = DEFAULT_SEED,
    workers: int | None = None,
    quiet: bool = False,
) -> Path:
    """Make a phantom of a profile's size, or other counts, in ``out``; see ``make_phantom``.

    Says in one line what is written and about how large it is.

    Raises:
        CspineError: the profile has no phantom, or ``out`` holds something else.
    """
    from cspine_lib.phantom.build import make_phantom
    from cspine_lib.phantom.plan import DEFAULT_DIFFICULTY

    size = profile.phantom
    if size is None:
        raise CspineError(f"profile {profile.name!r} has no phantom; {_phantom_profiles()} have")
    train = size.train if train is None else train
    test = size.test if test is None else test
    masked = min(size.masked, train) if masked is None else masked
    if not quiet and not (Path(out) / PHANTOM_JSON).exists():
        z, y, x = size.shape_zyx
        gigabytes = z * y * x * (2 * (train + test) + masked) / 1e9
        print(
            f"making a phantom of {train} + {test} simulated studies, {z}×{y}×{x}, "
            f"up to {gigabytes:.2g} GB, in {out}",
            flush=True,
        )
    return make_phantom(
        Path(out),
        train=train,
        test=test,
        shape_zyx=size.shape_zyx,
        fov_mm=size.fov_mm,
        masked=masked,
        seed=seed,
        difficulty=DEFAULT_DIFFICULTY if difficulty is None else difficulty,
        workers=workers or usable_cores(),
        progress=not quiet,
    )


def _profile_phantom(profile: Profile, quiet: bool) -> Path:
    if profile.phantom is None:
        raise CspineError(
            f"profile {profile.name!r} needs the RSNA data set, which is in none of {_places()}: "
            f"name its folder with --data or CSPINE_DATA, or take a profile with a phantom "
            f"({_phantom_profiles()})"
        )
    path = data_home() / f"phantom-{profile.name}"
    with main_first(path):
        return make_profile_phantom(profile, path, quiet=quiet)


def _folder(path: Path) -> Path:
    """A folder that somebody named."""
    if (path / TRAIN_CSV).is_file():
        return path
    what = f"there is no {TRAIN_CSV} in {path}" if path.is_dir() else f"there is no folder {path}"
    raise CspineError(f"{what}: name a folder in RSNA's layout, or 'phantom', or 'rsna'")


def submission_set() -> Path:
    """The folder whose ``test.csv`` is to be answered: ``CSPINE_DATA``, else the mounted set.

    Raises:
        CspineError: there is none.
    """
    given = os.environ.get("CSPINE_DATA")
    places = (Path(given).expanduser(),) if given else _mounts()
    for path in places:
        if (path / TEST_CSV).is_file():
            return path
    raise CspineError(
        f"there is no {TEST_CSV} in {', '.join(map(str, places))}: add the competition's data as "
        "input of the notebook, or name a folder with CSPINE_DATA"
    )


def _mounts() -> tuple[Path, ...]:
    """Where a platform would have mounted the real set."""
    return *KAGGLE_MOUNTS, *drive_mounts(RSNA_NAME)


def _real_set(everywhere: bool) -> Path | None:
    """The real set if it is in place; under ``data/`` only if asked for."""
    for path in (*_mounts(), *([data_home() / RSNA_NAME] if everywhere else [])):
        if (path / TRAIN_CSV).is_file():
            return path
    return None


def _places() -> str:
    return ", ".join(str(path) for path in (*_mounts(), data_home() / RSNA_NAME))


def _phantom_profiles() -> str:
    return ", ".join(name for name, profile in PROFILES.items() if profile.phantom is not None)
