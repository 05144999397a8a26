"""Streams of readouts sorted by the labels of a `.seq`: twix, ISMRMRD and plain arrays give the same."""

import dataclasses

import h5py
import ismrmrd
import numpy as np
import pypulseq
import pytest
import scipy.io
import sequences_for_tests as seqs
from siemens_for_tests import NOISE, PROTOCOL, Shot, write_vd
from test_readers import mrd

from pulsespec import analysis
from pulsespec.errors import DataError, InputError
from pulsespec.recon.formats import Known
from pulsespec.recon.nifti import read_nifti, write_nifti
from pulsespec.recon.read import read
from pulsespec.recon.sorting import sort_by_sequence
from pulsespec.recon.stream import AdcStream
from pulsespec.recon.transients import Geometry, Transients
from pulsespec.recon.voxel_check import difference, sequence_voxel
from pulsespec.simulator.timeline import LabelledReadout, Played, read_played

COILS, SAMPLES, DWELL_S = 3, 128, 5e-4
# Conditions 1 before 0, averages backwards, water between: no order that counting readouts would give.
ORDER = [(0, 1, 1), (1, 0, 0), (0, 0, 1), (0, 1, 0), (0, 0, 0), (1, 0, 1)]  # REF, SET, AVG
METABOLITE = [[4, 2], [3, 0]]
WATER = [1, 5]


def edited_sequence(path, water_samples=SAMPLES, order=ORDER, **definitions):
    opts = seqs.system()
    sequence = pypulseq.Sequence(opts)
    for reference, condition, average in order:
        labels = [
            pypulseq.make_label(name, "SET", value)
            for name, value in (
                ("REF", reference),
                ("SET", condition),
                ("AVG", average),
                ("NOPOS", 1),
                ("NOROT", 1),
            )
        ]
        sequence.add_block(seqs.hard(np.pi / 2, opts=opts, use="excitation"))
        sequence.add_block(seqs.adc(opts, water_samples if reference else SAMPLES, DWELL_S), *labels)
        sequence.add_block(pypulseq.make_delay(0.5))
    known = {"TE": 0.07, "TR": 1.5, "ReceiverPPM": 4.65, "VoxelPosition": [0.01, 0.02, 0.03]} | definitions
    return seqs.write(sequence, path, **known)


@pytest.fixture
def sequence(tmp_path):
    return edited_sequence(tmp_path / "edited.seq")


@pytest.fixture
def shots():
    parts = np.random.default_rng(0).normal(size=(len(ORDER), COILS, SAMPLES, 2))
    return (parts @ [1, 1j]).astype(np.complex64)


def check(scan, shots):
    np.testing.assert_array_equal(scan.metabolite.data, shots[METABOLITE].conj())
    assert scan.metabolite.dims == ("edit", "average", "coil", "t")
    np.testing.assert_array_equal(scan.water.data, shots[WATER].conj())
    found = scan.metabolite
    assert (found.te_s, found.tr_s, found.dwell_s, found.reference_ppm) == pytest.approx(
        (0.07, 1.5, DWELL_S, 4.65)
    )
    assert any("2 conditions of 2 metabolite, 2 water" in record.details for record in found.records)


def test_twix_whatever_the_counters_say(tmp_path, sequence, shots):
    noise = np.ones((COILS, 40)) * (1 + 2j)
    wrong = [{"Lin": n, "Eco": n % 2, "Phs": n % 3} for n in range(len(ORDER))]
    listed = [
        Shot(noise, NOISE),
        *(Shot(shot, 0, counters) for shot, counters in zip(shots, wrong, strict=True)),
    ]
    path = write_vd(tmp_path / "x.dat", [(listed, PROTOCOL)])
    scan = read([path], known=Known(sequence))
    check(scan, shots)
    np.testing.assert_array_equal(scan.metabolite.noise, noise.conj())


def test_ismrmrd_whatever_the_counters_say(tmp_path, sequence, shots):
    mrd(tmp_path / "x.h5", [(shot, [], n % 3) for n, shot in enumerate(shots)])
    check(read([tmp_path / "x.h5"], known=Known(sequence)), shots)


def npy(folder, array):
    np.save(folder / "x.npy", array)
    return folder / "x.npy"


def fortran(folder, array):
    return npy(folder, np.asfortranarray(array))


def mat5(folder, array):
    scipy.io.savemat(folder / "x.mat", {"raw": array, "count": np.arange(3.0)})
    return folder / "x.mat"


def hdf5(folder, array):
    with h5py.File(folder / "x.h5", "w") as file:
        file["scan/raw"] = array
        file["scan/time"] = np.arange(5.0)
    return folder / "x.h5"


def mat73(folder, array):
    """MATLAB writes HDF5 behind 512 bytes of its own, complex numbers as pairs, axes in the opposite order."""
    pairs = np.empty(array.T.shape, dtype=[("real", "<f4"), ("imag", "<f4")])
    pairs["real"], pairs["imag"] = array.T.real, array.T.imag
    with h5py.File(folder / "x.mat", "w", userblock_size=512) as file:
        file["raw"] = pairs
    with (folder / "x.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    return folder / "x.mat"


LAYOUTS = {
    "readout, coil, sample": lambda shots: shots,
    "sample, coil, readout": lambda shots: shots.transpose(2, 1, 0),
    "coil, readout, sample": lambda shots: shots.transpose(1, 0, 2),
    "coil, all samples": lambda shots: shots.transpose(1, 0, 2).reshape(COILS, -1),
    "with a single axis": lambda shots: shots[:, None],
}


@pytest.mark.parametrize("writer", [npy, fortran, mat5, mat73, hdf5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_every_kind_and_order(tmp_path, sequence, shots, writer, layout):
    path = writer(tmp_path, LAYOUTS[layout](shots))
    scan = read([path], known=Known(sequence))
    check(scan, shots)
    assert scan.metabolite.f0_hz == pytest.approx(seqs.F0_HZ)
    known = Known(sequence, f0_hz=123.2e6)
    assert read([path], known=known).metabolite.f0_hz == pytest.approx(123.2e6)


@pytest.mark.parametrize("axis", [0, -1])
def test_real_and_imaginary_parts_apart(tmp_path, sequence, shots, axis):
    check(read([npy(tmp_path, np.stack([shots.real, shots.imag], axis=axis))], known=Known(sequence)), shots)


def test_the_sequence_beside_an_array_is_found_and_without_one_it_is_refused(tmp_path, sequence, shots):
    path = npy(tmp_path, shots)
    with pytest.raises(DataError, match=r"x\.npy: is an array without a header.*--seq"):
        read([path])
    sequence.rename(tmp_path / "x.seq")
    scan = read([path])
    assert scan.metabolite.records[0].details == "x.seq, found beside the data"


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((6, 6, SAMPLES), "6 readouts of 128 samples, as edited.seq has, in 2 ways"),
        ((5, 3, SAMPLES), r"has array \(5, 3, 128\), expected 6 readouts of 128 samples"),
        ((6, 3, SAMPLES + 1), "expected 6 readouts of 128 samples"),
    ],
)
def test_an_array_that_fits_in_no_way_or_in_two_is_refused(tmp_path, sequence, shape, words):
    with pytest.raises(DataError, match=words):
        read([npy(tmp_path, np.ones(shape, dtype=np.complex64))], known=Known(sequence))


def test_an_array_of_real_numbers_alone_is_refused(tmp_path, sequence, shots):
    with pytest.raises(DataError, match="expected 6 readouts"):
        read([npy(tmp_path, shots.real)], known=Known(sequence))


def test_readouts_of_two_lengths_are_two_kinds(tmp_path, shots):
    sequence = edited_sequence(tmp_path / "two.seq", water_samples=64)
    parts = [
        shot[:, : 64 if reference else None] for shot, (reference, _, _) in zip(shots, ORDER, strict=True)
    ]
    path = npy(tmp_path, np.concatenate(parts, axis=1))
    scan = read([path], known=Known(sequence))
    np.testing.assert_array_equal(scan.metabolite.data, shots[METABOLITE].conj())
    np.testing.assert_array_equal(scan.water.data, shots[WATER][..., :64].conj())


def stream(path, shots, noise=()):
    return AdcStream(
        path,
        np.array([shot.shape for shot in shots]),
        lambda rows: (shots[row] for row in rows),
        {"f0_hz": 123e6, "dwell_s": 0.0},
        np.isin(np.arange(len(shots)), noise),
    )


def played(*labels, **definitions):
    readouts = tuple(
        LabelledReadout(SAMPLES, DWELL_S, 0.0, bool(one.get("REF")), one.get("SET", 0), one) for one in labels
    )
    return Played(readouts, definitions)


def test_noise_and_navigators_have_labels(tmp_path, shots):
    found = sort_by_sequence(
        stream(tmp_path / "x", shots[:4]), played({"NOISE": 1}, {}, {"NAV": 1}, {"AVG": 1}), "x.seq"
    )
    np.testing.assert_array_equal(found.metabolite.data, shots[[1, 3]].conj())
    np.testing.assert_array_equal(found.metabolite.noise, shots[0].conj())
    assert found.metabolite.records[-1].details.endswith("2 metabolite, 1 noise, 1 navigator")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([{}, {}, {}], "has 4 ADCs, but the sequence has 3"),
        ([{"SET": 0}, {"SET": 0}, {"SET": 0}, {"SET": 1}], r"different numbers of shots: \{0: 3, 1: 1\}"),
        ([{"LIN": 0}, {"LIN": 1}, {"LIN": 0}, {"LIN": 1}], "encodes space"),
        ([{"LIN": 0}, {"LIN": 1}, {"PAR": 1}, {"LIN": 1, "PAR": 1}], "encodes space"),
        ([{"NOISE": 1}] * 4, "no readout but noise"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, shots, labels, words):
    with pytest.raises(DataError, match=words):
        sort_by_sequence(stream(tmp_path / "x", shots[:4]), played(*labels), "x.seq")


def test_a_series_is_taken_with_a_notice(tmp_path, shots):
    found = sort_by_sequence(stream(tmp_path / "x", shots[:2]), played({"LIN": 0}, {"LIN": 1}), "x.seq")
    assert "LIN counts a series" in found.metabolite.records[-1].details


def test_the_receiver_of_each_kind_sets_its_reference(tmp_path, shots):
    both = played({"REF": 1}, {}, ReceiverPPM=4.65)
    moved = dataclasses.replace(both.readouts[1], offset_hz=-123.0)
    found = sort_by_sequence(
        stream(tmp_path / "x", shots[:2]),
        both._replace(readouts=(both.readouts[0], moved)),
        "x.seq",
    )
    assert (found.water.reference_ppm, found.metabolite.reference_ppm) == pytest.approx((4.65, 3.65))


def test_ismrmrd_without_a_sequence(tmp_path, shots):
    flags = [[], [ismrmrd.ACQ_IS_DUMMYSCAN_DATA], [], [ismrmrd.ACQ_IS_PHASECORR_DATA], [], []]
    sets = [0, 0, 1, 0, 2, 3]  # one shot each: averages by another name
    mrd(tmp_path / "x.h5", zip(shots, flags, sets, strict=True))
    scan = read([tmp_path / "x.h5"])
    np.testing.assert_array_equal(scan.metabolite.data, shots[[0, 2, 4, 5]].conj())
    np.testing.assert_array_equal(scan.water.data, shots[[3]].conj())


VOXEL = {"VoxelSize": [0.02, 0.03, 0.04], "VoxelPosition": [0.01, 0.02, 0.03]}


def test_the_voxel_of_a_sequence_in_the_patient():
    """Head first, supine, by Siemens: gradient x to the left, y up (anterior), z to the feet."""
    found = sequence_voxel(played({}, **VOXEL), "Siemens", "HFS")
    np.testing.assert_allclose(found.affine[:3, 3], [-10, 20, -30])
    np.testing.assert_allclose(found.voxel_mm, [20, 30, 40])
    assert sequence_voxel(played({}, **VOXEL), "GE", "HFS") is None
    assert sequence_voxel(played({}), "Siemens", "HFS") is None


@pytest.mark.parametrize("seed", range(3))
def test_the_difference_of_two_boxes_does_not_depend_on_names_of_axes(seed):
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = rotation * [20, 30, 40]
    order, signs = rng.permutation(3), rng.choice([-1, 1], 3)
    other = affine.copy()
    other[:3, :3] = affine[:3, order] * signs
    same = difference(Geometry(affine), Geometry(other))
    assert same.words == ()
    angle = np.deg2rad(5)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    other = turn @ other
    other[:3, 3] = [3, 4, 0]
    found = difference(Geometry(affine), Geometry(other))
    assert found.distance_mm == pytest.approx(5)
    assert 0 < found.angle_deg <= 5 + 1e-6
    assert found.size_mm == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("flags", [True, False])
def test_one_notice_says_where_header_and_sequence_differ_and_which_counts(tmp_path, shots, flags):
    label = {"NOPOS": 1, "NOROT": 1} if flags else {}
    both = played(label, **VOXEL)
    ours = sequence_voxel(both, "Siemens", "HFS")
    drawn = Geometry(np.diag([20.0, 30.0, 45.0, 1.0]))
    facts = {"geometry": drawn, "header": {"manufacturer": "Siemens", "patient_position": "HFS"}}
    raw = stream(tmp_path / "x", shots[:1])
    found = sort_by_sequence(dataclasses.replace(raw, facts=raw.facts | facts), both, "x.seq").metabolite
    assert found.geometry is not None
    np.testing.assert_allclose(found.geometry.affine, (ours if flags else drawn).affine)
    (words,) = [record.details for record in found.records if record.method == "Comparison of the voxel"]
    assert "size (by up to 5.0 mm)" in words
    assert "position (by 37.4 mm)" in words
    assert "orientation" not in words
    assert ("sets NOPOS and NOROT" in words) == flags
    same = facts | {"geometry": ours}
    quiet = sort_by_sequence(dataclasses.replace(raw, facts=raw.facts | same), both, "x.seq").metabolite
    assert len(quiet.records) == 1


def test_labels_and_definitions_of_a_file(tmp_path):
    found = read_played(edited_sequence(tmp_path / "x.seq"))
    assert [(r.labels["REF"], r.labels["SET"], r.labels["AVG"]) for r in found.readouts] == ORDER
    np.testing.assert_allclose(found.numbers("VoxelPosition"), [0.01, 0.02, 0.03])
    assert found.numbers("Nothing").size == 0


def test_recon_takes_frequency_and_dwell_time_from_its_options(tmp_path):
    sequence = edited_sequence(tmp_path / "s.seq", order=[(0, 0, average) for average in range(4)])
    t = np.arange(SAMPLES) * DWELL_S
    rng = np.random.default_rng(1)
    lines = sum(np.exp((-2j * np.pi * hz - 20) * t) for hz in (325.0, 200.0, 178.0))
    noise = rng.normal(0, 0.05, (4, COILS, SAMPLES, 2)) @ [1, 1j]
    path = npy(tmp_path, (lines * np.exp(1j * np.arange(COILS))[:, None] + noise).astype(np.complex64))
    out = tmp_path / "out.nii.gz"
    said = []
    analysis.recon([path], out, sequence=sequence, f0_mhz=123.3, notify=said.append)
    assert read_nifti(out).f0_hz == pytest.approx(123.3e6)
    assert any("axis 0 readout, axis 1 coil, axis 2 sample" in words for words in said)
    with pytest.raises(InputError, match=r"--f0-mhz: got -1, expected a number above 0"):
        analysis.recon([path], out, sequence=sequence, f0_mhz=-1, overwrite=True)
    found = analysis.known(sequence, 1e-3, 64.0)
    assert (found.dwell_s, found.f0_hz) == (1e-3, 64e6)


def test_without_a_field_the_frequency_is_asked_for(tmp_path, shots):
    sequence = edited_sequence(tmp_path / "s.seq")
    text = [line for line in sequence.read_text().splitlines() if not line.startswith("B0")]
    sequence.write_text("\n".join(text) + "\n")
    path = npy(tmp_path, shots)
    with pytest.raises(DataError, match="pass it \\(--f0-mhz\\)"):
        read([path], known=Known(sequence))
    check(read([path], known=Known(sequence, f0_hz=123e6)), shots)


def test_a_format_without_readouts_takes_its_timing_from_the_sequence_too(tmp_path):
    sequence = edited_sequence(tmp_path / "s.seq", ReceiverPPM=4.2)
    rng = np.random.default_rng(0)
    fid = np.exp(-20 * np.arange(SAMPLES) * DWELL_S) + rng.normal(0, 1, (SAMPLES, 2)) @ [1, 1j]
    data = Transients(data=fid, dims=("t",), dwell_s=DWELL_S, f0_hz=123e6, te_s=0.03, tr_s=9.0)
    write_nifti(data, tmp_path / "x.nii.gz")
    found = read([tmp_path / "x.nii.gz"], known=Known(sequence))
    part = found.metabolite or found.water
    assert (part.te_s, part.tr_s, part.reference_ppm) == pytest.approx((0.07, 1.5, 4.2))
