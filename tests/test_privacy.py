"""Names of folders that tell who was scanned."""

import pydicom
import pytest
from dicom_factory import random_hu, write_series

from cspine_lib.privacy import burned_in, first_header, printable_name


def scan(folder, **tags):
    def change(ds):
        for tag, value in tags.items():
            setattr(ds, tag, value)

    write_series(folder, random_hu((2, 4, 4)), change=change)
    return folder


TAGS = {
    "PatientName": "Müller-Lüdenscheidt^Karla",
    "PatientID": "77Q12",
    "PatientBirthDate": "19500314",
    "InstitutionName": "Sankt Elsewhere",
    "SpecificCharacterSet": "ISO_IR 192",
}


@pytest.mark.parametrize(
    "name",
    ["karla", "KARLA_ct", "Lüdenscheidt", "77q12", "scan of 19500314", "elsewhere-neck"],
)
def test_a_telling_name_is_replaced(tmp_path, name):
    found = printable_name(scan(tmp_path / name, **TAGS))
    assert found.startswith("scan-") and len(found) == 13
    assert found == printable_name(tmp_path / name)


@pytest.mark.parametrize("name", ["neck 1", "case-17", "CT", "study"])
def test_another_name_stays(tmp_path, name):
    assert printable_name(scan(tmp_path / name, **TAGS)) == name


def test_identifiers_of_the_study_count_as_well(tmp_path):
    uid = "1.2.840.99999.4711"
    assert printable_name(scan(tmp_path / uid, StudyInstanceUID=uid)) != uid
    public = scan(tmp_path / "public" / uid, StudyInstanceUID=uid, PatientID=uid)
    assert printable_name(public) == uid  # RSNA's own way: no patient is named by it


def test_the_replacement_does_not_hold_what_it_replaces(tmp_path):
    uid = "1.2.840.99999.4711"
    name = printable_name(scan(tmp_path / "karla", **TAGS, StudyInstanceUID=uid))
    other = printable_name(scan(tmp_path / "karla2", **TAGS, StudyInstanceUID=uid + ".1"))
    assert "karla" not in name and uid not in name and name != other


def test_folders_without_dicom_keep_their_names(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.dcm").write_bytes(b"nothing")
    assert printable_name(tmp_path / "a") == "a"
    assert printable_name(tmp_path / "not there") == "not there"
    assert first_header(tmp_path / "a") is None


def test_no_more_is_read_than_is_needed(tmp_path):
    header = first_header(scan(tmp_path / "s", **TAGS))
    assert isinstance(header, pydicom.Dataset)
    assert "PixelData" not in header and "Rows" not in header


@pytest.mark.parametrize(("value", "told"), [("YES", True), ("NO", False), (None, False)])
def test_writing_in_the_pixels_is_warned_of(tmp_path, value, told):
    tags = {} if value is None else {"BurnedInAnnotation": value}
    issues = burned_in(scan(tmp_path / "s", **tags))
    assert [i.code for i in issues] == ["burned_in"] * told


def test_broken_values_are_no_name(tmp_path):
    folder = scan(tmp_path / "neck", **TAGS)
    for path in folder.iterdir():
        content = path.read_bytes()
        path.write_bytes(content.replace(b"19500314", b"\xff\xfe\x00\x01****"))
    assert printable_name(folder) == "neck"
