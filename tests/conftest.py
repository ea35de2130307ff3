"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cspine_lib import config


@pytest.fixture(scope="session")
def ci_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One phantom of the ``ci`` profile for the whole test run; nobody may write in it.

    With ``CSPINE_HOME`` set it is the one under its ``data/``, which the notebooks
    use too.  Else it lies in pytest's folder of this run, shared by all workers:
    who comes first draws it, the others wait at its lock.
    """
    from cspine_lib.phantom.build import make_phantom

    size = config.get_profile("ci").phantom
    assert size is not None
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    base = tmp_path_factory.getbasetemp()
    folder = base if alone else base.parent
    if os.environ.get("CSPINE_HOME"):
        folder = config.data_home()
    return make_phantom(
        folder / "phantom-ci",
        train=size.train,
        test=size.test,
        shape_zyx=size.shape_zyx,
        fov_mm=size.fov_mm,
        masked=size.masked,
        seed=config.DEFAULT_SEED,
        workers=2 if alone else 1,
        progress=False,
    )


@pytest.fixture(scope="session")
def ci_folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of ``run_method`` on the shared phantom: a fold that one worker has trained is there
    for all of them."""
    base = tmp_path_factory.getbasetemp()
    return (base if "PYTEST_XDIST_WORKER" not in os.environ else base.parent) / "ci-folds"


@pytest.fixture(scope="session")
def ci_run(ci_phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained ``crop_bilstm`` on the shared phantom; made by whichever worker comes first."""
    from filelock import FileLock

    from cspine_lib.methods import train_method
    from cspine_lib.rsna import open_dataset

    base = tmp_path_factory.getbasetemp()
    folder = (base if "PYTEST_XDIST_WORKER" not in os.environ else base.parent) / "ci-run"
    with FileLock(folder.with_suffix(".lock")):
        profile = config.get_profile("ci")
        train_method("crop_bilstm", open_dataset(ci_phantom), profile, folder, progress=False)
    return folder
