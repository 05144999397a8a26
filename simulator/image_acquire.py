"""A virtual scan of a head as a file: ISMRMRD raw data with the truth in the header.

One acquisition an ADC event, in the order of the `.seq`, preceded by one of noise alone. Samples are what a receiver
stores: Pulseq sense. `idx.kspace_encode_step_1` and `_2` are the labels LIN and PAR, `idx.phase` PHS, `idx.average`
AVG, `idx.set` SET, `idx.user[0]` the interleave SEG; water carries the flag ACQ_USER1. ISMRMRD counts at most 65535
samples of an acquisition: a longer ADC event is written as consecutive acquisitions of equal length, whole echoes each,
which `idx.segment` counts. k-space and time stamps are those of the `.seq`.

Signals are made in blocks of shots, over processes if asked, in a scratch folder beside the output; noise and what
befalls a shot are added as it is written. Memory does not grow with the scan.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ismrmrd
import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import field_from_larmor
from pulsespec.executor import iter_blocks
from pulsespec.files import atomic_path, refuse_existing
from pulsespec.simulator.acquire import WATER_FLAG
from pulsespec.simulator.grid import RAS_FROM_GRADIENT
from pulsespec.simulator.image_faults import ImageFaults
from pulsespec.simulator.image_play import (
    ImagePerformance,
    Task,
    befallen,
    evolutions,
    image_noise_scan,
    make_signals,
    prepare_image,
    stage_of,
    tasks_of,
)
from pulsespec.simulator.image_setup import ImageSetup
from pulsespec.simulator.image_signal import Stage
from pulsespec.simulator.image_truth import image_truth
from pulsespec.simulator.truth import PARAMETER

Raw = NDArray[np.complex64]
Indices = NDArray[np.int64]

LONGEST = 65535
"""Samples of the longest acquisition that ISMRMRD counts."""
_BLOCK_BYTES = 1 << 31
"""Of the signals that one block leaves in the scratch folder."""
_BYTES = 8
_LPS_FROM_GRADIENT = np.diag([-1.0, -1.0, 1.0]) @ RAS_FROM_GRADIENT


def write_image(
    setup: ImageSetup,
    output: Path,
    *,
    seed: int = 0,
    faults: ImageFaults | None = None,
    overwrite: bool = False,
    jobs: int = 1,
    scratch: Path | None = None,
) -> ImagePerformance:
    """Play a sequence on a head and write the raw data.

    Parameters
    ----------
    setup
        Sequence and head: `set_up_image`.
    output
        ISMRMRD file to write.
    seed
        Of noise and faults: the same seed gives the same file, whatever `jobs` is.
    faults
        What the scan suffers from.
    overwrite
        Whether an existing `output` is replaced.
    jobs
        Number of processes.
    scratch
        Folder for signals under way, a few gigabytes at most; by default that of `output`.

    Returns
    -------
    What was played: its maps and its truth.

    """
    refuse_existing(Path(output), overwrite)
    show = prepare_image(setup, seed=seed, faults=faults)
    folder = Path(output).absolute().parent if scratch is None else scratch
    with atomic_path(output, overwrite) as temporary, tempfile.TemporaryDirectory(dir=folder) as under_way:
        dataset = ismrmrd.Dataset(str(temporary), "dataset", create_if_needed=True)
        try:
            dataset.write_xml_header(_header(show))
            for acquisition in _acquisitions(show, Path(under_way), jobs):
                dataset.append_acquisition(acquisition)
        finally:
            dataset.close()
    return show


@dataclass(frozen=True)
class _Block:
    """A run of shots, and the file that takes their signals one after another."""

    stage: Stage
    tasks: tuple[Task, ...]
    shots: Indices
    path: Path
    places: Indices
    """Number of the first sample of each shot in the file."""
    sizes: Indices
    """Samples of each shot; shape (n_shots,)."""


def _make(block: _Block) -> Path:
    """Work out the signals of a block's shots into its file."""
    coils = len(block.stage.coils)
    order = {int(shot): number for number, shot in enumerate(block.shots)}
    with block.path.open("wb", buffering=0) as file:
        file.truncate(int(block.sizes.sum()) * coils * _BYTES)

        def put(shots: Indices, part: slice, samples: Raw) -> None:
            for shot, row in zip(shots, samples, strict=True):
                number = order[int(shot)]
                for coil, run in enumerate(row):
                    at = (
                        int(block.places[number]) * coils + coil * int(block.sizes[number]) + part.start
                    ) * _BYTES
                    os.pwrite(file.fileno(), np.ascontiguousarray(run).data, at)

        make_signals(block.stage, block.tasks, put)
    return block.path


def blocks_of(show: ImagePerformance) -> list[Indices]:
    """Return runs of shots whose signals fit into a block: those of one partition together, where they can be."""
    trajectory = show.trajectory
    size = (
        np.array([trajectory.trains[kind].times_s.size for kind in trajectory.kinds])
        * show.faults.coils
        * _BYTES
    )
    partition = np.rint((trajectory.offsets_per_m @ show.setup.grid.axes)[:, 2] * 1e2).astype(np.int64)
    runs = np.split(np.arange(partition.size), np.flatnonzero(np.diff(partition)) + 1)
    found: list[list[int]] = [[]]
    for run in runs:
        pieces = np.array_split(run, max(int(np.ceil(size[run].sum() / _BLOCK_BYTES)), 1))
        for piece in pieces:
            if found[-1] and size[found[-1]].sum() + size[piece].sum() > _BLOCK_BYTES:
                found.append([])
            found[-1] += piece.tolist()
    return [np.array(shots, np.int64) for shots in found]


def _signals(show: ImagePerformance, folder: Path, jobs: int) -> Iterator[tuple[int, Raw]]:
    """Yield the number of each shot and its signal before what befalls it; (n_coils, n_samples)."""
    trajectory, stage, coils = show.trajectory, stage_of(show), show.faults.coils
    samples = np.array([trajectory.trains[kind].times_s.size for kind in trajectory.kinds])
    known = evolutions(show, stage)
    blocks = []
    for number, shots in enumerate(blocks_of(show)):
        sizes = samples[shots]
        places = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        blocks.append(
            _Block(stage, tasks_of(show, known, shots), shots, folder / f"block-{number}.raw", places, sizes)
        )
    for block, path in zip(blocks, iter_blocks(_make, blocks, jobs), strict=True):
        with path.open("rb") as file:
            for shot, size in zip(block.shots, block.sizes, strict=True):
                data = np.fromfile(file, np.complex64, coils * int(size))
                yield int(shot), data.reshape(coils, int(size))
        path.unlink()


def _acquisitions(show: ImagePerformance, folder: Path, jobs: int) -> Iterator[ismrmrd.Acquisition]:
    """Yield noise, then every shot in one or several parts."""
    noise = image_noise_scan(show)
    counter = 0
    if noise is not None:
        first = _acquisition(show, noise, 0)
        first.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        yield first
    last = len(show.setup.played.readouts) - 1
    for shot, signal in _signals(show, folder, jobs):
        data = befallen(show, shot, signal)
        parts = np.split(data, parts_of(data.shape[1], _echo_samples(show)), axis=1)
        for number, part in enumerate(parts):
            counter += 1
            made = _acquisition(show, part, shot)
            _labelled(made, show, shot)
            made.scan_counter, made.idx.segment = counter, number
            if shot == last and number == len(parts) - 1:
                made.set_flag(ismrmrd.ACQ_LAST_IN_MEASUREMENT)
            yield made


def parts_of(samples: int, echo_samples: int) -> int:
    """Return into how many equal parts a readout is written, each of whole echoes and short enough to be counted."""
    count = -(-samples // LONGEST)
    whole = max(echo_samples, 1)
    while samples % count or (samples // count) % whole:
        count += 1
        if samples // count < whole:
            return _equal(samples)
    return count


def _equal(samples: int) -> int:
    return next(n for n in range(-(-samples // LONGEST), samples + 1) if samples % n == 0)


def _echo_samples(show: ImagePerformance) -> int:
    found = show.setup.played.numbers("EchoSamples")
    return int(found[0]) if found.size else 1


def _acquisition(show: ImagePerformance, data: Raw, shot: int) -> ismrmrd.Acquisition:
    made = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data))
    made.sample_time_us = show.setup.played.readouts[shot].dwell_s * 1e6
    made.available_channels = data.shape[0]
    grid = show.setup.grid
    made.position[:] = (_LPS_FROM_GRADIENT @ grid.centre_m * 1e3).tolist()
    axes = _LPS_FROM_GRADIENT @ grid.axes
    for name, axis in zip(("read_dir", "phase_dir", "slice_dir"), axes.T, strict=True):
        getattr(made, name)[:] = axis.tolist()
    return made


def _labelled(made: ismrmrd.Acquisition, show: ImagePerformance, shot: int) -> None:
    labels = {name: int(values[shot]) for name, values in show.trajectory.labels.items()}
    made.idx.kspace_encode_step_1, made.idx.kspace_encode_step_2 = labels["LIN"], labels["PAR"]
    made.idx.phase, made.idx.average, made.idx.set = labels["PHS"], labels["AVG"], labels["SET"]
    made.idx.user[0] = labels["SEG"]
    made.acquisition_time_stamp = round(float(show.trajectory.begins_s[shot]) * 1e3)
    if show.setup.played.readouts[shot].is_water_reference:
        made.set_flag(WATER_FLAG)


def _header(show: ImagePerformance) -> bytes:
    xsd, setup, timeline = ismrmrd.xsd, show.setup, show.setup.timeline
    te_s, tr_s = timeline.seconds("TE"), timeline.seconds("TR")
    name = timeline.name
    header = xsd.ismrmrdHeader(
        measurementInformation=xsd.measurementInformationType(
            patientPosition=xsd.patientPositionType.HFS, protocolName=name, sequenceName=name
        ),
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=round(timeline.f0_hz)),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemVendor="pulsespec",
            systemModel="virtual scanner",
            systemFieldStrength_T=field_from_larmor(timeline.f0_hz, timeline.nucleus),
            receiverChannels=show.faults.coils,
        ),
        encoding=[_encoding(setup)],
        sequenceParameters=xsd.sequenceParametersType(
            TE=[] if te_s is None else [te_s * 1e3],
            TR=[] if tr_s is None else [tr_s * 1e3],
            sequence_type=name,
        ),
        userParameters=xsd.userParametersType(
            userParameterDouble=[xsd.userParameterDoubleType(name="f0_hz", value=timeline.f0_hz)],
            userParameterString=[
                xsd.userParameterStringType(
                    name=PARAMETER, value=json.dumps(image_truth(show), allow_nan=False)
                )
            ],
        ),
    )
    return str(header.toXML("utf-8")).encode()


def _encoding(setup: ImageSetup) -> "ismrmrd.xsd.encodingType":
    xsd, grid = ismrmrd.xsd, setup.grid
    x, y, z = grid.shape
    fov = grid.spacing_m * np.asarray(grid.shape) * 1e3
    space = xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=x, y=y, z=z),
        fieldOfView_mm=xsd.fieldOfViewMm(x=float(fov[0]), y=float(fov[1]), z=float(fov[2])),
    )
    labels = setup.trajectory.labels

    def limit(name: str, centre: int) -> "ismrmrd.xsd.limitType":
        return xsd.limitType(minimum=0, maximum=int(labels[name].max()), center=centre)

    return xsd.encodingType(
        encodedSpace=space,
        reconSpace=space,
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_1=limit("LIN", y // 2),
            kspace_encoding_step_2=limit("PAR", z // 2),
            phase=limit("PHS", x // 2 if labels["PHS"].max() else 0),
            average=limit("AVG", 0),
        ),
        trajectory=xsd.trajectoryType.OTHER,
    )
