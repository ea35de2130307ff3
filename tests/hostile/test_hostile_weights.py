"""Weights and records of strangers: no code is run, nothing exchanged or damaged is believed."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hostile_tools import fuzz, spoilt
from hypothesis import given
from hypothesis import strategies as st

from cspine_lib.checkpoint import FitFolder, FitResult, load_weights, save_weights
from cspine_lib.errors import CspineError
from cspine_lib.fold_predictors import FoldEnsemble
from cspine_lib.jobs import load_array
from cspine_lib.two_stage import TwoStageModel

LIBRARY = Path(__file__).resolve().parents[2] / "cspine_lib"
REFUSED = {
    *("pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib.load"),
    *("pandas.read_pickle", "pd.read_pickle", "yaml.load", "torch.hub.load", "torch.jit.load"),
}


def calls(tree: ast.AST) -> list[tuple[str, dict[str, object]]]:
    """Name and constant keyword arguments of every call."""
    return [
        (
            ast.unparse(node.func),
            {k.arg or "**": getattr(k.value, "value", None) for k in node.keywords},
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]


def offences(source: str) -> list[str]:
    """What in a piece of code could run code from a file."""
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [name for name in names if name.split(".")[0] in REFUSED]
    for name, options in calls(tree):
        if name in REFUSED or name in ("eval", "exec"):
            found.append(name)
        if name == "torch.load" and options.get("weights_only") is not True:
            found.append(name)
        if name in ("np.load", "numpy.load") and options.get("allow_pickle") is not False:
            found.append(name)
    return found


def test_the_library_loads_nothing_that_can_run_code() -> None:
    found = {
        str(path.relative_to(LIBRARY)): wrong
        for path in LIBRARY.rglob("*.py")
        if (wrong := offences(path.read_text(encoding="utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        *("import pickle", "from pickle import load", "torch.load(p)", "eval('1')"),
        *("torch.load(p, weights_only=False)", "np.load(p)", "np.load(p, allow_pickle=True)"),
        *("joblib.load(p)", "pd.read_pickle(p)", "torch.hub.load('a', 'b')"),
    ],
)
def test_that_test_can_fail(code: str) -> None:
    assert offences(code)
    assert not offences("torch.load(p, weights_only=True); np.load(p, allow_pickle=False)")


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_is_refused_wherever_weights_or_arrays_are_read(tmp_path: Path) -> None:
    mark, net = tmp_path / "mark", torch.nn.Linear(4, 2)
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.is_dir()  # the trap works
    mark.rmdir()
    traps = {
        "pickle": pickle.dumps(Trap(mark)),
        "torch": None,
        "numpy": None,
    }
    torch.save({"request": "{}", "result": {}, "state": Trap(mark)}, tmp_path / "t")
    np.save(tmp_path / "n.npy", np.array([Trap(mark)], dtype=object), allow_pickle=True)
    traps["torch"] = (tmp_path / "t").read_bytes()
    traps["numpy"] = (tmp_path / "n.npy").read_bytes()
    for content in traps.values():
        assert content is not None
        for name in ("model.safetensors", "state.pt", "x.npy"):
            (tmp_path / name).write_bytes(content)
        with pytest.raises(CspineError):
            load_weights(net, tmp_path)
        with pytest.raises(CspineError):
            FitFolder(tmp_path, {}).resume()
        with pytest.raises(CspineError):
            load_array(tmp_path / "x.npy")
        with pytest.raises(CspineError):
            load_array(tmp_path / "x.npy", mmap=True)
    assert not mark.exists()


@fuzz(40, 4000)
@given(data=st.data())
def test_spoilt_weights(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "w.safetensors"
    save_weights(torch.nn.Linear(4, 2).state_dict(), path)
    path.write_bytes(data.draw(spoilt(path.read_bytes(), head=200)))
    try:
        load_weights(torch.nn.Linear(4, 2), path)
    except CspineError as error:
        assert str(error).isprintable()


@fuzz(40, 4000)
@given(data=st.data())
def test_spoilt_state(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "fit"
    fit = FitFolder(folder, {"net": "tiny"})
    state = torch.nn.Linear(4, 2).state_dict()
    fit.save_epoch({"net": dict(state)}, FitResult(best_epoch=1), state)
    path = folder / "state.pt"
    path.write_bytes(data.draw(spoilt(path.read_bytes())))
    try:
        fit.resume()
    except CspineError as error:
        assert str(error).isprintable()


# --- a run


@pytest.fixture
def run(bare_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bare_run, tmp_path / "run"))


def test_a_sound_run_loads(run: Path) -> None:
    assert TwoStageModel.load(run).profile.name == "ci"


def test_weights_that_the_run_did_not_end_with_are_refused(run: Path) -> None:
    path = run / "classifier" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 64  # one bit of one weight: the file is still whole and fits
    path.write_bytes(content)
    with pytest.raises(CspineError, match="not what the run ended with"):
        TwoStageModel.load(run)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.just("../../../outside"),
    st.just("hf-hub:a/b"),
)


def paths_in(value: object, here: tuple = ()) -> list[tuple]:
    """Every place in a JSON value."""
    found = [here] if here else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()  # fmt: skip  # noqa: E501
    for key, inner in pairs:
        found += paths_in(inner, (*here, key))
    return found


@pytest.mark.parametrize("name", ["two_stage.json", "run.json"])
@fuzz(25, 1500)
@given(data=st.data())
def test_records_with_another_value_somewhere(
    bare_run: Path,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    data: st.DataObject,
) -> None:
    run = tmp_path_factory.getbasetemp() / "spoilt_run"
    if not run.exists():
        shutil.copytree(bare_run, run)
    for file in ("two_stage.json", "run.json"):
        shutil.copyfile(bare_run / file, run / file)
    content = json.loads((run / name).read_text())
    places = paths_in(content)
    *way, last = data.draw(st.sampled_from(places))
    inner = content
    for key in way:
        inner = inner[key]
    if isinstance(inner, dict) and data.draw(st.booleans()):
        del inner[last]
    else:
        inner[last] = data.draw(JUNK)
    (run / name).write_text(json.dumps(content))
    nets = {"load_localisers": lambda *a: [], "load_classifier": lambda *a: None}
    try:
        with mock.patch.multiple("cspine_lib.two_stage", **nets):  # they are what costs time
            model = TwoStageModel.load(run)
    except CspineError as error:
        assert str(error).isprintable()
    else:
        assert all(0 <= p <= 1 for p in model.prior.values())


@pytest.mark.parametrize(
    "name", [None, "", 5, "hf-hub:a/b", "local-dir:/tmp", "resnet18", "tf_efficientnet_lite0.evil"]
)
def test_a_record_that_names_another_backbone(run: Path, name: object) -> None:
    content = json.loads((run / "two_stage.json").read_text())
    content["profile"]["backbone"] = name
    (run / "two_stage.json").write_text(json.dumps(content))
    with pytest.raises(CspineError):
        TwoStageModel.load(run)


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"profile": {"name": "ci"}}', "null"])
@pytest.mark.parametrize("name", ["fold0.json", "foldx.json"])
def test_damaged_folds(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "crop_bilstm").mkdir()
    (tmp_path / "crop_bilstm" / name).write_text(text)
    with pytest.raises(CspineError):
        FoldEnsemble.load(tmp_path, "crop_bilstm")
