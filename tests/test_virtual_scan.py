"""The virtual scanner in memory: every fault is what its truth says, and none changes the draws of another."""

import json
from dataclasses import asdict, replace

import ismrmrd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_for_tests import F0_HZ, small_setup

from pulsespec.errors import DataError, InputError
from pulsespec.recon.mrd import read_mrd
from pulsespec.recon.virtual import scan_of
from pulsespec.simulator.acquire import write_scan
from pulsespec.simulator.faults import KINDS, SOURCES, Faults, list_faults, load_faults, no_faults
from pulsespec.simulator.play import play
from pulsespec.simulator.truth import in_nifti_sense, read_truth, shot_bounds, to_json, truth_from_json

SETUP = small_setup()
T = SETUP.time_s
MANY = small_setup(shots=400, water=0, samples=16)


def voxel(scan):
    """The signal of each shot as a coil of sensitivity 1 has it, (n_shots, samples)."""
    s = scan.truth.sensitivities
    return np.einsum("c,sct->st", s.conj() / np.sum(np.abs(s) ** 2), scan.data)


def only(setup=SETUP, seed=0, **changes):
    """A scan with nothing but the named faults, beside one with none, as a coil of sensitivity 1 has them."""
    changes = {"coils": 2, **changes}
    scan = play(setup, seed=seed, faults=no_faults(**changes))
    return scan.truth, voxel(scan), voxel(play(setup, seed=seed, faults=no_faults(coils=changes["coils"])))


def close(found, expected, tolerance=2e-6):
    assert np.linalg.norm(found - expected) < tolerance * np.linalg.norm(expected)


def test_without_faults_shots_are_the_sum_of_the_lines():
    truth, found, _ = only()
    hz = lambda ppm: (ppm - 4.65) * F0_HZ * 1e-6  # noqa: E731
    rows = [(12.0, 3.0, 2.008), (8.0, 3.0, 3.027), (1.5, 9.0, 3.212), (2.0, -2.0, 3.01)]
    expected = sum(mm * protons * np.exp(2j * np.pi * hz(ppm) * T) for mm, protons, ppm in rows)
    close(found[:16], np.tile(expected, (16, 1)))
    close(found[16:], np.full((2, T.size), 80000.0))
    assert play(SETUP, faults=no_faults()).noise is None
    assert np.all(np.isinf(truth.snr_shot))


def test_data_follow_from_the_truth():
    """The equation in the docstring of `Truth`, with everything on but what its own test looks at."""
    faults = no_faults(
        coils=3, linewidth_hz=4.0, gauss_hz=5.0, offset_hz=3.0, drift_hz=8.0, walk_hz=2.0,
        frequency_jitter_hz=0.7, phase_drift_deg=20.0, phase_jitter_deg=30.0, corrupted=0.5,
        corrupted_kinds=("loss", "phase", "broadening"), residual_water=1e-3, residual_water_spread=0.5,
        residual_water_phase_deg=40.0, eddy_rad=0.8, eddy_fast_rad=0.3, eddy_metabolite=0.7,
    )  # fmt: skip
    scan = play(small_setup(offset_hz=-35.0), seed=4, faults=faults)
    truth = scan.truth
    assert set(truth.corrupted) == {"", "loss", "phase", "broadening"}
    for shot, data in enumerate(scan.data):
        turn = 2 * np.pi * (truth.frequency_hz[shot] - truth.receiver_hz[shot]) * T + truth.phase_rad[shot]
        if truth.is_water[shot]:
            fid = truth.water_fid * np.exp(1j * truth.eddy_rad)
        else:
            fid = truth.metabolite_fids[0] + truth.residual_water[shot] * truth.water_fid
            fid = fid * truth.gain[shot] * np.exp(-np.pi * truth.broadening_hz[shot] * T)
            fid = fid * np.exp(0.7j * truth.eddy_rad)
        close(data, np.outer(truth.sensitivities, fid * np.exp(1j * turn)))


def test_a_file_holds_what_is_played_in_memory(tmp_path):
    path, faults = tmp_path / "raw.h5", replace(load_faults("poor"), coils=5, clip_water=0.5)
    written = write_scan(SETUP, path, seed=3, faults=faults)
    scan = play(SETUP, seed=3, faults=faults)
    direct, read = scan_of(scan), read_mrd(path)
    for one, two in ((direct.metabolite, read.metabolite), (direct.water, read.water)):
        assert one.dims == two.dims
        np.testing.assert_array_equal(one.data, two.data)
        np.testing.assert_array_equal(one.noise, two.noise)
        assert (one.te_s, one.tr_s, one.f0_hz) == (two.te_s, two.tr_s, two.f0_hz)
    truth = read_truth(path)
    for name, value in vars(scan.truth).items():
        np.testing.assert_array_equal(getattr(truth, name), value, err_msg=name)
    assert json.loads(json.dumps(written, allow_nan=False)) == written


def test_the_file_says_where_the_voxel_is_and_what_was_played(tmp_path):
    setup = small_setup(shots=4, conditions=2)
    write_scan(setup, tmp_path / "raw.h5", faults=no_faults(snr=100.0, coils=2))
    with ismrmrd.Dataset(str(tmp_path / "raw.h5"), "dataset", create_if_needed=False) as dataset:
        header = ismrmrd.xsd.CreateFromDocument(dataset.read_xml_header())
        found = [dataset.read_acquisition(i) for i in range(dataset.number_of_acquisitions())][1:]
    size = header.encoding[0].encodedSpace.fieldOfView_mm
    assert (size.x, size.y, size.z) == (20.0, 25.0, 30.0)
    assert (header.sequenceParameters.TE, header.sequenceParameters.TR) == ([68.0], [2000.0])
    limits = header.encoding[0].encodingLimits
    assert (limits.average.maximum, limits.set.maximum) == (3, 1)
    assert [a.idx.set for a in found] == [0, 1] * 4 + [0, 0]
    assert [a.idx.average for a in found] == [0, 0, 1, 1, 2, 2, 3, 3, 0, 1]
    assert [a.is_flag_set(ismrmrd.ACQ_USER1) for a in found] == [False] * 8 + [True] * 2
    # Left, posterior, head from gradients of a patient head first and supine: y and z point the other way.
    assert list(found[0].position) == [5.0, 10.0, -15.0]
    assert (list(found[0].read_dir), list(found[0].phase_dir)) == ([1.0, 0.0, 0.0], [0.0, -1.0, 0.0])
    affine = scan_of(play(setup, faults=no_faults())).metabolite.geometry.affine
    np.testing.assert_allclose(affine[:3, 3], [-5.0, -10.0, -15.0])  # right, anterior, head
    np.testing.assert_allclose(np.diag(affine[:3, :3]), [-20.0, 25.0, -30.0])


def test_walk_jitter_and_phase_have_the_spread_that_was_asked():
    ends = [
        play(small_setup(9, 0, samples=16), seed=seed, faults=no_faults(walk_hz=3.0)).truth.frequency_hz
        for seed in range(200)
    ]
    assert np.std([walk[-1] for walk in ends]) == pytest.approx(3.0, rel=0.2)
    assert np.std([walk[4] for walk in ends]) == pytest.approx(3.0 / np.sqrt(2), rel=0.2)
    assert not np.any([walk[0] for walk in ends])
    truth = play(MANY, faults=no_faults(frequency_jitter_hz=2.0, phase_jitter_deg=25.0)).truth
    assert np.std(truth.frequency_hz) == pytest.approx(2.0, rel=0.15)
    assert np.std(np.rad2deg(truth.phase_rad)) == pytest.approx(25.0, rel=0.15)
    assert abs(np.corrcoef(truth.frequency_hz, truth.phase_rad)[0, 1]) < 0.2


def test_corrupted_shots_suffer_at_least_what_was_asked():
    truth = play(MANY, faults=no_faults(corrupted=0.125, corrupted_kinds=KINDS)).truth
    kind = np.array(truth.corrupted)
    assert {name: int(np.sum(kind == name)) for name in KINDS} == {
        "loss": 13,
        "phase": 13,
        "lipid": 12,
        "broadening": 12,
    }
    assert truth.gain[kind == "loss"].max() <= 0.5
    assert np.abs(np.rad2deg(truth.phase_rad[kind == "phase"])).min() >= 90
    assert np.ptp(np.sign(truth.phase_rad[kind == "phase"])) == 2
    assert np.abs(truth.lipid[kind == "lipid"]).min() >= 1.0
    assert truth.broadening_hz[kind == "broadening"].min() >= 8.0
    spared = kind == ""
    assert np.all(truth.gain[spared] == 1)
    assert not np.any(truth.phase_rad[spared])
    assert not np.any(truth.lipid[spared])
    np.testing.assert_array_equal(truth.is_corrupted, ~spared)


def test_water_references_are_spared_by_motion():
    truth = play(small_setup(4, 4), faults=no_faults(corrupted=1.0, residual_water=1e-3, lipid=1.0)).truth
    assert sorted(truth.corrupted[:4]) == ["lipid", "loss", "loss", "phase"]
    assert truth.corrupted[4:] == ("",) * 4
    assert not np.any(truth.lipid[4:])
    assert not np.any(truth.residual_water[4:])


def test_lipid_is_as_high_as_naa_and_where_lipid_is():
    _, found, plain = only(lipid=1.0, linewidth_hz=5.0)
    naa = np.abs(np.fft.fft(plain[0] * np.exp(-np.pi * 5.0 * T), 8 * T.size))
    ppm = 4.65 + np.fft.fftfreq(8 * T.size, T[1]) / F0_HZ * 1e6
    lipid = np.abs(np.fft.fft(found[0] - plain[0] * np.exp(-np.pi * 5.0 * T), 8 * T.size))
    assert lipid.max() == pytest.approx(naa[(ppm > 1.85) & (ppm < 2.15)].max(), rel=1e-3)
    assert ppm[np.argmax(lipid)] == pytest.approx(1.28, abs=0.01)


def test_an_echo_is_at_its_time_and_frequency():
    _, found, plain = only(echo=2.0, echo_time_s=0.15, echo_width_s=0.02, echo_hz=80.0, linewidth_hz=5.0)
    echo = found[:16] - (plain[:16] * np.exp(-np.pi * 5.0 * T))
    power = np.abs(echo) ** 2
    np.testing.assert_allclose(power @ T / power.sum(axis=1), 0.15, rtol=1e-4)
    np.testing.assert_allclose(
        np.sqrt(power @ (T - 0.15) ** 2 / power.sum(axis=1)), 0.02 / np.sqrt(2), rtol=1e-3
    )
    peak = np.fft.fftfreq(8 * T.size, T[1])[np.argmax(np.abs(np.fft.fft(echo[0], 8 * T.size)))]
    assert peak == pytest.approx(80.0, abs=0.5)
    assert np.ptp(np.angle(echo[:, 375])) < 1e-3  # of one phase
    truth = play(MANY, faults=no_faults(echo=1.0, echo_phase_deg=20.0)).truth
    assert np.std(np.rad2deg(truth.echo_rad)) == pytest.approx(20.0, rel=0.15)


def test_residual_water_of_several_lines_keeps_its_size_and_lies_about_water():
    _, found, plain = only(residual_water=1e-3, residual_water_lines=5)
    left = found[0] - plain[0]
    assert 0 < abs(left[0]) <= 80.0 * 1.001
    ppm = 4.65 + np.fft.fftfreq(T.size, T[1]) / F0_HZ * 1e6
    power = np.abs(np.fft.fft(left)) ** 2
    assert power[np.abs(ppm - 4.65) < 0.3].sum() > 0.97 * power.sum()
    truth = play(MANY, faults=no_faults(residual_water=0.01, residual_water_spread=0.2)).truth
    assert np.std(np.abs(truth.residual_water)) == pytest.approx(0.002, rel=0.15)


def test_a_clipped_adc_keeps_parts_below_full_scale_and_counts():
    plain = play(SETUP, faults=no_faults(coils=3))
    scan = play(SETUP, faults=no_faults(coils=3, clip_metabolite=0.5))
    full = np.abs(plain.data[:16]).max() * 0.5
    assert np.abs(scan.data[:16].view(np.float32)).max() == pytest.approx(full, rel=1e-5)
    beyond = np.abs(plain.data[:16].view(np.float32)).reshape(16, 3, -1, 2).max(axis=-1) > full * (1 + 1e-6)
    np.testing.assert_array_equal(scan.truth.clipped[:16], beyond.sum(axis=(1, 2)))
    assert scan.truth.clipped[0] > 0
    np.testing.assert_array_equal(scan.data[16:], plain.data[16:])


def test_the_receiver_spoils_first_samples():
    _, found, plain = only(spoiled_points=2, spoiled_gain=0.5, spoiled_phase_deg=60.0)
    start = 0.5 * np.exp(1j * np.pi / 3)
    close(found[:, 0], plain[:, 0] * start)
    close(found[:, 1], plain[:, 1] * (start + 1) / 2)
    close(found[:, 2:], plain[:, 2:])


def test_a_dead_coil_gives_noise_alone():
    scan = play(SETUP, faults=no_faults(coils=4, dead_coils=1, snr=100.0))
    assert np.abs(np.mean(scan.data[:, 3])) < 0.1 * np.std(scan.data[:, 3])
    assert np.std(scan.data[:, 3]) == pytest.approx(np.sqrt(scan.truth.noise_covariance[3, 3].real), rel=0.02)


def test_coils_see_what_is_outside_differently_but_not_their_best_combination():
    same, other = (
        play(
            SETUP,
            faults=no_faults(coils=6, lipid=1.0, echo=1.0, noise_correlation=0.5, noise_spread=0.4, **more),
        )
        for more in ({}, {"elsewhere": 0.8})
    )
    left = other.data - same.data
    assert np.linalg.norm(left[:16]) > 0.2 * np.linalg.norm(same.data[:16])
    assert not np.any(left[16:])
    assert np.linalg.matrix_rank(left[0], tol=1e-4 * np.abs(left[0]).max()) == 1
    # Without noise the covariance is zero: that of the same coils with some.
    covariance = play(SETUP, faults=replace(other.truth.faults, snr=50.0)).truth.noise_covariance
    weights = np.linalg.solve(covariance, other.truth.sensitivities)
    weights /= np.vdot(weights, other.truth.sensitivities)
    combined = [np.einsum("c,sct->st", weights.conj(), scan.data) for scan in (same, other)]
    close(combined[1], combined[0])
    close(left[0] / other.truth.outside[:, None], np.tile(left[0, 0] / other.truth.outside[0], (6, 1)), 1e-5)


@pytest.mark.parametrize("of", ["shot", "mean"])
def test_snr_is_that_of_naa_after_optimal_combination(of):
    setup = small_setup(shots=64, water=0, conditions=2)
    faults = no_faults(
        coils=6, snr=20.0, snr_of=of, linewidth_hz=4.0, noise_spread=0.5, noise_correlation=0.4
    )
    scan = play(setup, faults=faults)
    weights = np.linalg.solve(scan.truth.noise_covariance, scan.truth.sensitivities)
    weights /= np.vdot(weights, scan.truth.sensitivities)
    spectra = np.fft.fft(
        np.einsum("c,sct->st", weights.conj(), scan.data)[1::2], axis=-1
    )  # NAA is whole in 1
    clean = np.abs(np.fft.fft(scan.truth.metabolite_fids[1], 8192))
    single = clean[np.abs(np.fft.fftfreq(8192, T[1]) + 337.4) < 20].max() / np.std(
        (spectra - spectra.mean(0)).real
    )
    expected = 20.0 if of == "shot" else 20.0 / 8
    assert single == pytest.approx(expected, rel=0.02)
    np.testing.assert_allclose(scan.truth.snr_shot[1], expected, rtol=1e-6)
    np.testing.assert_allclose(scan.truth.snr_mean[1], 8 * expected, rtol=1e-6)
    assert scan.truth.snr_shot[0] < 0.5 * scan.truth.snr_shot[1]


def test_the_bounds_are_those_that_the_best_estimator_reaches():
    """Maximum likelihood on known signal: the peak of the correlation over frequency, then its phase."""
    scan = play(
        small_setup(shots=300, water=0), faults=no_faults(coils=2, snr=15.0, snr_of="shot", linewidth_hz=5.0)
    )
    weights = np.linalg.solve(scan.truth.noise_covariance, scan.truth.sensitivities)
    fids = np.einsum("c,sct->st", weights.conj() / np.vdot(scan.truth.sensitivities, weights), scan.data)
    trial = np.linspace(-4, 4, 801)
    overlap = (fids * scan.truth.metabolite_fids[0].conj()) @ np.exp(-2j * np.pi * np.outer(T, trial))
    best = np.argmax(np.abs(overlap), axis=1)
    frequency, phase = shot_bounds(scan.truth)
    assert np.std(trial[best]) == pytest.approx(frequency, rel=0.1)
    assert np.std(np.angle(overlap[np.arange(300), best])) == pytest.approx(phase, rel=0.1)


CHANGES = [
    {"drift_hz": 7.0}, {"walk_hz": 2.0}, {"frequency_jitter_hz": 1.0}, {"phase_jitter_deg": 40.0},
    {"corrupted": 0.5}, {"corrupted_kinds": ("phase",), "corrupted": 0.25}, {"residual_water": 0.01},
    {"residual_water_lines": 3}, {"residual_water_spread": 0.3}, {"lipid": 1.0}, {"eddy_rad": 1.0}, {"echo": 1.0},
    {"echo_phase_deg": 90.0}, {"spoiled_points": 3}, {"clip_water": 0.5}, {"offset_hz": 5.0},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_one_fault_does_not_change_the_draws_of_another(change):
    """Noise, coils and what the truth says of all else stay as they were."""
    base = Faults(
        coils=3, corrupted=0.25, walk_hz=1.0, frequency_jitter_hz=0.5, echo=0.5, residual_water_spread=0.1
    )
    setup = small_setup(shots=8, samples=64)
    one, two = (play(setup, seed=5, faults=faults) for faults in (base, replace(base, **change)))
    np.testing.assert_array_equal(one.noise, two.noise)
    np.testing.assert_array_equal(one.truth.sensitivities, two.truth.sensitivities)
    touched = {
        "drift_hz": "frequency_hz", "walk_hz": "frequency_hz", "offset_hz": "frequency_hz",
        "frequency_jitter_hz": "frequency_hz", "phase_jitter_deg": "phase_rad", "echo_phase_deg": "echo_rad",
        "residual_water": "residual_water", "residual_water_spread": "residual_water", "lipid": "lipid",
    }.get(next(iter(change)))  # fmt: skip
    for name in ("frequency_hz", "phase_rad", "gain", "lipid", "residual_water", "echo_rad", "broadening_hz"):
        before, after = getattr(one.truth, name), getattr(two.truth, name)
        if name == touched:
            assert np.any(before != after)
        elif "corrupted" not in change:
            np.testing.assert_array_equal(before, after, err_msg=name)
    if change == {"corrupted": 0.5}:
        assert set(np.flatnonzero(one.truth.is_corrupted)) < set(np.flatnonzero(two.truth.is_corrupted))
    if "clip_water" not in change and "spoiled_points" not in change:
        noise = [
            scan.data - play(setup, seed=5, faults=replace(f, snr=np.inf)).data
            for scan, f in ((one, base), (two, replace(base, **change)))
        ]
        scale = np.abs(one.data).max(axis=-1, keepdims=True)
        assert np.abs((noise[0] - noise[1]) / scale).max() < 1e-6


def test_one_seed_can_be_changed_alone():
    base = Faults(coils=3, corrupted=0.25)
    one, two = (play(SETUP, faults=f) for f in (base, replace(base, seeds={"noise": 8})))
    assert np.any(one.noise != two.noise)
    np.testing.assert_array_equal(one.truth.phase_rad, two.truth.phase_rad)
    assert one.truth.corrupted == two.truth.corrupted


def test_the_nifti_sense_is_the_conjugate_throughout():
    scan = play(SETUP, faults=Faults(coils=3, snr=1e6))
    truth, data = in_nifti_sense(scan.truth), scan_of(scan).metabolite.data
    turn = (
        2 * np.pi * np.multiply.outer(truth.frequency_hz[:16], T)
        + truth.phase_rad[:16, None]
        + truth.eddy_rad
    )
    fid = truth.metabolite_fids[0] + np.multiply.outer(truth.residual_water[:16], truth.water_fid)
    close(data, truth.sensitivities[:, None] * (fid * np.exp(1j * turn))[:, None], 3e-4)


def test_named_sets_load_and_a_file_changes_them(tmp_path):
    assert list_faults() == ["plain", "clean", "typical", "poor", "trial"]
    assert load_faults("plain") == Faults()
    for name in list_faults():
        play(small_setup(8, 1, samples=64), faults=load_faults(name))
    path = tmp_path / "mine.toml"
    path.write_text('base = "poor"\ncoils = 8\ncorrupted_kinds = ["phase"]\nseeds = { noise = 4 }\n')
    made = load_faults(path, snr=12.0, drift_hz=None)
    expected = asdict(load_faults("poor")) | {
        "coils": 8, "corrupted_kinds": ("phase",), "seeds": {"noise": 4}, "snr": 12.0,
    }  # fmt: skip
    assert asdict(made) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("drift = 3.0", "drift: unknown key; did you mean 'drift_hz'"),
        ("snr = -1.0", "snr = -1.0"),
        ('coils = "many"', "coils = 'many'"),
        ("corrupted_kinds = ['noise']", "corrupted_kinds.0"),
        ("base = 'best'", "base = 'best'"),
        ("seeds = { wind = 3 }", "seeds.wind"),
        ("snr = ", "not valid TOML"),
        ("coils = 2\ndead_coils = 2", "fewer than coils"),
    ],
)
def test_a_wrong_file_of_faults_is_one_clear_error(tmp_path, text, words):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        load_faults(path)


def test_what_is_no_set_and_no_file_is_an_error():
    with pytest.raises(InputError, match="plain, clean, typical"):
        load_faults("worst")


def test_every_source_of_chance_is_drawn_from():
    """A seed that nothing uses would be a promise that is not kept."""
    faults = replace(load_faults("poor"), coils=2, residual_water_lines=3)
    setup = small_setup(8, 1, samples=64)
    plain = play(setup, faults=faults).data
    for name in SOURCES:
        assert np.any(play(setup, faults=replace(faults, seeds={name: 9})).data != plain), name


def test_a_file_without_truth_is_refused(tmp_path):
    path = tmp_path / "raw.h5"
    with pytest.raises(DataError, match="no such file"):
        read_truth(path)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        read_truth(path)
    write_scan(small_setup(2, 1, samples=64), tmp_path / "good.h5")
    with ismrmrd.Dataset(str(tmp_path / "good.h5"), "dataset", create_if_needed=False) as dataset:
        text = dataset.read_xml_header()
    for old, new, words in (
        (b"<name>truth", b"<name>lies", "has no truth"),
        (b"frequency_hz", b"f_hz", "damaged truth"),
    ):
        other = tmp_path / f"{new[:3].decode().strip('<>')}.h5"
        with ismrmrd.Dataset(str(other), "dataset", create_if_needed=True) as dataset:
            dataset.write_xml_header(text.replace(old, new))
            dataset.append_acquisition(ismrmrd.Acquisition.from_array(np.zeros((1, 4), np.complex64)))
        with pytest.raises(DataError, match=words):
            read_truth(other)


def test_a_phantom_without_the_peak_of_its_snr_is_refused():
    phantom = replace(SETUP.phantom, concentrations_mm={"Cr": 1.0}, snr_ppm=(20.0, 22.0))
    with pytest.raises(InputError, match="no signal at 20 to 22 ppm"):
        play(replace(SETUP, phantom=phantom))


@settings(max_examples=40, deadline=None)
@given(
    shots=st.integers(1, 5), water=st.integers(0, 2), conditions=st.integers(1, 3), samples=st.integers(16, 40),
    seed=st.integers(0, 2**40),
    changes=st.fixed_dictionaries({}, optional={
        "coils": st.integers(1, 5), "snr": st.floats(1e-3, 1e9), "snr_of": st.sampled_from(["mean", "shot"]),
        "corrupted": st.floats(0, 1), "corrupted_kinds": st.lists(st.sampled_from(KINDS), min_size=1).map(tuple),
        "drift_hz": st.floats(-500, 500), "lipid": st.floats(0, 100), "echo": st.floats(0, 100),
        "echo_time_s": st.floats(0, 10), "echo_width_s": st.floats(1e-6, 1), "spoiled_points": st.integers(0, 64),
        "clip_metabolite": st.none() | st.floats(1e-3, 1), "clip_water": st.none() | st.floats(1e-3, 1),
        "noise_correlation": st.floats(0, 0.99), "noise_spread": st.floats(0, 2), "loss": st.floats(0, 1),
        "residual_water_lines": st.integers(1, 32), "eddy_time_s": st.floats(1e-6, 10), "elsewhere": st.floats(0, 10),
    }),
)  # fmt: skip
def test_any_faults_give_a_finite_scan_whose_truth_survives_json(
    shots, water, conditions, samples, seed, changes
):
    setup = small_setup(shots, water, conditions, samples)
    scan = play(setup, seed=seed, faults=Faults(**changes))
    assert scan.data.shape == (shots * conditions + water, scan.truth.faults.coils, samples)
    assert np.all(np.isfinite(scan.data))
    back = truth_from_json(json.loads(json.dumps(to_json(scan.truth), allow_nan=False)))
    for name, value in vars(scan.truth).items():
        np.testing.assert_array_equal(getattr(back, name), value, err_msg=name)
