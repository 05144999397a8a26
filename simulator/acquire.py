"""A virtual scan as a file: ISMRMRD raw data with the truth in the header.

One acquisition an ADC event, in the order of the file, preceded by one of noise alone. Samples are what a
receiver stores: Pulseq sense, demodulated with the ADC's own phase. `idx.average` counts the shots of one
kind, `idx.set` is the label SET; acquisitions with the label REF (unsuppressed water) carry the flag ACQ_USER1.
Shots are made and written one at a time.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import ismrmrd
import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import field_from_larmor
from pulsespec.files import atomic_path
from pulsespec.simulator.basis import Basis
from pulsespec.simulator.faults import Faults
from pulsespec.simulator.phantom import Phantom
from pulsespec.simulator.play import Performance, noise_scan, prepare, shots_of, truth_of
from pulsespec.simulator.receiver import Raw
from pulsespec.simulator.setup import Place, Setup, set_up
from pulsespec.simulator.truth import PARAMETER, to_json

__all__ = ["WATER_FLAG", "Faults", "acquire", "write_scan"]

WATER_FLAG = ismrmrd.ACQ_USER1
"""Acquisitions of unsuppressed water carry this flag."""
_LPS_FROM_GRADIENT = np.diag([1.0, -1.0, -1.0])
"""Patient axes (left, posterior, head) from gradient axes for a patient head first and supine, as on Siemens."""


def acquire(
    sequence: Path,
    basis: Basis | Mapping[int, Basis],
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
        What that file makes of each metabolite: `simulate(sequence)`, or one for each editing condition.
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
    The truth, as it stands in the header; `read_truth` reads it from the file.

    Raises
    ------
    MismatchError
        A basis was computed from another sequence or another condition.
    InputError
        A basis lacks a metabolite of the phantom, or water, or an editing condition is without basis.
    SequenceError
        The file is no single-voxel sequence with metabolite shots.

    """
    return write_scan(set_up(sequence, basis, phantom), output, seed=seed, faults=faults, overwrite=overwrite)


def write_scan(
    setup: Setup, output: Path, *, seed: int = 0, faults: Faults | None = None, overwrite: bool = False
) -> dict[str, object]:
    """Write the scan that `play` returns for the same arguments; return its truth."""
    show = prepare(setup, seed=seed, faults=faults)
    clipped = np.zeros(len(setup.readouts), np.int64)
    with atomic_path(output, overwrite) as temporary:
        dataset = ismrmrd.Dataset(str(temporary), "dataset", create_if_needed=True)
        try:
            for acquisition in _acquisitions(show, clipped):
                dataset.append_acquisition(acquisition)
            truth = to_json(truth_of(show, clipped))
            dataset.write_xml_header(_header(show, truth))
        finally:
            dataset.close()
    return truth


def _acquisitions(show: Performance, clipped: NDArray[np.int64]) -> Iterator[ismrmrd.Acquisition]:
    """Yield noise and shots; what was clipped is counted in place."""
    noise = noise_scan(show)
    if noise is not None:
        first = _acquisition(noise, show.setup)
        first.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        yield first
    counts: dict[tuple[bool, int], int] = {}
    for shot, data, count in shots_of(show):
        clipped[shot] = count
        readout = show.setup.readouts[shot]
        kind = (readout.is_water_reference, readout.condition)
        counts[kind] = counts.get(kind, -1) + 1
        made = _acquisition(data, show.setup)
        made.scan_counter = shot + 1
        made.idx.average, made.idx.set = counts[kind], readout.condition
        if readout.is_water_reference:
            made.set_flag(WATER_FLAG)
        if shot == len(show.setup.readouts) - 1:
            made.set_flag(ismrmrd.ACQ_LAST_IN_MEASUREMENT)
        yield made


def _acquisition(data: Raw, setup: Setup) -> ismrmrd.Acquisition:
    made = ismrmrd.Acquisition.from_array(data)
    made.sample_time_us = setup.dwell_s * 1e6
    made.available_channels = data.shape[0]
    if setup.place is not None:
        _put(made, setup.place)
    return made


def _put(made: ismrmrd.Acquisition, place: Place) -> None:
    """State centre and axes of the voxel in patient coordinates (left, posterior, head; mm)."""
    made.position[:] = (_LPS_FROM_GRADIENT @ place.position_mm).tolist()
    axes = _LPS_FROM_GRADIENT @ place.axes
    for name, axis in zip(("read_dir", "phase_dir", "slice_dir"), axes.T, strict=True):
        getattr(made, name)[:] = axis.tolist()


def _header(show: Performance, truth: dict[str, object]) -> bytes:
    xsd, setup, basis = ismrmrd.xsd, show.setup, show.setup.basis
    header = xsd.ismrmrdHeader(
        measurementInformation=xsd.measurementInformationType(
            patientPosition=xsd.patientPositionType.HFS,
            protocolName=basis.sequence,
            sequenceName=basis.sequence,
        ),
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=round(basis.f0_hz)),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemVendor="pulsespec",
            systemModel="virtual scanner",
            systemFieldStrength_T=field_from_larmor(basis.f0_hz, basis.nucleus),
            receiverChannels=show.faults.coils,
        ),
        encoding=[_encoding(setup)],
        sequenceParameters=xsd.sequenceParametersType(
            TE=[] if basis.te_s is None else [basis.te_s * 1e3],
            TR=[] if basis.tr_s is None else [basis.tr_s * 1e3],
            sequence_type=basis.sequence,
        ),
        userParameters=xsd.userParametersType(
            userParameterDouble=[xsd.userParameterDoubleType(name="f0_hz", value=basis.f0_hz)],
            userParameterString=[
                xsd.userParameterStringType(name=PARAMETER, value=json.dumps(truth, allow_nan=False))
            ],
        ),
    )
    return str(header.toXML("utf-8")).encode()


def _encoding(setup: Setup) -> "ismrmrd.xsd.encodingType":
    xsd = ismrmrd.xsd
    x, y, z = (1.0, 1.0, 1.0) if setup.place is None else (float(mm) for mm in setup.place.size_mm)
    space = xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=setup.samples, y=1, z=1),
        fieldOfView_mm=xsd.fieldOfViewMm(x=x, y=y, z=z),
    )
    kinds = [(one.is_water_reference, one.condition) for one in setup.readouts]
    most = max(kinds.count(kind) for kind in set(kinds))
    return xsd.encodingType(
        encodedSpace=space,
        reconSpace=space,
        encodingLimits=xsd.encodingLimitsType(
            average=xsd.limitType(minimum=0, maximum=most - 1, center=0),
            set=xsd.limitType(minimum=0, maximum=max(condition for _, condition in kinds), center=0),
        ),
        trajectory=xsd.trajectoryType.OTHER,
    )
