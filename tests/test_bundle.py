"""What goes into a bundle for Kaggle: metadata by Kaggle's rules, no data of any study."""

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cspine_lib import bundle, bundle_parts, sources
from cspine_lib.bundle import build_bundle, contents, copy_run
from cspine_lib.bundle_parts import (
    BROUGHT,
    COUNTED_ON,
    check_dataset_metadata,
    check_kernel_metadata,
    checked_username,
    dataset_metadata,
    kernel_metadata,
)
from cspine_lib.errors import CspineError
from cspine_lib.runs import Part, RunRecord

ROOT = Path(__file__).resolve().parent.parent
STUDY = "1.2.826.0.1.3680043.77"


def test_every_dependency_is_brought_or_counted_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["weights"]]
    wanted += project["optional-dependencies"]["winners"]
    names = {canonicalize_name(Requirement(text).name) for text in wanted}
    brought = {part.name for part in BROUGHT}
    assert not brought & set(COUNTED_ON)
    assert names <= brought | set(COUNTED_ON)
    assert "torch" in COUNTED_ON and "torchvision" in COUNTED_ON
    assert all(part.why for part in BROUGHT)
    assert brought <= set(bundle._pins())


def test_what_the_brought_packages_need_is_there_too():
    there = {part.name for part in BROUGHT} | set(COUNTED_ON)
    for part in BROUGHT:
        for requirement in map(Requirement, metadata.requires(part.name) or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in there, f"{part.name}: {requirement}"


def test_the_names_of_the_platforms_are_the_same_everywhere():
    kernel = (ROOT / "kaggle/kernel.py").read_text(encoding="utf-8")
    assert f'BUNDLE = "{bundle_parts.BUNDLE}"' in kernel
    assert bundle_parts.COMPETITION == sources.RSNA_NAME


@pytest.mark.parametrize(
    "name",
    [None, "", "ab", "Ada", "a b", "../x", "username", "your-name", "INSERT_NAME", "kaggle", "a/b"],
)
def test_no_user_name_and_placeholders_are_refused(name, tmp_path):
    with pytest.raises(CspineError, match="KAGGLE_USERNAME"):
        checked_username(name)
    with pytest.raises(CspineError, match="KAGGLE_USERNAME"):
        build_bundle(tmp_path / "out", name)
    assert not list(tmp_path.iterdir())


def test_metadata_are_what_kaggle_wants():
    data, kernel = dataset_metadata("ada-l", with_run=True), kernel_metadata("ada-l")
    assert data["id"] == "ada-l/cspine-bundle" == kernel["dataset_sources"][0]
    assert kernel["competition_sources"] == [sources.RSNA_NAME]
    assert kernel["enable_internet"] is False and kernel["is_private"] is True
    assert "run" not in dataset_metadata("ada-l", with_run=False)["description"].split("lacks")[1]
    assert json.loads(json.dumps(data)) == data


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "cspine-bundle"}, "OWNER/NAME"),
        ({"id": "ada/abc"}, "slug"),
        ({"id": "ada/" + "a" * 51}, "slug"),
        ({"title": "short"}, "title"),
        ({"title": None}, "title"),
        ({"subtitle": "too short"}, "subtitle"),
        ({"subtitle": "x" * 81}, "subtitle"),
        ({"licenses": []}, "licence"),
        ({"licenses": [{"name": "other"}] * 2}, "licence"),
    ],
)
def test_dataset_metadata_that_kaggle_would_refuse(change, words):
    with pytest.raises(CspineError, match=words):
        check_dataset_metadata(dataset_metadata("ada", with_run=False) | change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "ada"}, "OWNER/NAME"),
        ({"title": "x"}, "title"),
        ({"title": "another title"}, "slug"),
        ({"language": "julia"}, "language"),
        ({"kernel_type": "app"}, "kernel_type"),
        ({"code_file": ""}, "code_file"),
        ({"enable_internet": "no"}, "enable_internet"),
        ({"dataset_sources": ["cspine-bundle"]}, "OWNER/NAME"),
    ],
)
def test_kernel_metadata_that_kaggle_would_refuse(change, words):
    with pytest.raises(CspineError, match=words):
        check_kernel_metadata(kernel_metadata("ada") | change)


# --- the run


@pytest.fixture
def run(tmp_path):
    """The files of a finished run, with a study's name wherever a run keeps some."""
    folder = tmp_path / "run"
    names = ["localiser-0", "classifier"]
    for name in (*names, "crops"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").write_bytes(b"w")
        (folder / name / "fit.json").write_text(json.dumps({"train": [STUDY]}))
    (folder / "crops" / f"{STUDY}.npy").write_bytes(b"pixels")
    (folder / "two_stage.json").write_text(json.dumps({"localisers": names[:1]}))
    part = Part("stage2", train=[STUDY], val=[STUDY], test=[STUDY])
    record = RunRecord("crop_bilstm", "ci", 1, "RSNA 2022", "f", "imagenet", "cpu", parts=[part])
    record.scored, record.patients = [STUDY], {STUDY: "p"}
    record.write(folder / "run.json")
    return folder


def test_a_copied_run_has_its_networks_and_no_study(run, tmp_path):
    copy_run(run, tmp_path / "copy")
    files = {p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*.*")}
    weights = {"localiser-0/model.safetensors", "classifier/model.safetensors"}
    assert files - {"localiser-0", "classifier"} == {"run.json", "two_stage.json", *weights}
    for path in (tmp_path / "copy").rglob("*"):
        assert path.is_dir() or STUDY.encode() not in path.read_bytes()
    kept = RunRecord.read(tmp_path / "copy/run.json")
    assert (kept.method, kept.data, kept.parts[0].name) == ("crop_bilstm", "RSNA 2022", "stage2")
    assert str(tmp_path) not in (tmp_path / "copy/run.json").read_text()


def test_a_copied_run_predicts_as_the_original(ci_run, ci_phantom, tmp_path):
    from cspine_lib.rsna import open_dataset
    from cspine_lib.two_stage import TwoStageModel

    copy_run(ci_run, tmp_path / "copy")
    dataset = open_dataset(ci_phantom)
    volume = dataset.read_study(dataset.masked_ids[0]).volume
    said = [TwoStageModel.load(r).judge_volume(volume)[0] for r in (ci_run, tmp_path / "copy")]
    assert said[0] == said[1]


def test_runs_that_cannot_be_bundled(run, tmp_path):
    with pytest.raises(CspineError, match="no finished run"):
        copy_run(tmp_path, tmp_path / "a")
    (run / "two_stage.json").write_text(json.dumps({"localisers": ["../localiser-0"]}))
    with pytest.raises(CspineError, match="elsewhere"):
        copy_run(run, tmp_path / "b")
    (run / "two_stage.json").write_text(json.dumps({"localisers": ["localiser-0"]}))
    (run / "classifier/model.safetensors").unlink()
    with pytest.raises(CspineError, match=r"classifier has no model\.safetensors"):
        copy_run(run, tmp_path / "c")


# --- the folder


@pytest.fixture
def no_pip(monkeypatch):
    """Wheels that only have names."""

    def pretend(folder, pythons):
        for name in ("cspine_lib-0.2.0-py3", "pydicom-3.0.2-py3", "python_gdcm-3.2.6-cp311"):
            (folder / f"{name}-none-any.whl").write_bytes(b"w" * 100_000)

    monkeypatch.setattr(bundle, "_get_wheels", pretend)


def test_a_bundle_without_and_with_a_run(no_pip, run, tmp_path):
    out = build_bundle(tmp_path / "out", "ada")
    assert sorted(p.name for p in out.iterdir()) == ["dataset"]
    build_bundle(out, "ada", run)
    assert sorted(p.name for p in out.iterdir()) == ["dataset", "kernel"]
    assert (out / "kernel/kernel.py").read_text() == (ROOT / "kaggle/kernel.py").read_text()
    check_kernel_metadata(json.loads((out / "kernel/kernel-metadata.json").read_text()))
    check_dataset_metadata(json.loads((out / "dataset/dataset-metadata.json").read_text()))
    table = contents(out / "dataset")
    for wheel in (out / "dataset").glob("*.whl"):
        assert re.search(rf"^\| {re.escape(wheel.name)} \| 0\.1 \| \w+", table, flags=re.M)
    assert "the library" in table and "not in Kaggle's image" in table and "| run/ |" in table
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run"]


def test_a_folder_of_something_else_is_left_alone(no_pip, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(CspineError, match="something else"):
        build_bundle(tmp_path, "ada")
    assert (tmp_path / "thesis.txt").exists()


def test_a_bundle_that_fails_leaves_the_older_one(no_pip, run, tmp_path, monkeypatch):
    out = build_bundle(tmp_path / "out", "ada", run)
    before = sorted(p.as_posix() for p in out.rglob("*"))

    def broken(folder, pythons):
        raise CspineError("pip could not get a wheel")

    monkeypatch.setattr(bundle, "_get_wheels", broken)
    with pytest.raises(CspineError, match="pip"):
        build_bundle(out, "ada")
    assert sorted(p.as_posix() for p in out.rglob("*")) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run"]


def test_the_command_says_what_comes_next(no_pip, run, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    assert bundle.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    assert bundle.main(["--out", str(tmp_path / "out")]) == 0
    assert "there is no kernel" in capsys.readouterr().out
    assert bundle.main(["--out", str(tmp_path / "out"), "--run", str(run)]) == 0
    assert "kaggle kernels push" in capsys.readouterr().out
