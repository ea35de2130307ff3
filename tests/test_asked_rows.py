"""``test.csv`` and the rows that answer it."""

import pandas as pd
import pytest

from cspine_lib.anatomy import TARGETS
from cspine_lib.asked_rows import AskedRows
from cspine_lib.errors import CspineError
from cspine_lib.submission import read_submission

ROWS = [("b", t) for t in reversed(TARGETS)] + [("a", t) for t in TARGETS]


def asked(folder, rows=None, name="test.csv"):
    rows = ROWS if rows is None else rows
    lines = [f"{uid}_{kind},{uid},{kind}" for uid, kind in rows]
    (folder / name).write_text("\n".join(["row_id,StudyInstanceUID,prediction_type", *lines]))
    return AskedRows.read(folder)


def said(**values):
    return {uid: dict.fromkeys(TARGETS, p) for uid, p in values.items()}


def test_rows_are_answered_as_asked(tmp_path):
    rows = asked(tmp_path)
    frame = rows.answered(said(a=0.25, b=0.75))
    assert list(frame.columns) == ["row_id", "fractured"]
    assert frame["row_id"].tolist() == [f"{uid}_{kind}" for uid, kind in ROWS]
    assert set(frame["fractured"][:8]) == {0.75} and set(frame["fractured"][8:]) == {0.25}
    assert rows.ids == ["b", "a"]


def test_row_ids_are_copied_not_made(tmp_path):
    table = "row_id,prediction_type,StudyInstanceUID\nrow 7,C3,a\nrow 2,C1,a\n"
    (tmp_path / "test.csv").write_text(table)
    frame = AskedRows.read(tmp_path).answered({"a": {"C3": 0.3, "C1": 0.1}})
    assert frame.values.tolist() == [["row 7", 0.3], ["row 2", 0.1]]


def test_values_stay_between_0_and_1_when_written(tmp_path):
    frame = asked(tmp_path).answered(said(a=0.0, b=1.0))
    path = tmp_path / "out.csv"
    frame.to_csv(path, index=False, float_format="%.6f")
    written = pd.read_csv(path)["fractured"]
    assert written.between(0, 1, inclusive="neither").all()
    assert len(read_submission(path, ["a", "b"])) == 2


def test_a_row_without_a_number_is_refused(tmp_path):
    rows = asked(tmp_path)
    for values in (said(a=0.5), {**said(a=0.5), "b": {"C1": 0.5}}, said(a=0.5, b=float("nan"))):
        with pytest.raises(CspineError, match="no probability for b_"):
            rows.answered(values)


@pytest.mark.parametrize(
    ("rows", "words"),
    [([], "no rows"), ([("a", "C1"), ("a", "C8")], "line 3: prediction_type is 'C8'")],
)
def test_tables_that_cannot_be_answered(tmp_path, rows, words):
    with pytest.raises(CspineError, match=words):
        asked(tmp_path, rows)


def test_no_table(tmp_path):
    with pytest.raises(CspineError, match=r"has no test\.csv"):
        AskedRows.read(tmp_path)


@pytest.mark.parametrize("uid", ["../outside", "/etc", "..", "a/b", "", "a\x00b"])
def test_no_way_out_of_the_folder(tmp_path, uid):
    (tmp_path / "outside").mkdir()
    data = tmp_path / "data"
    (data / "test_images" / "a").mkdir(parents=True)
    rows = asked(data, [("a", "C1")])
    assert rows.folder("a") == data / "test_images" / "a"
    assert rows.folder(uid) is None


def test_sample_submission_is_compared(tmp_path):
    rows = asked(tmp_path)
    assert rows.differs_from_sample() == ""
    names = [f"{uid}_{kind}" for uid, kind in reversed(ROWS)]
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("row_id,fractured\n" + "".join(f"{n},0.5\n" for n in names))
    assert rows.differs_from_sample() == ""
    sample.write_text("row_id,fractured\nx_C1,0.5\n" + "".join(f"{n},0.5\n" for n in names[3:]))
    assert "1 rows are in the sample only, 3 in test.csv only" in rows.differs_from_sample()
