"""Concentric rings: k of every sample of written files in closed form, what each ring leaves behind, and refusals."""

import warnings
from dataclasses import replace

import numpy as np
import pypulseq
import pytest
from scipy.special import j1

from pulsespec.errors import ProtocolError, SequenceError
from pulsespec.protocols import change, load_protocol
from pulsespec.recon.image_nonuniform import ImageGrid, fold, point_spread, reconstruct_samples
from pulsespec.recon.rings import ring_areas
from pulsespec.sequences import build, check, load_scanner, write_sequence
from pulsespec.simulator import simulate
from pulsespec.simulator.trajectory import read_trajectory

TURNED = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
OBLIQUE = ((0.8, 0.0, 0.6), (0.0, 1.0, 0.0), (-0.6, 0.0, 0.8))
SCANNER = {3.0: "siemens-skyra", 7.0: "siemens-terra"}


def protocol(name="fid-mrsi-3t-rings", **changes):
    """Return a protocol of six points across, four turns of spectrum and nothing before the excitation."""
    values = {
        "encoding": {"matrix": [6, 6, 1], "fov_mm": [60.0, 60.0, 15.0]},
        "voxel_mm": [60.0, 60.0, 15.0],
        "points": 64,
        "averages": 1,
        "dummies": 0,
        "water_averages": 0,
        "water_suppression": None,
    }
    return change(load_protocol(name), values | changes)


def written(folder, chosen, scanner=None):
    path = folder / "x.seq"
    scanner = load_scanner(scanner or SCANNER[chosen.field_t])
    sequence = build(chosen, scanner)
    assert check(sequence, scanner) == []
    write_sequence(sequence, path, overwrite=True)
    return path


def definition(path, key):
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    return float(np.ravel(sequence.definitions[key])[0])


@pytest.mark.parametrize("axes", [np.eye(3).tolist(), TURNED, OBLIQUE])
@pytest.mark.parametrize("name", ["fid-mrsi-3t-rings", "fid-mrsi-7t-rings"])
def test_every_sample_is_on_its_ring(tmp_path, name, axes):
    stack = {"matrix": [6, 6, 3], "fov_mm": [60.0, 60.0, 24.0]}
    chosen = protocol(name, orientation=axes, position_mm=(3.0, -8.0, 11.0), encoding=stack)
    path = written(tmp_path, chosen)
    found = read_trajectory(path)
    interleaves = chosen.train.interleaves
    turn_s = interleaves / chosen.spectral_width_hz
    assert definition(path, "TurnDuration") == pytest.approx(turn_s)
    samples, turns = (int(definition(path, key)) for key in ("TurnSamples", "Turns"))
    assert turns * interleaves == chosen.points
    assert len(found.kinds) == 4 * 3 * interleaves
    assert set(found.labels["LIN"]) == {0, 1, 2, 3}
    for readout in range(len(found.kinds)):
        ring, partition, part = (int(found.labels[label][readout]) for label in ("LIN", "PAR", "SEG"))
        k = found.k_per_m(readout) @ np.array(axes).T
        times = found.times_s(readout) - chosen.te_ms * 1e-3 - part * turn_s / interleaves
        assert k.shape == (samples * turns, 3)
        assert times[0] == pytest.approx(turn_s / samples / 2, abs=1e-6)
        around = 2 * np.pi * (np.arange(times.size) + 0.5) / samples
        radius = ring / 0.06
        expected = np.stack([radius * np.cos(around), radius * np.sin(around)], axis=1)
        # Lines between corners 10 us apart leave the circle by an eighth of the square of their angle at most.
        chord = (2 * np.pi * 1e-5 / turn_s) ** 2 / 8
        np.testing.assert_allclose(k[:, :2], expected, atol=chord * 3 / 0.06)
        np.testing.assert_allclose(k[:, 2], (partition - 1) / 0.024, atol=1e-3 / 0.024)


def test_pypulseq_finds_the_same(tmp_path):
    path = written(tmp_path, protocol())
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        k_adc = sequence.calculate_kspace()[0]
    found = read_trajectory(path)
    ours = np.concatenate([found.k_per_m(readout) for readout in range(len(found.kinds))])
    np.testing.assert_allclose(ours, k_adc.T, atol=1e-5 * np.abs(ours).max())


def test_every_ring_leaves_the_spins_alike(tmp_path):
    path = written(tmp_path, protocol(averages=2))
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    blocks = [sequence.get_block(number) for number in sequence.block_events]
    starts = [k for k, block in enumerate(blocks) if block.rf is not None]
    areas = []
    for low, high in zip(starts, [*starts[1:], len(blocks)], strict=True):
        parts = [[getattr(getattr(b, f"g{a}"), "area", 0.0) for a in "xyz"] for b in blocks[low:high]]
        areas.append(np.sum(parts, axis=0))
    assert len(areas) == 8
    # 2 x 4 cycles over 10 mm along x; the file has six digits of each amplitude.
    np.testing.assert_allclose(areas, np.broadcast_to(areas[0], (8, 3)), atol=2e-2)
    assert areas[0][0] == pytest.approx(800.0, abs=1.0)


def test_after_a_spin_echo_and_with_water_rings_are_the_same(tmp_path):
    image = {"matrix": [6, 6, 3], "fov_mm": [60.0, 60.0, 45.0], "water_flip_deg": 20.0}
    size = {"voxel_mm": [60.0, 60.0, 30.0], "inversion": None, "points": 64}
    chosen = change(
        load_protocol("epsi-3t-te17.6-whole-brain"),
        size | {"encoding": image, "train": {"kind": "rings"}, "water_suppression": None, "dummies": 0},
    )
    found = read_trajectory(written(tmp_path, chosen))
    echoes, water = np.flatnonzero(found.labels["REF"] == 0), np.flatnonzero(found.labels["REF"] == 1)
    assert echoes.size == water.size == 4 * 3
    for one, other in zip(echoes, water, strict=True):
        k = found.k_per_m(one)
        np.testing.assert_allclose(k, found.k_per_m(other), atol=2e-4 * 50)
        np.testing.assert_allclose(np.hypot(k[:, 0], k[:, 1]), found.labels["LIN"][one] / 0.06, atol=0.05)
    begun = found.times_s(echoes[1])
    assert begun[0] - (begun[1] - begun[0]) / 2 == pytest.approx(17.6e-3, abs=2e-6)


def weighed(space):
    """Return positions that count for the area between the rings beside theirs."""
    ring = np.round(np.hypot(space.k_per_m[:, 0], space.k_per_m[:, 1]) * 0.16)
    return replace(space, weights=ring_areas(ring / 0.16))


@pytest.mark.parametrize("name", ["fid-mrsi-3t-rings", "fid-mrsi-7t-rings"])
def test_what_is_built_can_be_reconstructed(tmp_path, name):
    """Two points with two shifts off the centre come out where they are, at their frequency, full size."""
    axes = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
    image = {"encoding": images(16)[0], "voxel_mm": (160.0, 160.0, 15.0), "orientation": axes}
    found = read_trajectory(written(tmp_path, protocol(name, **image)))
    k = [found.k_per_m(readout) @ np.array(axes).T for readout in range(len(found.kinds))]
    times = [found.times_s(readout) for readout in range(len(found.kinds))]
    points = {(0.03, -0.05, 0.0): 150.0, (-0.04, 0.01, 0.0): -330.0}
    data = [
        sum(np.exp(2j * np.pi * (one @ place + hz * (t - 1.3e-3))) for place, hz in points.items())[None]
        for one, t in zip(k, times, strict=True)
    ]
    space, fids = fold(k, times, data)
    grid = ImageGrid(np.array([-0.005, -0.005, 0.0]), np.array([0.01, 0.01, 0.015]), (16, 16, 1))
    made = reconstruct_samples(fids, weighed(space), grid)[:, :, 0, 0]
    assert space.dwell_s == pytest.approx(1 / load_protocol(name).spectral_width_hz)
    spectra = np.fft.fft(made * np.exp(-6 * np.arange(made.shape[-1]) / made.shape[-1]), 1024)
    frequency = np.fft.fftfreq(1024, space.dwell_s)
    sizes = []
    for (x, y, _), hz in points.items():
        spectrum = spectra[round(x / 0.01) + 8, round(y / 0.01) + 8]
        peak = np.abs(spectrum).argmax()
        assert frequency[peak] == pytest.approx(hz, abs=2 / (64 * space.dwell_s) / 2)
        map_ = np.abs(spectra[..., peak])
        assert np.unravel_index(map_.argmax(), map_.shape) == (round(x / 0.01) + 8, round(y / 0.01) + 8)
        sizes.append(made[round(x / 0.01) + 8, round(y / 0.01) + 8, 20])
    # The rings stand for a disc that reaches half a spacing beyond the last; the other point adds its side lobes.
    np.testing.assert_allclose(np.abs(sizes), np.pi * 8.5**2 / 16**2, rtol=0.02)


def test_the_point_spread_function_is_that_of_a_disc(tmp_path):
    found = read_trajectory(
        written(tmp_path, protocol(encoding=images(16)[0], voxel_mm=(160.0, 160.0, 15.0)))
    )
    readouts = range(len(found.kinds))
    times = [found.times_s(readout) for readout in readouts]
    space, _ = fold([found.k_per_m(r) for r in readouts], times, [np.ones((1, t.size)) for t in times])
    away = np.linspace(1e-6, 0.08, 40)
    offsets = np.stack([0.8 * away, -0.6 * away, 0 * away], axis=1)
    turns = 2 * np.pi * 8.5 / 0.16 * away
    np.testing.assert_allclose(point_spread(weighed(space), offsets), 2 * j1(turns) / turns, atol=0.01)


def test_all_rings_share_their_shapes(tmp_path):
    shapes = [written(tmp_path, protocol(encoding=image)).read_text() for image in images(6, 12)]
    assert shapes[0].count("Num_Samples") == shapes[1].count("Num_Samples")


def images(*points):
    return [{"matrix": [n, n, 1], "fov_mm": [10.0 * n, 10.0 * n, 15.0]} for n in points]


def test_ge_plays_rings_as_one_segment_and_their_centre_as_another(tmp_path):
    written(tmp_path, protocol(), "ge-xrm")


def test_an_elliptical_stack_has_fewer_rings_at_its_ends(tmp_path):
    stack = {"matrix": [6, 6, 5], "fov_mm": [60.0, 60.0, 40.0], "elliptical": True}
    found = read_trajectory(written(tmp_path, protocol(encoding=stack)))
    rings = [int((found.labels["PAR"] == partition).sum()) for partition in range(5)]
    assert rings[2] == 4
    assert rings[0] == rings[4] < rings[1] == rings[3] < rings[2]


def test_a_basis_is_that_of_the_centre_as_without_rings(tmp_path):
    """Two interleaves and four rings: only one of the eight shots begins at TE with nothing dephased."""
    on_rings = written(tmp_path, protocol("fid-mrsi-7t-rings"))
    basis = simulate(on_rings, ["Glu"])
    plain = {"tr_ms": 320.0, "points": 64}
    other = simulate(written(tmp_path, protocol("fid-mrsi-7t", **plain)), ["Glu"])
    found, expected = (one.fid("Glu", 256, 4e-4) for one in (basis, other))
    # The first sample is half of a dwell after TE: a hundredth of a turn at the edge of the band.
    np.testing.assert_allclose(found, expected, atol=2e-2 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": {"matrix": [6, 8, 1], "fov_mm": [60.0, 60.0, 15.0]}}, "6 x 8 points over 60 x 60 mm"),
        ({"encoding": {"matrix": [6, 6, 1], "fov_mm": [60.0, 80.0, 15.0]}}, "6 x 6 points over 60 x 80 mm"),
    ],
)
def test_rings_are_round(changes, words):
    with pytest.raises(ProtocolError, match=words):
        protocol(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spectral_width_hz": 5000.0}, "expected at most .* Hz, or 3 interleaves"),
        ({"spectral_width_hz": 1234.0}, "off the 10 us raster of siemens-skyra; the nearest is 1234.57 Hz"),
    ],
)
def test_rings_that_a_scanner_cannot_play_are_refused(changes, words):
    with pytest.raises(SequenceError, match=words):
        build(protocol(**changes), load_scanner("siemens-skyra"))


def test_the_stated_spectral_width_can_be_built():
    scanner = load_scanner("siemens-skyra")
    with pytest.raises(SequenceError, match="expected at most") as caught:
        build(protocol(spectral_width_hz=5000.0), scanner)
    widest = float(str(caught.value).partition("at most ")[2].split(" Hz")[0])
    near = 1 / (np.ceil(1e5 / widest) * 1e-5)
    sequence = build(protocol(spectral_width_hz=near), scanner)
    assert check(sequence, scanner) == []
