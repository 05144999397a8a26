"""The virtual scanner: what is in the file is what was asked for."""

import json
from dataclasses import replace

import ismrmrd
import numpy as np
import pytest
import sequences_for_tests as seqs

from pulsespec.errors import InputError, MismatchError
from pulsespec.recon import mrd
from pulsespec.simulator import simulate
from pulsespec.simulator.acquire import Faults, acquire
from pulsespec.simulator.basis import render
from pulsespec.simulator.phantom import Phantom, list_phantoms, load_phantom

PHANTOM = Phantom("test", {"Gly": 10.0, "Cr": 4.0}, 40000.0, {"MM09": 2.0})
CLEAN = Faults(
    coils=3, snr=1e7, drift_hz=0.0, phase_jitter_deg=0.0, residual_water=0.0, eddy_rad=0.0, gauss_hz=0.0,
    linewidth_hz=2.0,
)  # fmt: skip
METABOLITE_SHOTS, WATER_SHOTS = 6, 2


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    path = seqs.labelled_shots(tmp_path_factory.mktemp("scan") / "shots.seq", METABOLITE_SHOTS, WATER_SHOTS)
    return path, simulate(path, ["Gly", "Cr"])


def play(scan, folder, faults, phantom=PHANTOM, seed=0, name="raw.h5"):
    """Play and read back with ismrmrd alone: truth, header, noise (coil, t), metabolite and water (shot, coil, t)."""
    truth = acquire(*scan, phantom, folder / name, seed=seed, faults=faults, overwrite=True)
    dataset = ismrmrd.Dataset(str(folder / name), "dataset", create_if_needed=False)
    try:
        header = ismrmrd.xsd.CreateFromDocument(dataset.read_xml_header())
        found = [dataset.read_acquisition(i) for i in range(dataset.number_of_acquisitions())]
    finally:
        dataset.close()
    is_noise = [a.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT) for a in found]
    assert is_noise == [True] + [False] * (len(found) - 1)
    is_water = [a.is_flag_set(ismrmrd.ACQ_USER1) for a in found[1:]]
    assert is_water == [False] * METABOLITE_SHOTS + [True] * WATER_SHOTS
    data = np.array([a.data for a in found[1:]], dtype=complex)
    return truth, header, found[0].data, data[:METABOLITE_SHOTS], data[METABOLITE_SHOTS:]


def test_header_states_the_truth_and_the_scan(scan, tmp_path):
    truth, header, *_ = play(scan, tmp_path, Faults(coils=3))
    strings = {p.name: p.value for p in header.userParameters.userParameterString}
    doubles = {p.name: p.value for p in header.userParameters.userParameterDouble}
    assert json.loads(strings["truth"]) == truth
    assert truth["concentrations_mm"] == dict(PHANTOM.concentrations_mm)
    assert truth["sequence_hash"] == scan[1].sequence_hash
    assert doubles["f0_hz"] == pytest.approx(seqs.F0_HZ)
    assert header.experimentalConditions.H1resonanceFrequency_Hz == round(seqs.F0_HZ)
    assert header.sequenceParameters.TR == [1000.0]
    assert header.acquisitionSystemInformation.receiverChannels == 3


def test_without_faults_every_coil_sees_the_basis_at_the_phantom_s_concentrations(scan, tmp_path):
    """Metabolite over water is free of coils and scale: Pulseq sense, 10 and 4 mM against 40 M."""
    basis = scan[1]
    phantom = replace(PHANTOM, broad_mm={})
    *_, metabolite, water = play(scan, tmp_path, CLEAN, phantom)
    t = np.arange(512) * 5e-4
    shape = np.exp(-np.pi * 2.0 * t)
    expected = (
        sum(c * render(basis.lines[n], 512, 5e-4) for n, c in phantom.concentrations_mm.items()) * shape
    )
    expected_water = phantom.water_mm * render(basis.water, 512, 5e-4) * shape
    coils = water[:, :, 0].mean(0) / expected_water[0]
    assert np.ptp(np.abs(coils)) > 0.01
    for data, signal in ((metabolite, expected), (water, expected_water)):
        ideal = coils[:, None] * signal
        assert np.linalg.norm(data.mean(0) - ideal) < 1e-4 * np.linalg.norm(ideal)


def test_noise_has_the_correlation_that_was_asked(scan, tmp_path):
    _, _, noise, *_ = play(scan, tmp_path, Faults(coils=4, noise_correlation=0.5))
    covariance = noise @ noise.conj().T / noise.shape[1]
    correlation = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)).real)
    distance = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    np.testing.assert_allclose(correlation, 0.5**distance, atol=5 / np.sqrt(noise.shape[1]))
    power = np.diag(covariance).real
    np.testing.assert_allclose(power, power.mean(), rtol=5 / np.sqrt(noise.shape[1]))
    assert abs(np.mean(noise**2)) < 5 / np.sqrt(noise.size) * power.mean()  # circular


def test_noise_of_the_shots_is_the_noise_of_the_noise_scan(scan, tmp_path):
    _, _, noise, metabolite, _ = play(scan, tmp_path, replace(CLEAN, coils=2, snr=20.0))
    left = metabolite[1:] - metabolite[:-1]
    measured = np.mean(np.abs(left) ** 2) / 2
    assert measured == pytest.approx(np.mean(np.abs(noise) ** 2), rel=0.08)


def test_the_combined_mean_spectrum_has_the_snr_that_was_asked(scan, tmp_path):
    quiet = play(scan, tmp_path, CLEAN)[3]
    _, _, noise, metabolite, _ = play(scan, tmp_path, replace(CLEAN, snr=30.0))
    covariance = noise @ noise.conj().T / noise.shape[1]
    sensitivity = quiet.mean(0)[:, 0]
    weights = np.linalg.solve(covariance, sensitivity)
    weights = weights / (sensitivity.conj() @ weights)
    clean = np.fft.fft(weights.conj() @ quiet.mean(0))
    noise_only = np.fft.fft(weights.conj() @ metabolite.mean(0)) - clean
    assert np.abs(clean).max() / np.std(noise_only.real) == pytest.approx(30.0, rel=0.15)


def test_drift_and_jitter_are_those_of_the_truth(scan, tmp_path):
    faults = replace(CLEAN, drift_hz=6.0, phase_jitter_deg=10.0)
    still = play(scan, tmp_path, CLEAN)[3]
    truth, _, _, metabolite, _ = play(scan, tmp_path, faults)
    assert truth["frequency_hz"][0] == -3.0
    assert truth["frequency_hz"][-1] == 3.0
    assert np.std(truth["phase_rad"]) > 0.02
    t = np.arange(512) * 5e-4
    for shot, reference, frequency, phase in zip(
        metabolite, still, truth["frequency_hz"], truth["phase_rad"], strict=False
    ):
        expected = reference * np.exp(1j * (2 * np.pi * frequency * t + phase))
        assert np.linalg.norm(shot - expected) < 1e-4 * np.linalg.norm(expected)


def test_eddy_currents_turn_metabolites_and_water_alike(scan, tmp_path):
    plain = play(scan, tmp_path, CLEAN)
    turned = play(scan, tmp_path, replace(CLEAN, eddy_rad=0.5, eddy_time_s=0.03))
    t = np.arange(512) * 5e-4
    factor = np.exp(0.5j * (1 - np.exp(-t / 0.03)))
    for before, after in zip(plain[3:], turned[3:], strict=True):
        assert np.linalg.norm(after - before * factor) < 1e-4 * np.linalg.norm(before)


def test_residual_water_is_a_share_of_the_water(scan, tmp_path):
    dry = play(scan, tmp_path, CLEAN)
    wet = play(scan, tmp_path, replace(CLEAN, residual_water=1e-3))
    share = 1e-3 * dry[4].mean(0)
    assert np.linalg.norm(wet[3].mean(0) - dry[3].mean(0) - share) < 1e-3 * np.linalg.norm(share)


def test_a_seed_gives_one_scan(scan, tmp_path):
    first, again, other = (play(scan, tmp_path, Faults(), seed=seed) for seed in (7, 7, 8))
    for one, two, three in zip(first[2:], again[2:], other[2:], strict=True):
        np.testing.assert_array_equal(one, two)
        assert np.abs(one - three).max() > 0


def test_what_does_not_belong_together_is_refused_and_leaves_nothing(scan, tmp_path):
    path, basis = scan
    output = tmp_path / "raw.h5"
    with pytest.raises(MismatchError, match="computed from"):
        acquire(path, replace(basis, sequence_hash="0" * 64), PHANTOM, output)
    with pytest.raises(InputError, match="lacks NAA"):
        acquire(path, basis, replace(PHANTOM, concentrations_mm={"NAA": 1.0}), output)
    with pytest.raises(InputError, match="lacks water"):
        acquire(path, replace(basis, water=None), PHANTOM, output)
    with pytest.raises(InputError, match="snr"):
        Faults(snr=0.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", list_phantoms())
def test_shipped_phantoms_have_a_source_and_positive_concentrations(name):
    phantom = load_phantom(name)
    assert phantom.source
    assert all(value > 0 for value in [*phantom.concentrations_mm.values(), phantom.water_mm])


def test_an_unknown_phantom_is_an_error():
    with pytest.raises(InputError, match="white-noise"):
        load_phantom("white-noise")


def test_the_flags_of_the_reader_are_those_of_the_format():
    left_out = ("NAVIGATION_DATA", "RTFEEDBACK_DATA", "HPFEEDBACK_DATA", "DUMMYSCAN_DATA")
    assert tuple(getattr(ismrmrd, f"ACQ_IS_{name}") for name in left_out) == mrd._LEFT_OUT
    assert (mrd._NOISE, mrd._PHASE_CORRECTION, mrd.WATER_FLAG) == (
        ismrmrd.ACQ_IS_NOISE_MEASUREMENT,
        ismrmrd.ACQ_IS_PHASECORR_DATA,
        ismrmrd.ACQ_USER1,
    )
