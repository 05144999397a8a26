"""A small virtual scanner: a `.seq` played on a voxel of tissue, raw data in ISMRMRD with the truth in the header.

One acquisition an ADC event, in the order of the file, preceded by one of noise alone. Samples are what a
receiver stores: Pulseq sense, demodulated with the ADC's own phase. `idx.average` counts the shots of one
kind, `idx.set` is the label SET; acquisitions with the label REF (unsuppressed water) carry the flag ACQ_USER1.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import ismrmrd
import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import field_from_larmor
from pulsespec.errors import InputError, MismatchError
from pulsespec.files import atomic_path
from pulsespec.simulator.basis import Basis, Lines, render
from pulsespec.simulator.phantom import Phantom
from pulsespec.simulator.timeline import LabelledReadout, read_readouts
from pulsespec.simulator.tissue_lines import tissue_lines

Complex = NDArray[np.complex128]

_NOISE_SAMPLES = 16384


@dataclass(frozen=True)
class Faults:
    """What a scan suffers from; every number is part of the truth in the header."""

    coils: int = 4
    noise_correlation: float = 0.2
    """Correlation of the noise of neighbouring coils; it falls with the distance as a power."""
    snr: float = 60.0
    """Largest peak of the mean metabolite spectrum over its noise, coils combined optimally."""
    linewidth_hz: float = 4.0
    """Lorentzian full width at half maximum."""
    gauss_hz: float = 3.0
    """Gaussian full width at half maximum."""
    drift_hz: float = 3.0
    """Linear change of frequency from the first to the last shot."""
    phase_jitter_deg: float = 5.0
    """Standard deviation of the phase of a shot."""
    residual_water: float = 5e-4
    """Share of water that suppression leaves."""
    eddy_rad: float = 0.4
    """Phase that decaying eddy currents add over the readout."""
    eddy_time_s: float = 0.05
    """Time constant of the eddy currents."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.coils < 1 or not self.snr > 0 or not 0 <= self.noise_correlation < 1:
            raise InputError(
                f"faults: coils {self.coils}, snr {self.snr}, noise_correlation {self.noise_correlation}: "
                "expected at least 1, above 0 and from 0 to below 1"
            )


def acquire(
    sequence: Path,
    basis: Basis,
    phantom: Phantom,
    output: Path,
    *,
    seed: int = 0,
    faults: Faults | None = None,
    overwrite: bool = False,
) -> dict[str, object]:
    """Play a sequence on a phantom and write the raw data.

    Parameters
    ----------
    sequence
        The `.seq` file; its ADC events and labels give the order of shots.
    basis
        What that file makes of each metabolite: `simulate(sequence)`.
    phantom
        What is in the voxel.
    output
        ISMRMRD file to write.
    seed
        Of coils, noise and faults: the same seed gives the same file.
    faults
        What the scan suffers from.
    overwrite
        Whether an existing `output` is replaced.

    Returns
    -------
    The truth, as it stands in the header.

    Raises
    ------
    MismatchError
        The basis was computed from another sequence.
    InputError
        The basis lacks a metabolite of the phantom, or water.

    """
    faults = faults or Faults()
    readouts = read_readouts(sequence)
    _check(sequence, basis, phantom)
    rng = np.random.default_rng(seed)
    metabolites, water = _signals(basis, phantom, readouts[0], faults)
    coils = _sensitivities(rng, faults.coils)
    covariance = _covariance(metabolites, coils, readouts, faults)
    frequency = np.linspace(-0.5, 0.5, len(readouts)) * faults.drift_hz
    phase = np.deg2rad(rng.normal(0.0, faults.phase_jitter_deg, len(readouts)))
    truth = {
        "phantom": phantom.name,
        "concentrations_mm": dict(phantom.concentrations_mm),
        "broad_mm": dict(phantom.broad_mm),
        "water_mm": phantom.water_mm,
        "seed": seed,
        "faults": asdict(faults),
        "sequence_hash": basis.sequence_hash,
        "frequency_hz": frequency.tolist(),
        "phase_rad": phase.tolist(),
    }
    t = np.arange(readouts[0].samples) * readouts[0].dwell_s
    factor = np.linalg.cholesky(covariance).astype(np.complex128)
    with atomic_path(output, overwrite) as temporary:
        dataset = ismrmrd.Dataset(str(temporary), "dataset", create_if_needed=True)
        try:
            dataset.write_xml_header(_header(basis, readouts[0], faults, truth))
            dataset.append_acquisition(_noise_acquisition(factor, rng, readouts[0]))
            counts: dict[tuple[bool, int], int] = {}
            for number, readout in enumerate(readouts):
                clean = water if readout.is_water_reference else metabolites + faults.residual_water * water
                fid = clean * np.exp(
                    1j * (2 * np.pi * (frequency[number] - readout.offset_hz) * t + phase[number])
                )
                data = coils[:, None] * fid + _noise(factor, rng, readout.samples)
                kind = (readout.is_water_reference, readout.condition)
                counts[kind] = counts.get(kind, -1) + 1
                dataset.append_acquisition(_acquisition(data, readout, number, counts[kind]))
        finally:
            dataset.close()
    return truth


def _check(sequence: Path, basis: Basis, phantom: Phantom) -> None:
    digest = hashlib.sha256(Path(sequence).read_bytes()).hexdigest()
    if digest != basis.sequence_hash:
        raise MismatchError(
            f"{sequence}: its hash is {digest[:12]}, but the basis was computed from {basis.sequence_hash[:12]}"
        )
    missing = [name for name in phantom.concentrations_mm if name not in basis.names]
    if missing or basis.water is None:
        raise InputError(f"basis: lacks {', '.join(missing) or 'water'}, which phantom {phantom.name} has")


def _signals(
    basis: Basis, phantom: Phantom, readout: LabelledReadout, faults: Faults
) -> tuple[Complex, Complex]:
    """Return the FIDs of metabolites and of unsuppressed water, in mM of protons, Pulseq sense."""
    assert basis.water is not None
    t = np.arange(readout.samples) * readout.dwell_s
    shape = np.exp(-np.pi * faults.linewidth_hz * t - (np.pi * faults.gauss_hz * t) ** 2 / (4 * np.log(2)))
    shape = shape * np.exp(1j * faults.eddy_rad * (1 - np.exp(-t / faults.eddy_time_s)))
    parts: dict[str, tuple[float, Lines]] = {
        name: (value, basis.lines[name]) for name, value in phantom.concentrations_mm.items()
    }
    for name, lines in tissue_lines(basis.f0_hz, tuple(phantom.broad_mm), basis.reference_ppm).items():
        parts[name] = (phantom.broad_mm[name], lines)
    total = sum(
        (value * render(lines, readout.samples, readout.dwell_s) for value, lines in parts.values()),
        start=np.zeros(readout.samples, dtype=complex),
    )
    water = phantom.water_mm * render(basis.water, readout.samples, readout.dwell_s)
    return total * shape, water * shape


def _sensitivities(rng: np.random.Generator, coils: int) -> Complex:
    size = rng.uniform(0.4, 1.0, coils)
    return np.asarray(size * np.exp(2j * np.pi * rng.uniform(0, 1, coils)))


def _covariance(
    metabolites: Complex, coils: Complex, readouts: tuple[LabelledReadout, ...], faults: Faults
) -> Complex:
    """Return the noise covariance of the coils for one sample, so that the mean spectrum has the SNR."""
    distance = np.abs(np.subtract.outer(np.arange(coils.size), np.arange(coils.size)))
    shape = np.where(distance == 0, 1.0, faults.noise_correlation**distance).astype(complex)
    gain = float(np.real(coils.conj() @ np.linalg.solve(shape, coils)))
    peak = float(np.abs(np.fft.fft(metabolites)).max())
    shots = sum(not readout.is_water_reference for readout in readouts)
    # noise of one bin of the real spectrum: sd sqrt(samples / 2) / sqrt(shots gain)
    sd = peak / faults.snr / np.sqrt(metabolites.size / 2) * np.sqrt(max(shots, 1) * gain)
    return np.asarray(sd**2 * shape)


def _noise(factor: Complex, rng: np.random.Generator, samples: int) -> Complex:
    white = rng.normal(size=(2, factor.shape[0], samples)) / np.sqrt(2)
    return np.asarray(factor @ (white[0] + 1j * white[1]))


def _acquisition(data: Complex, readout: LabelledReadout, number: int, average: int) -> ismrmrd.Acquisition:
    acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data, dtype=np.complex64))
    acquisition.scan_counter = number + 1
    acquisition.sample_time_us = readout.dwell_s * 1e6
    acquisition.idx.average = average
    acquisition.idx.set = readout.condition
    if readout.is_water_reference:
        acquisition.set_flag(ismrmrd.ACQ_USER1)
    return acquisition


def _noise_acquisition(
    factor: Complex, rng: np.random.Generator, readout: LabelledReadout
) -> ismrmrd.Acquisition:
    data = _noise(factor, rng, _NOISE_SAMPLES)
    acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data, dtype=np.complex64))
    acquisition.sample_time_us = readout.dwell_s * 1e6
    acquisition.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    return acquisition


def _header(basis: Basis, readout: LabelledReadout, faults: Faults, truth: dict[str, object]) -> bytes:
    xsd = ismrmrd.xsd
    space = xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=readout.samples, y=1, z=1),
        fieldOfView_mm=xsd.fieldOfViewMm(x=1.0, y=1.0, z=1.0),
    )
    encoding = xsd.encodingType(
        encodedSpace=space,
        reconSpace=space,
        encodingLimits=xsd.encodingLimitsType(),
        trajectory=xsd.trajectoryType.OTHER,
    )
    header = xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=round(basis.f0_hz)),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemVendor="pulsespec",
            systemModel="virtual scanner",
            systemFieldStrength_T=field_from_larmor(basis.f0_hz, basis.nucleus),
            receiverChannels=faults.coils,
        ),
        encoding=[encoding],
        sequenceParameters=xsd.sequenceParametersType(
            TE=[] if basis.te_s is None else [basis.te_s * 1e3],
            TR=[] if basis.tr_s is None else [basis.tr_s * 1e3],
            sequence_type=basis.sequence,
        ),
        userParameters=xsd.userParametersType(
            userParameterDouble=[xsd.userParameterDoubleType(name="f0_hz", value=basis.f0_hz)],
            userParameterString=[xsd.userParameterStringType(name="truth", value=json.dumps(truth))],
        ),
    )
    return str(header.toXML("utf-8")).encode()
