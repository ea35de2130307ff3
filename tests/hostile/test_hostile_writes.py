"""Full disks, read-only folders and kills: what is there is whole, and the rest can be made."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hostile_tools import (
    CHANGES,
    PlainModel,
    at_change,
    cspine,
    die,
    file_limit,
    in_child,
    no_room,
    refused,
    tree,
)

from cspine_lib.cache import VolumeCache, build_cache
from cspine_lib.checkpoint import FitFolder, FitResult, load_weights
from cspine_lib.errors import CspineError
from cspine_lib.predict import predict_folder
from cspine_lib.rsna import open_dataset
from cspine_lib.runs import atomic_write_text

KILLED = -9
MID_FILE = (0, 1, 60, 300, 700, 1500, 5000)
"""Sizes in bytes that no file may exceed when a process is stopped in mid-write."""


def finished(root: Path) -> dict[str, bytes]:
    """The files that a reader would take for results."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def stopped_everywhere(
    work: Callable[[Path], object], whole: dict[str, bytes], base: Path
) -> Iterator[Path]:
    """Kill the work before each change of the file system and in the middle of files."""
    ended = False
    for n in range(200):
        folder = base / f"change-{n}"
        status = in_child(lambda f=folder: work(f), at_change(n, folder, die))
        assert status in (0, KILLED)
        yield folder
        if status == 0:
            ended = n > 3
            break
    assert ended, "no change of the file system was seen"
    for size in MID_FILE:
        folder = base / f"size-{size}"
        status = in_child(lambda f=folder: work(f), file_limit(size, kill=True))
        assert status < 0 or size >= max(map(len, whole.values()))
        yield folder


def predict(source: Path, out: Path, overviews: int = 0) -> None:
    predict_folder(PlainModel(), source, out, overviews=overviews, progress=False)


def test_predict_killed_at_any_write(small_set: Path, tmp_path: Path) -> None:
    predict(small_set, tmp_path / "whole")
    whole = finished(tmp_path / "whole")
    for out in stopped_everywhere(lambda f: predict(small_set, f), whole, tmp_path):
        there = finished(out) if out.exists() else {}
        assert there.items() <= whole.items()
        predict(small_set, out)
        assert finished(out) == whole


def test_a_picture_killed_in_the_middle_is_drawn_again(small_set: Path, tmp_path: Path) -> None:
    predict(small_set, tmp_path / "whole", overviews=1)
    whole = finished(tmp_path / "whole")
    out = tmp_path / "out"
    kill = file_limit(len(whole["9.1.png"]) - 100, kill=True)
    assert in_child(lambda: predict(small_set, out, overviews=1), kill) < 0
    assert "9.1.png" not in finished(out) and "9.1.json" not in finished(out)
    predict(small_set, out, overviews=1)
    assert finished(out).keys() == whole.keys()


def cached(source: Path, folder: Path) -> VolumeCache:
    dataset = open_dataset(source)
    return build_cache(dataset, folder, dataset.train_ids, low_px=16)


def test_cache_killed_at_any_write(small_set: Path, tmp_path: Path) -> None:
    cached(small_set, tmp_path / "whole")
    whole = finished(tmp_path / "whole")
    for folder in stopped_everywhere(lambda f: cached(small_set, f), whole, tmp_path):
        assert (finished(folder) if folder.exists() else {}).items() <= whole.items()
        if (folder / "cache.json").exists():
            left = VolumeCache(folder)  # every study that it lists can be read
            assert all(left.volume(uid).shape_zyx == (5, 24, 20) for uid in left.ids)
        again = cached(small_set, folder)
        assert finished(folder) == whole and len(again) == 2
        assert not list(folder.glob(".tmp-*"))


NET = torch.nn.Linear(40, 8)


def weights(epoch: int) -> dict[str, torch.Tensor]:
    return {name: torch.full_like(value, epoch) for name, value in NET.state_dict().items()}


def train(folder: Path) -> None:
    """Three epochs, each better than the last, from wherever the folder is."""
    fit = FitFolder(folder, {"net": "tiny"})
    if fit.finished() is not None:
        return
    found = fit.resume()
    done = found[1].best_epoch if found else 0
    for epoch in range(done + 1, 4):
        fit.save_epoch(
            {"net": weights(epoch), "epoch": epoch},
            FitResult(best_epoch=epoch, best_score=float(epoch)),
            weights(epoch),
        )
    fit.finish(FitResult(best_epoch=3, best_score=3.0))


def test_training_killed_at_any_write(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    whole = finished(tmp_path / "whole")
    assert set(whole) == {"model.safetensors", "fit.json"}
    for folder in stopped_everywhere(train, whole, tmp_path):
        fit = FitFolder(folder, {"net": "tiny"})
        if (folder / "fit.json").exists():
            assert finished(folder)["model.safetensors"] == whole["model.safetensors"]
        elif (found := fit.resume()) is not None:
            state, result = found
            best = folder / f"best-{result.best_epoch:04d}.safetensors"
            net = load_weights(torch.nn.Linear(40, 8), best)
            assert state["epoch"] == result.best_epoch == int(net.bias[0])
        train(folder)
        assert finished(folder) == whole


# --- no room


def test_predict_on_a_disk_that_fills_at_any_write(small_set: Path, tmp_path: Path) -> None:
    """Each failure is one error that names the file; the same call goes on when there is room."""
    predict(small_set, tmp_path / "whole")
    whole, seen = finished(tmp_path / "whole"), 0

    def work(out: Path) -> None:
        with pytest.raises(CspineError, match=r"No space left|File too large"):
            predict(small_set, out)

    for n in range(200):
        out = tmp_path / f"out-{n}"
        # To remove a file needs no room.
        full = at_change(n, out, no_room, CHANGES - {"os.remove"})
        status = in_child(lambda o=out: work(o), full)
        left = finished(out) if out.exists() else {}
        assert left.items() <= whole.items()
        if status != 0:  # the error did not come: there were no more than n changes
            assert left == whole
            break
        seen += 1
        assert not out.exists() or not list(out.glob(".tmp-*"))
        predict(small_set, out)
        assert finished(out) == whole
    assert seen > 5
    for size in MID_FILE[:4]:
        out = tmp_path / f"small-{size}"
        assert in_child(lambda o=out: work(o), file_limit(size, kill=False)) == 0
        assert finished(out).items() <= whole.items() and not list(out.glob(".tmp-*"))


def test_training_on_a_disk_that_fills(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        with pytest.raises(CspineError, match="cannot write"):
            train(folder)

    train(tmp_path / "whole")
    whole = finished(tmp_path / "whole")
    for size in (0, 100, 1000, 2000):
        folder = tmp_path / f"small-{size}"
        assert in_child(lambda f=folder: work(f), file_limit(size, kill=False)) == 0
        train(folder)
        assert finished(folder) == whole


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where mounting one is permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip("mounting is not permitted")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_the_command_on_a_full_disk(
    bare_run: Path, small_set: Path, tmp_path: Path, full_disk: Path
) -> None:
    ballast = full_disk / "ballast"
    ballast.write_bytes(bytes(60 * 1024))
    arguments = ("predict", bare_run, small_set, "--out", full_disk / "out", "-q")
    assert "No space left" in refused(*cspine(tmp_path, *arguments))
    ballast.unlink()
    few = (*arguments, "--overviews", 0)
    status, _, err = cspine(tmp_path, *few)
    assert status == 0, err
    assert {"submission.csv", "predictions.csv"} <= finished(full_disk / "out").keys()


# --- read-only


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that other users may enter, as pytest's own may not."""
    place = Path(tempfile.mkdtemp(prefix="cspine-hostile-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def as_somebody() -> None:
    """The superuser may write anywhere: be nobody."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)


def test_read_only_folders(small_set: Path, open_place: Path) -> None:
    shutil.copytree(small_set, open_place / "data")
    (open_place / "locked").mkdir(mode=0o555)
    (open_place / "dark").mkdir(mode=0o000)
    before = tree(open_place)

    def writes(out: str) -> Callable[[], None]:
        def work() -> None:
            with pytest.raises(CspineError, match=r"cannot (write|be written)|denied"):
                predict(open_place / "data", open_place / out)

        return work

    predict(small_set, small_set.parent / "warm")  # all modules are loaded
    assert in_child(writes("locked"), as_somebody) == 0
    assert in_child(writes("locked/deeper"), as_somebody) == 0
    hidden = [open_place / "data" / "test_images" / name for name in ("9.1", "9.2/3.dcm")]
    modes = [path.stat().st_mode & 0o777 for path in hidden]
    for path in hidden:
        path.chmod(0o000)
    (open_place / "out").mkdir()
    (open_place / "out").chmod(0o777)

    def reads() -> None:
        results = predict_folder(
            PlainModel(), open_place / "data", open_place / "out", overviews=0, progress=False
        )
        assert [bool(r.error) for r in results] == [True, False]
        assert [i.code for i in results[1].issues] == ["unreadable", "missing_slices"]

    assert in_child(reads, as_somebody) == 0
    for path, mode in zip(hidden, modes, strict=True):
        path.chmod(mode)
    shutil.rmtree(open_place / "out")
    assert tree(open_place) == before


def test_a_failed_write_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CspineError, match=r"cannot write .*file/x"):
        atomic_write_text(tmp_path / "file" / "x", "y")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CspineError, match=r"cannot write .*folder"):
        atomic_write_text(tmp_path / "folder", "y")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
