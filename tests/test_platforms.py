"""Every platform × GPU or none × data mounted or not, from variables and folders alone."""

import itertools
import subprocess
import sys
from types import ModuleType

import pytest

from cspine_lib import config, notebook, sources
from cspine_lib.config import platforms
from cspine_lib.config.platforms import find_platform, gpu_names, in_words
from cspine_lib.errors import CspineError
from cspine_lib.sources import RSNA_NAME

ENVIRONMENTS = {
    "kaggle": {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"},
    "kaggle batch": {"KAGGLE_KERNEL_RUN_TYPE": "Batch"},
    # Kaggle's image is made from Colab's and may keep its variables.
    "kaggle on colab's image": {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "COLAB_RELEASE_TAG": "r"},
    "colab": {"COLAB_RELEASE_TAG": "release-colab_20260220"},
    "colab with gpu variable": {"COLAB_GPU": "1"},
    "elsewhere": {},
}
GPUS = {"no gpu": [], "one": ["Tesla T4"], "two": ["Tesla T4", "Tesla T4"]}
MOUNTS = {
    "no data": None,
    "older mount": f"kaggle/input/{RSNA_NAME}",
    "newer mount": f"kaggle/input/competitions/{RSNA_NAME}",
    "drive": f"content/drive/MyDrive/{RSNA_NAME}",
}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """A machine that gives no hint, rooted in an empty folder, with nothing chosen."""
    for name in ("CSPINE_HOME", "CSPINE_DATA", "CSPINE_RUNS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name in (platforms.KAGGLE_RUN, *platforms.COLAB_SIGNS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(platforms.ROOT, str(tmp_path))
    return tmp_path


def add_gpus(root, models):
    for i, model in enumerate(models):
        place = root / f"proc/driver/nvidia/gpus/0000:00:0{i}.0"
        place.mkdir(parents=True)
        (place / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 9\n")


def add_set(folder):
    folder.mkdir(parents=True)
    for name in ("train.csv", "test.csv"):
        (folder / name).write_text("StudyInstanceUID\n")
    return folder


@pytest.mark.parametrize(
    ("where", "gpus", "mount"), list(itertools.product(ENVIRONMENTS, GPUS, MOUNTS))
)
def test_every_combination(where, gpus, mount, installed, nowhere, monkeypatch):
    for name, value in ENVIRONMENTS[where].items():
        monkeypatch.setenv(name, value)
    add_gpus(nowhere, GPUS[gpus])
    folder = add_set(nowhere / MOUNTS[mount]) if MOUNTS[mount] else None
    monkeypatch.setattr(sources, "KAGGLE_MOUNTS", platforms.competition_mounts(RSNA_NAME))
    found = find_platform()
    if where == "elsewhere" and "mount" not in mount:
        assert found.name in ("jupyter", "plain")
    else:  # Kaggle's own folder is a hint too
        assert found.name == ("kaggle" if where == "elsewhere" else where.split()[0])
    assert found.batch == (ENVIRONMENTS[where].get("KAGGLE_KERNEL_RUN_TYPE") == "Batch")
    assert gpu_names() == tuple(GPUS[gpus])
    assert sources.data_in_place(None, config.get_profile("ci")) == folder
    if found.hosted:
        for device in ("cpu", "cuda"):
            said = in_words(found, gpu_names(), device)
            assert ("no GPU" in said) == (gpus == "no gpu")
            assert ("cannot use" in said) == (gpus != "no gpu" and device == "cpu")


def test_two_cards_are_counted(nowhere):
    add_gpus(nowhere, ["Tesla T4", "Tesla T4"])
    said = in_words(find_platform({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}), gpu_names(), "cuda")
    assert said.startswith("Kaggle, 2 × Tesla T4;")


@pytest.mark.parametrize(
    ("visible", "left"),
    [("", ""), ("-1", ""), ("1", "B"), ("1,0", "BA"), ("0,7,1", "A"), ("GPU-5e", "A"), ("x", "")],
)
def test_what_cuda_may_not_see_is_no_gpu(visible, left, nowhere):
    add_gpus(nowhere, ["A", "B"])
    assert "".join(gpu_names({"CUDA_VISIBLE_DEVICES": visible}, nowhere)) == left


def test_devices_without_the_drivers_description_are_counted(nowhere):
    (nowhere / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (nowhere / "dev" / name).touch()
    assert gpu_names() == ("NVIDIA GPU", "NVIDIA GPU")


def test_an_importable_google_colab_is_colab(monkeypatch):
    assert find_platform().name != "colab"
    for name in ("google", "google.colab"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert find_platform().name == "colab"


def test_colab_that_mounts_a_set_of_kaggles_stays_colab(nowhere):
    (nowhere / "kaggle/input").mkdir(parents=True)
    assert find_platform({"COLAB_GPU": "0"}, nowhere).name == "colab"
    assert find_platform({}, nowhere).name == "kaggle"


def test_a_kernel_is_told_from_a_plain_process(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert find_platform().name == "plain" and find_platform().keep is None
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    assert find_platform().name == "jupyter" and not find_platform().hosted


# --- where to write


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """The library as pip installs it: no checkout around it."""
    monkeypatch.setattr(
        config, "__file__", str(tmp_path / "site-packages/cspine_lib/config/__init__.py")
    )
    monkeypatch.chdir(tmp_path)


def test_on_kaggle_runs_are_kept_and_data_are_not(installed, nowhere, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert config.runs_home() == nowhere / "kaggle/working/runs"
    assert config.data_home() == nowhere / "kaggle/temp/data"


def test_in_colab_all_is_in_content(installed, nowhere, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "r")
    assert config.runs_home() == nowhere / "content/runs"
    assert config.data_home() == nowhere / "content/data"


def test_elsewhere_all_is_here(installed, nowhere):
    assert (config.runs_home(), config.data_home()) == (nowhere / "runs", nowhere / "data")


@pytest.mark.parametrize("where", ["kaggle", "colab", "elsewhere"])
def test_what_somebody_chose_comes_first(where, installed, nowhere, monkeypatch):
    for name, value in ENVIRONMENTS[where].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CSPINE_HOME", str(nowhere / "mine"))
    assert config.data_home() == nowhere / "mine/data"
    assert config.runs_home() == nowhere / "mine/runs"


def test_a_checkout_that_cannot_be_written_to_is_no_home(installed, nowhere, monkeypatch):
    """As one that is attached to a Kaggle notebook."""
    (nowhere / "site-packages").mkdir()
    (nowhere / "site-packages/pyproject.toml").touch()
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert config.home() == nowhere / "site-packages"
    monkeypatch.setattr(config.os, "access", lambda path, mode: False)
    assert config.home() == nowhere / "kaggle/working"


# --- what a reader is told


def test_the_set_up_cell_names_a_hosted_platform_only(ci_phantom, nowhere, monkeypatch, capsys):
    notebook.set_up("ci", ci_phantom)
    assert "platform" not in capsys.readouterr().out
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setattr(notebook, "device_name", lambda: "cpu")
    add_gpus(nowhere, ["Tesla T4"])
    notebook.set_up("ci", ci_phantom)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["profile", "platform", "device", "data"]
    assert "1 × Tesla T4; its torch cannot use the GPU" in lines[1]


def test_a_lone_notebook_says_nothing_about_the_others(tmp_path):
    assert list(notebook.course_map(tmp_path).columns) == ["what it is about"]


def test_the_set_to_answer_is_the_mounted_one(nowhere, monkeypatch):
    monkeypatch.setattr(sources, "KAGGLE_MOUNTS", platforms.competition_mounts(RSNA_NAME))
    with pytest.raises(CspineError, match="as input of the notebook"):
        sources.submission_set()
    mounted = add_set(nowhere / "kaggle/input/competitions" / RSNA_NAME)
    assert sources.submission_set() == mounted
    monkeypatch.setenv("CSPINE_DATA", str(nowhere / "empty"))
    with pytest.raises(CspineError, match="empty"):
        sources.submission_set()


def test_finding_out_imports_no_torch():
    code = (
        "import sys; from cspine_lib import config; from cspine_lib.config import platforms; "
        "platforms.find_platform(); "
        "platforms.gpu_names(); config.data_home(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
