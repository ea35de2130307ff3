"""CSV tables and JSON records of strangers: read, or refused in one line."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_tools import fuzz, in_child, memory_limit, spoilt
from hypothesis import given
from hypothesis import strategies as st

from cspine_lib.anatomy import BOX_COLUMNS, TARGETS, TEST_COLUMNS, TRAIN_COLUMNS
from cspine_lib.csvfiles import read_cells
from cspine_lib.errors import CspineError, printable
from cspine_lib.index import build_index
from cspine_lib.rsna import is_safe_id, open_dataset
from cspine_lib.runs import RunRecord, read_json
from cspine_lib.scoring import score_submission
from cspine_lib.tables import read_tables

IDS = [f"1.2.{i}" for i in range(6)]
TRAIN = ",".join(TRAIN_COLUMNS) + "\n"
TRAIN += "".join(f"{uid},{i % 2},{i % 2},0,0,0,0,0,0\n" for i, uid in enumerate(IDS))
BOXES = ",".join(BOX_COLUMNS) + "\n1.2.1,10,10,5,5,3\n1.2.3,1.5,2,3,4,7\n"
ROWS = [(f"{uid}_{t}", uid, t) for uid in IDS for t in TARGETS]
TEST = ",".join(TEST_COLUMNS) + "\n" + "".join(",".join(row) + "\n" for row in ROWS)
SUBMISSION = "row_id,fractured\n" + "".join(f"{name},0.25\n" for name, _, _ in ROWS)
TABLES = {"train.csv": TRAIN, "train_bounding_boxes.csv": BOXES, "test.csv": TEST}

CELLS = st.one_of(
    st.sampled_from(
        [
            "",
            "nan",
            "inf",
            "1e999",
            "-1",
            "0.5",
            "../../etc/passwd",
            "/etc/passwd",
            "a\0b",
            "1" * 5000,
        ]
    ),
    st.text(max_size=12),
)


def is_line(error: CspineError) -> None:
    assert str(error) and str(error).isprintable()


@fuzz(60, 4000)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_random_bytes_are_cells_or_a_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "t.csv"
    path.write_bytes(content)
    try:
        table = read_cells(path)
    except CspineError as error:
        is_line(error)
    else:
        assert all(isinstance(cell, str) for row in table.to_numpy() for cell in row)


def one_changed(data: st.DataObject, text: str) -> bytes:
    """A table with one cell exchanged, or with its bytes spoilt."""
    if data.draw(st.booleans()):
        return data.draw(spoilt(text.encode()))
    lines = [line.split(",") for line in text.splitlines()]
    row = data.draw(st.integers(0, len(lines) - 1))
    column = data.draw(st.integers(0, len(lines[row]) - 1))
    lines[row][column] = data.draw(CELLS)
    return "\n".join(map(",".join, lines)).encode("utf-8", errors="surrogatepass")


@pytest.mark.parametrize("name", TABLES)
@fuzz(50, 4000)
@given(data=st.data())
def test_a_data_set_with_a_spoilt_table(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    root = tmp_path_factory.getbasetemp() / "set"
    root.mkdir(exist_ok=True)
    for other, text in TABLES.items():
        (root / other).write_text(text)
    (root / name).write_bytes(one_changed(data, TABLES[name]))
    tables = read_tables(root)  # the check names every fault and never raises
    assert all(str(issue).isprintable() for issue in tables.issues)
    assert all(map(is_safe_id, [*tables.train_ids, *tables.test_ids]))
    try:
        dataset = open_dataset(root)
    except CspineError as error:
        is_line(error)
        return
    assert all(map(is_safe_id, dataset.train_ids))
    assert np.isin(dataset.train[list(TARGETS)].to_numpy(), (0, 1)).all()
    assert np.isfinite(dataset.boxes[list(BOX_COLUMNS[1:])].to_numpy(dtype=float)).all()
    for uid in dataset.test_ids:
        assert not dataset.has_images(uid) and dataset.mask_path(uid) is None


@pytest.mark.parametrize("spoil", ["submission", "truth", "truth as rows"])
@fuzz(25, 3000)
@given(data=st.data())
def test_score_of_spoilt_files(
    tmp_path_factory: pytest.TempPathFactory, spoil: str, data: st.DataObject
) -> None:
    root = tmp_path_factory.getbasetemp()
    rows = "row_id,fractured\n" + "".join(f"{name},{int(t == 'C1')}\n" for name, _, t in ROWS)
    submission, truth = SUBMISSION.encode(), (rows if "rows" in spoil else TRAIN).encode()
    if spoil == "submission":
        submission = one_changed(data, SUBMISSION)
    else:
        truth = one_changed(data, truth.decode())
    (root / "s.csv").write_bytes(submission)
    (root / "t.csv").write_bytes(truth)
    try:
        score = score_submission(root / "s.csv", root / "t.csv")
    except CspineError as error:
        is_line(error)
    else:
        assert np.isfinite(score.loss["per_exam"].value)


def header_bomb(path: Path) -> None:
    path.write_bytes(b"," * (40 * 2**20))


def quoted_header_bomb(path: Path) -> None:
    path.write_bytes(b'\n\n"a\n"' + b",x" * (20 * 2**20))


def too_long(path: Path) -> None:
    path.write_bytes(b"a\n" + b"0\n" * (40 * 2**20))


def packed(path: Path) -> None:
    path.write_bytes(gzip.compress(SUBMISSION.encode()))


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("bomb", [header_bomb, quoted_header_bomb, too_long, packed, endless])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_bombs_are_refused_in_little_memory(tmp_path: Path, bomb: Any, name: str) -> None:
    bomb(tmp_path / name)

    def work() -> None:
        with pytest.raises(CspineError):
            read_cells(tmp_path / name)

    assert in_child(work, memory_limit(500)) == 0


def test_rows_longer_than_the_header_are_not_shifted(tmp_path: Path) -> None:
    """pandas would take the first column for names of rows."""
    path = tmp_path / "t.csv"
    path.write_text("row_id,fractured\na_C1,0.5,\nb_C1,0.25,\n")
    with pytest.raises(CspineError, match="more cells than its header"):
        read_cells(path)


# --- JSON


@fuzz(60, 4000)
@given(data=st.data())
def test_spoilt_records(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "run.json"
    RunRecord("m", "ci", 1, "phantom v1, seed 1", "f", "random", "cpu").write(path)
    path.write_bytes(data.draw(spoilt(path.read_bytes())))
    try:
        RunRecord.read(path)
    except CspineError as error:
        is_line(error)


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}", "NaN", '"\\ud800"', ""),
        *('{"schema": []}', '{"schema": 1, "parts": 5}', '{"schema": 1, "parts": [5]}'),
    ],
    ids=range(9),
)
def test_absurd_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(CspineError) as told:
        RunRecord.read(path)
    is_line(told.value)


def test_endless_json(tmp_path: Path) -> None:
    (tmp_path / "run.json").symlink_to("/dev/zero")

    def work() -> None:
        with pytest.raises(CspineError, match="no record"):
            read_json(tmp_path / "run.json")

    assert in_child(work, memory_limit(300)) == 0


@pytest.mark.parametrize(
    "request_",
    ["[" * 10_000, "5", '{"version": [], "seed": "x"}', '{"version": "1", "seed": Infinity}'],
)
def test_a_phantom_with_a_damaged_description(tmp_path: Path, request_: str) -> None:
    (tmp_path / "train.csv").write_text(TRAIN)
    (tmp_path / "phantom.json").write_text(f'{{"request": {request_}}}')
    with pytest.raises(CspineError, match="make the phantom again"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("notes", ["[[1]]", "{", '"x"', "[5]"])
def test_a_damaged_index_counts_as_none(tmp_path: Path, notes: str) -> None:
    (tmp_path / "train_images" / "1.1").mkdir(parents=True)
    kept = tmp_path / "index.csv"
    first = build_index(tmp_path, cache=kept)
    text = kept.read_text().splitlines()
    header, row = text[0].split(","), text[1].split(",")
    if "notes" not in header:
        header, row = [*header, "notes"], [*row, ""]
    row[header.index("notes")] = '"' + notes.replace('"', '""') + '"'
    kept.write_text(",".join(header) + "\n" + ",".join(row) + "\n")
    assert build_index(tmp_path, cache=kept)["error"].tolist() == first["error"].tolist()


@fuzz(100, 5000)
@given(text=st.text(st.characters(), max_size=60))
def test_messages_are_one_line_that_moves_no_cursor(text: str) -> None:
    assert printable(text).isprintable() and str(CspineError(text)).isprintable()
    assert len(printable("x" * 10**6)) == 2000
    json.dumps(printable(text)).encode()
    printable(text).encode()
    assert os.linesep not in printable(text)
