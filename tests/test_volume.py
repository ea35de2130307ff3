"""Volume: geometry, crops, resampling, windows."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from cspine_lib.errors import CspineError
from cspine_lib.volume import Volume, window


def make_volume(shape=(10, 12, 14), spacing=(2.0, 0.7, 0.5), origin=(-30.0, -20.0, 90.0)):
    """Head → feet, front → back, right → left, smooth content."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = -spacing[0], spacing[1], spacing[2]
    affine[:3, 3], affine[3, 3] = origin, 1
    z, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    hu = 40 * z + 25 * y - 30 * x
    return Volume(hu.astype(np.int16), affine)


def test_orientation_spacing_and_repr():
    volume = make_volume()
    assert volume.orientation == "IPL"
    assert volume.spacing_zyx_mm == pytest.approx((2.0, 0.7, 0.5))
    assert repr(volume) == "Volume(10×12×14 zyx, 2.00×0.70×0.50 mm, IPL)"


@given(st.tuples(*[st.floats(-50, 50)] * 3))
def test_index_and_mm_are_inverse(point):
    volume = make_volume()
    assert volume.to_mm(volume.to_index(point)) == pytest.approx(np.array(point), abs=1e-9)


def test_known_point():
    volume = make_volume()
    # One slice down, two rows back, three columns to the patient's left.
    assert volume.to_mm((1, 2, 3)) == pytest.approx([-30 + 1.5, -20 + 1.4, 90 - 2.0])


def test_crop_keeps_patient_positions_and_pads_with_air():
    volume = make_volume()
    part = volume.crop((-2, 3, 10), (5, 4, 8))
    assert part.shape_zyx == (5, 4, 8)
    assert (part.hu_zyx[:2] == -1000).all() and (part.hu_zyx[:, :, 4:] == -1000).all()
    assert part.hu_zyx[2, 0, 0] == volume.hu_zyx[0, 3, 10]
    assert part.to_mm((2, 0, 0)) == pytest.approx(volume.to_mm((0, 3, 10)))


def test_crop_wholly_outside_is_air():
    assert (make_volume().crop((50, 0, 0), (2, 2, 2)).hu_zyx == -1000).all()


def test_resampled_agrees_with_simpleitk():
    volume = make_volume((12, 16, 16), (1.0, 1.0, 1.0))
    ours = volume.resampled((12, 32, 32))
    image = sitk.GetImageFromArray(volume.hu_zyx.astype(np.float32))
    theirs = sitk.Resample(
        image, (32, 32, 12), sitk.Transform(), sitk.sitkLinear, (-0.25, -0.25, 0.0), (0.5, 0.5, 1.0)
    )
    inner = (slice(None), slice(2, -2), slice(2, -2))
    assert np.abs(ours.hu_zyx[inner] - sitk.GetArrayFromImage(theirs)[inner]).max() <= 1
    assert ours.to_mm((-0.5, -0.5, -0.5)) == pytest.approx(volume.to_mm((-0.5, -0.5, -0.5)))


def test_resampled_down_is_antialiased():
    hu = np.zeros((4, 64, 64), np.int16)
    hu[:, :, ::2] = 1000
    small = Volume(hu, np.diag([-1.0, 1, 1, 1])[[2, 1, 0, 3]]).resampled((4, 16, 16))
    assert small.hu_zyx[:, 4:-4, 4:-4].std() < 60 and abs(small.hu_zyx.mean() - 500) < 60


@pytest.mark.parametrize(
    ("hu", "affine", "word"),
    [
        (np.zeros((2, 2), np.int16), np.eye(4), "three axes"),
        (np.zeros((2, 2, 2), np.float32), np.eye(4), "int16"),
        (np.zeros((2, 2, 2), np.int16), np.zeros((4, 4)), "singular"),
        (np.zeros((2, 2, 2), np.int16), np.full((4, 4), np.nan), "finite"),
    ],
)
def test_bad_volumes_are_refused(hu, affine, word):
    with pytest.raises(CspineError, match=word):
        Volume(hu, affine)


def test_bone_window():
    assert window([-400, 500, 1400]).tolist() == [0, 128, 255]
    with pytest.raises(CspineError, match="known: bone"):
        window(0, "brain")
