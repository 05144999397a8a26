"""Raw image data beside the `.seq` that was played: which readout is which, streamed and never held as a whole."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.recon.image_plan import Encodes, ImagePlan, Indices, plan_image
from pulsespec.recon.mrd import is_mrd, mrd_stream
from pulsespec.recon.noise import CoilNoise, scanned_noise
from pulsespec.recon.sorting import matched, with_noise
from pulsespec.recon.stream import AdcStream
from pulsespec.recon.twix import is_twix, twix_stream
from pulsespec.simulator.timeline import Played
from pulsespec.simulator.trajectory import Trajectory

Samples = NDArray[np.complex64]


@dataclass(frozen=True)
class Source:
    """All readouts of an image, and what the sequence says of them."""

    stream: AdcStream
    rows: Indices
    """Number in the stream of each readout of the sequence."""
    played: Played
    plan: ImagePlan
    name: str
    """Of the `.seq`, for messages."""
    trajectory: Trajectory
    frequency_hz: NDArray[np.float64] | None = None
    """Offset of each readout that is taken away, as drift; positive is a higher frequency; shape (n_readouts,)."""

    @property
    def coils(self) -> int:
        """Receive coils, the same in all readouts."""
        return int(self.stream.shapes[self.rows[0], 0])


def image_stream(path: Path) -> AdcStream:
    """Return all readouts of a raw file, ISMRMRD or Siemens twix; `DataError` where it is neither."""
    if is_mrd(path):
        return mrd_stream(path)
    if is_twix(path):
        return twix_stream(path)
    raise DataError(f"{path}: expected raw data of an image as ISMRMRD or Siemens twix")


def source_of(stream: AdcStream, played: Played, trajectory: Trajectory, name: str) -> Source:
    """Return readouts and plan of an image.

    Raises
    ------
    DataError
        The readouts are not those of the sequence, in number or length, or differ in coils.
    SequenceError
        The sequence makes no image that is known here.

    """
    from pulsespec.recon.ring_sequence import plays_rings, ring_source  # which builds on this file

    if plays_rings(played):
        return ring_source(stream, played, trajectory, name)
    stream = joined(stream, played)
    rows = matched(stream, played.readouts, name)
    noise = np.array([bool(readout.labels.get("NOISE")) for readout in played.readouts])
    coils = np.unique(stream.shapes[rows, 0])
    if coils.size > 1:
        raise DataError(f"{stream.path}: readouts differ in coils: {coils.tolist()}, expected one number")
    plan = plan_image(played, trajectory, name)
    return Source(with_noise(stream, rows[noise]), rows, played, plan, name, trajectory)


@dataclass(frozen=True)
class _Joined:
    """Readouts of which each is several acquisitions of a file, one after another."""

    fetch: Callable[[Sequence[int]], Iterator[NDArray[Any]]]
    parts: tuple[tuple[int, ...], ...]

    def __call__(self, rows: Sequence[int]) -> Iterator[NDArray[Any]]:
        found = self.fetch([part for row in rows for part in self.parts[row]])
        for row in rows:
            pieces = [next(found) for _ in self.parts[row]]
            yield pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)


def joined(stream: AdcStream, played: Played) -> AdcStream:
    """Return a stream with one readout an ADC event where the file has cut long ones into consecutive acquisitions.

    ISMRMRD counts at most 65535 samples of an acquisition. Where lengths do not add up to those of the sequence, the
    stream is returned as it is.
    """
    own = np.flatnonzero(~stream.is_noise)
    if len(own) <= len(played.readouts):
        return stream
    parts: list[tuple[int, ...]] = [(int(row),) for row in np.flatnonzero(stream.is_noise)]
    flags = [True] * len(parts)
    at = 0
    for readout in played.readouts:
        taken: list[int] = []
        length = 0
        while length < readout.samples and at < len(own):
            taken.append(int(own[at]))
            length += int(stream.shapes[own[at], 1])
            at += 1
        if length != readout.samples:
            return stream
        parts.append(tuple(taken))
        flags.append(False)
    if at != len(own):
        return stream
    shapes = [(stream.shapes[rows[0], 0], int(stream.shapes[list(rows), 1].sum())) for rows in parts]
    return replace(
        stream,
        shapes=np.array(shapes, np.int64),
        fetch=_Joined(stream.fetch, tuple(parts)),
        is_noise=np.array(flags),
    )


def noise_of(source: Source) -> CoilNoise | None:
    """Return the noise of the coils in the sense of the scanner, or `None` without a noise scan."""
    samples = source.stream.noise(source.coils)
    return None if samples is None else scanned_noise(np.conj(samples), source.coils)


def shots(source: Source, encodes: Encodes, numbers: Sequence[int] | Indices) -> Iterator[Samples]:
    """Yield the samples of encodes as the scanner has them, averages averaged; (n_interleaves, n_coils, n_samples).

    Raises
    ------
    DataError
        A readout has values that are not finite.

    """
    for number in numbers:
        readouts = encodes.readouts[int(number)]
        averages, interleaves = readouts.shape
        total: Samples | None = None
        fetched = source.stream.fetch([int(row) for row in source.rows[readouts].ravel()])
        for count, shot in enumerate(fetched):
            if total is None:
                total = np.zeros((interleaves, *shot.shape), np.complex64)
            if source.frequency_hz is not None:
                shot = shot * _turn(source, int(readouts.ravel()[count]))
            total[count % interleaves] += shot
        assert total is not None
        total *= np.float32(1 / averages)
        if not np.isfinite(total.view(np.float32)).all():
            raise DataError(f"{source.stream.path}: has values that are not finite numbers: damaged")
        yield total


def _turn(source: Source, readout: int) -> Samples:
    """Return what takes the offset of a readout away from its samples; shape (n_samples,)."""
    assert source.frequency_hz is not None
    turns = float(source.frequency_hz[readout]) * source.trajectory.field_times_s(readout)
    return np.asarray(np.exp(-2j * np.pi * turns), np.complex64)
