"""Voxels from numbers and images: closed forms, images turned at random, and slices found in written files."""

import bloch
import nibabel
import numpy as np
import pypulseq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pulsespec.conventions import RECEIVER_PPM, larmor_hz
from pulsespec.errors import InputError
from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.sequences.geometry import Frame, frame_from_image, frame_from_numbers

DEVICE_FROM_RAS = np.diag([-1.0, 1.0, -1.0])
"""Siemens, head first, supine: right is -X, anterior is +Y, head is -Z."""


def mask(path, affine, box, shape=(12, 13, 14)):
    """Write a mask whose box (three ranges of voxels) is 1."""
    data = np.zeros(shape, np.uint8)
    data[tuple(slice(low, high) for low, high in box)] = 1
    nibabel.Nifti1Image(data, affine).to_filename(path)
    return path


def affine_of(axes, size_mm, origin_mm):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * size_mm, origin_mm
    return affine


def corners(frame, size):
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    return frame.position_m * 1e3 + (signs * np.asarray(size) / 2) @ frame.rotation.T


def test_three_angles_turn_about_fixed_axes_in_their_order():
    frame = frame_from_numbers([90.0, 0.0, 90.0], [1.0, 2.0, 3.0])
    # x stays x, then becomes y; y becomes z and stays; z becomes -y, then x.
    np.testing.assert_allclose(frame.rotation, [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-12)
    np.testing.assert_allclose(frame.position_m, [1e-3, 2e-3, 3e-3])


def test_nine_numbers_are_the_axes_one_after_another():
    frame = frame_from_numbers([0.8, 0.6, 0.0, -0.6, 0.8, 0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(frame.to_gradient(np.array([1.0, 0, 0])), [0.8, 0.6, 0.0], atol=1e-12)
    np.testing.assert_allclose(Frame.identity().to_gradient(np.array([1.0, 2, 3])), [1, 2, 3])


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([1.0, 0.0], "got 2 numbers"),
        ([1.0, 0, 0, 0, 1, 0, 0, 0, -1], "right-handed"),
        ([1.0, 0.1, 0, 0, 1, 0, 0, 0, 1], "right-handed"),
        ([float("nan"), 0.0, 0.0], "orientation"),
    ],
)
def test_numbers_that_are_no_orientation_are_refused(numbers, words):
    with pytest.raises(InputError, match=words):
        frame_from_numbers(numbers, [0.0, 0.0, 0.0])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), flipped=st.booleans())
def test_a_mask_gives_its_box_however_the_image_is_turned_or_stored(tmp_path_factory, seed, flipped):
    rng = np.random.default_rng(seed)
    axes = Rotation.random(random_state=seed).as_matrix()
    if flipped:  # radiological storage: the affine is left-handed
        axes[:, 0] *= -1
    affine = affine_of(axes, rng.uniform(0.7, 3.0, 3), rng.uniform(-80, 80, 3))
    low = rng.integers(0, 6, 3)
    high = low + rng.integers(1, 6, 3)
    path = mask(tmp_path_factory.mktemp("mask") / "m.nii", affine, list(zip(low, high, strict=True)))
    frame, size = frame_from_image(path, vendor="Siemens")
    assert np.linalg.det(frame.rotation) == pytest.approx(1.0)
    edges = np.array(np.meshgrid(*zip(low - 0.5, high - 0.5, strict=True))).reshape(3, -1).T
    expected = (edges @ affine[:3, :3].T + affine[:3, 3]) @ DEVICE_FROM_RAS
    found = corners(frame, size)
    distance = np.linalg.norm(found[:, None] - expected[None], axis=2)
    assert distance.min(axis=1).max() < 1e-3
    assert distance.min(axis=0).max() < 1e-3


def test_a_spectrum_gives_its_own_voxel(tmp_path):
    axes = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()
    affine = affine_of(axes, np.array([20.0, 25.0, 30.0]), [5.0, -12.0, 40.0])
    path = tmp_path / "svs.nii.gz"
    nibabel.Nifti2Image(np.ones((1, 1, 1, 64), np.complex64), affine).to_filename(path)
    frame, size = frame_from_image(path, vendor="Siemens")
    assert size == pytest.approx((20.0, 25.0, 30.0), abs=1e-4)
    np.testing.assert_allclose(frame.position_m * 1e3, [-5.0, -12.0, -40.0], atol=1e-4)
    np.testing.assert_allclose(frame.rotation, DEVICE_FROM_RAS @ axes, atol=1e-5)


def test_a_prone_head_is_a_supine_one_turned_about_the_field(tmp_path):
    path = mask(tmp_path / "m.nii", np.diag([2.0, 2.0, 2.0, 1.0]), [(1, 4), (2, 7), (3, 9)])
    supine, _ = frame_from_image(path, vendor="Siemens")
    prone, _ = frame_from_image(path, vendor="Siemens", patient_position="HFP")
    turn = np.diag([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(prone.position_m, turn @ supine.position_m, atol=1e-12)
    np.testing.assert_allclose(prone.rotation, turn @ supine.rotation, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("empty", "mask is empty"),
        ("sheared", "right angles"),
        ("four", "three dimensions"),
        ("flat", "right angles"),
        ("nowhere", "where it lies"),
        ("text", "cannot be read"),
        ("missing", "cannot be read"),
    ],
)
def test_images_that_give_no_voxel_are_refused(tmp_path, change, words):
    path, affine = tmp_path / "m.nii", np.diag([2.0, 2.0, 2.0, 1.0])
    if change == "sheared":
        affine[0, 1] = 0.3
    if change == "flat":
        affine[2, 2] = 0.0
    if change == "four":
        nibabel.Nifti1Image(np.ones((4, 4, 4, 3), np.uint8), affine).to_filename(path)
    elif change == "text":
        path.write_text("nothing")
    elif change != "missing":
        image = np.zeros((5, 5, 5), np.uint8)
        image[2, 2, 2] = change != "empty"
        header = nibabel.Nifti1Header()
        header.set_sform(affine, code=0 if change == "nowhere" else 1)
        nibabel.Nifti1Image(image, None, header).to_filename(path)
    with pytest.raises(InputError, match=words):
        frame_from_image(path, vendor="Siemens")


@pytest.mark.parametrize(("vendor", "position"), [("GE", "HFS"), ("Siemens", "FFS")])
def test_what_is_not_known_of_a_scanner_is_not_guessed(tmp_path, vendor, position):
    path = mask(tmp_path / "m.nii", np.eye(4), [(1, 4), (2, 7), (3, 9)])
    with pytest.raises(InputError, match="in gradient coordinates"):
        frame_from_image(path, vendor=vendor, patient_position=position)


TURNED = Rotation.from_euler("xyz", [20.0, -35.0, 50.0], degrees=True).as_matrix()
PLACE_MM = (13.0, -41.5, 27.25)


def slices(path):
    """Return normal, centre along it in m, and width in m of each selective pulse of the first repetition.

    Only the file's own events and the Bloch equation count: spins at the carrier of the shot are put along
    the gradient of each pulse.
    """
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    definitions = sequence.definitions
    f0_hz = larmor_hz(float(np.ravel(definitions["B0"])[0]))
    spin_hz = (float(np.ravel(definitions["CarrierPPM"])[0]) - RECEIVER_PPM) * 1e-6 * f0_hz
    found = []
    for block in bloch.shots(path)[0]:
        rf = block.rf
        if rf is None:
            continue
        gradient = np.array([bloch.area(getattr(block, f"g{axis}"), *_middle(rf)) for axis in "xyz"])
        gradient = gradient / np.diff(_middle(rf))
        strength = np.linalg.norm(gradient)
        normal = gradient / strength
        along = np.linspace(-0.09, 0.09, 1201)
        carrier_hz = rf.freq_offset + rf.freq_ppm * 1e-6 * f0_hz
        offset_hz = along * strength + spin_hz - carrier_hz
        m = bloch.pulse(rf.signal, float(rf.t[1] - rf.t[0]), offset_hz)
        acts = np.hypot(m[:, 0], m[:, 1]) if rf.use == "excitation" else 1 - m[:, 2]
        inside = along[acts > acts.max() / 2]
        found.append((normal, inside.mean(), np.ptp(inside)))
    return found


def _middle(rf):
    return rf.delay + 0.45 * rf.shape_dur, rf.delay + 0.55 * rf.shape_dur


def test_the_slices_of_an_oblique_file_meet_in_the_voxel(tmp_path):
    protocol = load_protocol("press-3t-te30").model_copy(
        update={
            "orientation": tuple(tuple(float(v) for v in axis) for axis in TURNED.T),
            "position_mm": PLACE_MM,
            "voxel_mm": (30.0, 20.0, 25.0),
        }
    )
    path = tmp_path / "x.seq"
    write_sequence(build(protocol, load_scanner("siemens-prisma")), path)
    found = slices(path)
    normals = np.array([normal for normal, _, _ in found])
    axes = np.abs(normals @ TURNED).argmax(axis=1)
    assert sorted(axes) == [0, 1, 2]
    np.testing.assert_allclose(np.abs(np.sum(normals * TURNED[:, axes].T, axis=1)), 1.0, atol=1e-6)
    centre = np.linalg.solve(normals, [at for _, at, _ in found])
    np.testing.assert_allclose(centre * 1e3, PLACE_MM, atol=0.4)
    sizes = np.array([width for _, _, width in found])
    np.testing.assert_allclose(sizes * 1e3, np.array(protocol.voxel_mm)[axes], rtol=0.08)
