"""Points at known places and frequencies, played through a `.seq`: raw image data with an exact truth.

k is integrated here from the corners of the gradients of each readout's block and added to the moment that the
trajectory has at its start; the signal of a point is exp(+i 2 pi k.r) exp(+i 2 pi f t) at the sample.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pypulseq

from pulsespec.protocols import load_protocol
from pulsespec.recon.image_read import source_of
from pulsespec.recon.stream import AdcStream
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator.timeline import read_played
from pulsespec.simulator.trajectory import read_trajectory

SCANNERS = {1.5: "siemens-aera", 3.0: "siemens-prisma", 7.0: "siemens-terra"}
TURNED = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))


def write_image_sequence(
    path, name="epsi-3t-whole-brain", matrix=(12, 6, 4), points=64, train=None, **changes
):
    """Write a protocol of the library with few encodes and nothing before its excitation."""
    protocol = load_protocol(name)
    old = protocol.encoding
    fov = tuple(extent * m / n for extent, m, n in zip(old.fov_mm, matrix, old.matrix, strict=True))
    update = {
        "encoding": old.model_copy(update={"matrix": matrix, "fov_mm": fov} | changes.pop("encoding", {})),
        "water_suppression": None,
        "inversion": None,
        "dummies": 0,
        "water_dummies": 0,
        "points": points,
    }
    if train:
        update["train"] = protocol.train.model_copy(update=train)
    protocol = protocol.model_copy(update=update | changes)
    write_sequence(build(protocol, load_scanner(SCANNERS[protocol.field_t])), path)
    return path


@dataclass(frozen=True)
class Point:
    """A point that shines."""

    position_m: tuple
    """In gradient coordinates."""
    hz: float = 0.0
    """Offset from the receiver, Pulseq's sense."""
    amplitude: complex = 1.0
    decay_s: float = 0.05
    water: complex = 0.0
    """Its amplitude where the readout is of water, whose offset is `field_hz` alone."""
    field_hz: float = 0.0


@dataclass(frozen=True)
class Made:
    """What is wrong with the scanner."""

    coils: object = None
    """Function of position (n, 3) to sensitivities (n_coils, n); one coil of 1 by default."""
    delay_s: float = 0.0
    phase_rad: float = 0.0
    """Of echoes under a negative gradient."""
    noise: float = 0.0
    correlation: object = None
    """Cholesky factor of the coils' noise."""
    seed: int = 1
    eddy: object = None
    """Function of time since the start of the readout to phase in rad, of all signal."""
    drift_hz: float = 0.0
    """Change of frequency from the start of the first readout to that of the last, linear and 0 in between."""
    f0_hz: float = 123.25e6
    facts: dict = field(default_factory=dict)


def course(block, axis, start):
    """Return k along an axis over time from the start of a block, by integrating between its corners."""
    gradient = getattr(block, axis)
    if gradient is None:
        return lambda t: np.full(np.shape(t), start)
    if gradient.type == "trap":
        steps = np.cumsum([0.0, gradient.rise_time, gradient.flat_time, gradient.fall_time])
        times, values = gradient.delay + steps, np.array([0.0, 1.0, 1.0, 0.0]) * gradient.amplitude
    else:
        times, values = gradient.delay + np.asarray(gradient.tt), np.asarray(gradient.waveform)
    areas = np.concatenate([[0.0], np.cumsum(np.diff(times) * (values[1:] + values[:-1]) / 2)])

    def at(t):
        t = np.clip(t, times[0], times[-1])
        n = np.clip(np.searchsorted(times, t, side="right") - 1, 0, times.size - 2)
        into = t - times[n]
        slope = (values[n + 1] - values[n]) / (times[n + 1] - times[n])
        return start + areas[n] + values[n] * into + slope * into**2 / 2

    return at


@lru_cache(maxsize=8)
def opened(path):
    """Return trajectory, readouts and the block of each readout of a file."""
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    kinds, seen = [], {}
    for number, ids in sequence.block_events.items():
        if ids[5]:
            key = tuple(int(i) for i in ids[2:6])
            if key not in seen:
                seen[key] = sequence.get_block(number)
            kinds.append(seen[key])
    return read_trajectory(path), read_played(path), kinds


def played(path, points, made=None):
    """Return the stream of a scan of some points, noise first where there is noise."""
    made = made or Made()
    trajectory, known, blocks = opened(path)
    where = np.array([p.position_m for p in points], float)
    coils = np.ones((1, len(points))) if made.coils is None else np.asarray(made.coils(where))
    rng = np.random.default_rng(made.seed)
    pathway = np.size(known.definitions.get("Pathway", (-1,)))
    shots = []

    def noise(samples):
        white = rng.normal(size=(coils.shape[0], samples, 2)) @ [1, 1j] * made.noise / np.sqrt(2)
        return white if made.correlation is None else made.correlation @ white

    if made.noise:
        shots.append(noise(4096))
    cache = {}
    for number, readout in enumerate(known.readouts):
        kind = trajectory.kinds[number]
        train = trajectory.trains[kind]
        if kind not in cache:
            late = train.times_s - made.delay_s
            block = blocks[number]
            cache[kind] = np.stack([course(block, a, 0.0)(late) for a in ("gx", "gy", "gz")], axis=1)
        k = trajectory.offsets_per_m[number] + cache[kind]
        times = trajectory.times_s(number)
        water = readout.is_water_reference
        since = times if water or pathway == 1 else times - float(np.ravel(known.definitions["TE"])[0])
        hz = np.array([p.field_hz if water else p.hz + p.field_hz for p in points])
        amplitude = np.array([p.water if water else p.amplitude for p in points])
        rates = 2j * np.pi * hz[:, None] * since - (times - times[0]) / np.array(
            [[p.decay_s] for p in points]
        )
        signal = amplitude[:, None] * np.exp(rates + 2j * np.pi * where @ k.T)
        if made.phase_rad:
            back = (train.gradient_hz_per_m @ _axis(known)) < 0
            signal = signal * np.exp(1j * made.phase_rad * back)
        if made.eddy is not None:
            signal = signal * np.exp(1j * made.eddy(times - times[0]))
        if made.drift_hz:
            begins = trajectory.begins_s
            along = (begins[number] - begins[0]) / np.ptp(begins) - 0.5
            signal = signal * np.exp(2j * np.pi * made.drift_hz * along * since)
        shot = coils @ signal
        shots.append((shot + noise(shot.shape[1]) if made.noise else shot).astype(np.complex64))
    shapes = np.array([shot.shape for shot in shots], np.int64)
    flags = np.zeros(len(shots), bool)
    flags[0] = bool(made.noise)
    facts = {"f0_hz": made.f0_hz, "header": {"manufacturer": "pulsespec"}} | made.facts
    shots = [np.asarray(shot, np.complex64) for shot in shots]
    return AdcStream(Path("made.h5"), shapes, lambda rows: (shots[row] for row in rows), facts, flags)


def _axis(known):
    return np.ravel(known.definitions.get("VoxelOrientation", np.eye(3))).reshape(3, 3)[:, 0]


def source(path, points, made=None):
    """Return the same as the reconstruction has it."""
    trajectory, known, _ = opened(path)
    return source_of(played(path, points, made), known, trajectory, path.name)


def world_mm(position_m):
    """Return patient coordinates (right, anterior, superior) of the virtual scanner's gradients, head first supine."""
    return np.array([-1.0, 1.0, -1.0]) * np.asarray(position_m) * 1e3


def index_of(geometry, position_m):
    """Return the fractional index of a place."""
    return (np.linalg.inv(geometry.affine) @ [*world_mm(position_m), 1.0])[:3]


def write_mrd(stream, path, f0_hz=123.25e6):
    """Write a stream as ISMRMRD, one acquisition a readout, as the virtual scanner does."""
    import ismrmrd

    xsd = ismrmrd.xsd
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    size = xsd.matrixSizeType(x=1, y=1, z=1)
    space = xsd.encodingSpaceType(matrixSize=size, fieldOfView_mm=xsd.fieldOfViewMm(x=1.0, y=1.0, z=1.0))
    header = xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=round(f0_hz)),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(systemVendor="pulsespec"),
        encoding=[
            xsd.encodingType(
                encodedSpace=space,
                reconSpace=space,
                encodingLimits=xsd.encodingLimitsType(),
                trajectory=xsd.trajectoryType.OTHER,
            )
        ],
    )
    for number, shot in enumerate(stream.fetch(range(len(stream)))):
        made = ismrmrd.Acquisition.from_array(shot)
        made.sample_time_us = 2.5
        if stream.is_noise[number]:
            made.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        dataset.append_acquisition(made)
    dataset.write_xml_header(str(header.toXML("utf-8")).encode())
    dataset.close()
    return path
