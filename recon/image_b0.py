"""The field in each voxel from its water: a map in Hz, voxels aligned by it, and the phase of water taken away.

In the sense of the scanner: a positive offset is a higher field. Where water is too weak to tell, the offset is that
of the neighbours, weighted by their water.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pulsespec.errors import DataError
from pulsespec.executor import map_blocks
from pulsespec.recon.eddy import phase_of_fid

Samples = NDArray[np.complex64]
Floats = NDArray[np.float64]

_BAND_PPM = 1.3
"""Half the band about 4.65 ppm in which signal is water; lipid begins 3.3 ppm away."""
_HEARD_S = 0.06
_STRONG = 10.0
"""Water over the noise of one sample from which its own field and phase are used."""
_NEIGHBOURS_VOXELS = 2.0
_TAIL = 4


@dataclass(frozen=True)
class Field:
    """Offset of water in each voxel."""

    offset_hz: Floats
    """From 4.65 ppm, positive where the field is higher; shape (x, y, z)."""
    strong: NDArray[np.bool_]
    """Whether the voxel's own water says so; shape (x, y, z)."""
    noise: float
    """Standard deviation of one complex sample of the image."""


def noise_of_image(fids: Samples) -> float:
    """Return the standard deviation of a complex sample, from the ends of the FIDs: median over voxels."""
    tail = fids[..., -(fids.shape[-1] // _TAIL) :]
    each = np.sqrt(np.mean(np.abs(np.diff(tail, axis=-1)) ** 2, axis=-1) / 2)
    positive = each[each > 0]
    return float(np.median(positive)) if positive.size else 0.0


def field_of(water: Samples, dwell_s: float, f0_hz: float, centre_hz: float = 0.0) -> Field:
    """Return the field from water FIDs in the sense of the scanner.

    Parameters
    ----------
    water
        Shape (x, y, z, t).
    dwell_s, f0_hz
        Of the data.
    centre_hz
        Frequency of water at 4.65 ppm on the axis of the data.

    """
    noise = noise_of_image(water)
    strong = np.abs(water[..., :4]).mean(axis=-1) > _STRONG * noise
    offsets = np.zeros(water.shape[:3])
    for x in range(water.shape[0]):
        offsets[x] = _offset(water[x], dwell_s, _BAND_PPM * f0_hz * 1e-6, centre_hz)
    weight = np.where(strong, np.abs(water[..., :4]).mean(axis=-1), 0.0)
    return Field(np.where(strong, offsets, _spread(offsets, weight)), strong, noise)


def _offset(fids: Samples, dwell_s: float, band_hz: float, centre_hz: float) -> Floats:
    """Return the frequency of the strongest part of each FID in the band of water, from `centre_hz`; no last axis."""
    points = fids.shape[-1]
    hz = np.fft.fftfreq(points, dwell_s)
    near = np.abs(hz - centre_hz) < max(band_hz, 3 / (points * dwell_s))
    kept = np.asarray(scipy.fft.ifft(scipy.fft.fft(fids, axis=-1) * near, axis=-1))
    t = np.arange(points) * dwell_s
    kept = kept * np.exp(-2j * np.pi * centre_hz * t)
    heard = kept[..., : max(8, min(points, round(_HEARD_S / dwell_s)))]
    turn = np.sum(np.conj(heard[..., :-1]) * heard[..., 1:], axis=-1)
    coarse = np.angle(turn) / (2 * np.pi * dwell_s)
    t = t[: heard.shape[-1]]
    flat = heard * np.exp(-2j * np.pi * coarse[..., None] * t)
    phase = np.angle(flat * np.conj(flat.sum(axis=-1, keepdims=True)))
    weight = np.abs(flat) ** 2 + 1e-30
    mean_t = np.sum(weight * t, axis=-1, keepdims=True) / weight.sum(axis=-1, keepdims=True)
    slope = np.sum(weight * (t - mean_t) * phase, axis=-1) / np.sum(weight * (t - mean_t) ** 2, axis=-1)
    return np.asarray(coarse + slope / (2 * np.pi), np.float64)


def _spread(values: Floats, weight: Floats) -> Floats:
    """Return values averaged over neighbours by their weight; their mean where there is none near."""
    from scipy.ndimage import gaussian_filter  # only where a map is filled

    if not weight.any():
        return np.zeros_like(values)
    sigma = [_NEIGHBOURS_VOXELS if n > 1 else 0.0 for n in values.shape]
    total = gaussian_filter(weight, sigma, mode="constant")
    mean = gaussian_filter(weight * values, sigma, mode="constant") / np.maximum(total, 1e-30)
    everywhere = float(np.average(values, weights=weight))
    return np.where(total > 1e-6 * weight.max(), mean, everywhere)


def aligned(fids: Samples, field: Field, dwell_s: float) -> None:
    """Turn the FIDs of an image, in place, so that water lies at 4.65 ppm in every voxel."""
    t = np.arange(fids.shape[-1]) * dwell_s
    for x in range(fids.shape[0]):
        fids[x] *= np.exp(-2j * np.pi * field.offset_hz[x][..., None] * t)


def turned_back(fids: Samples, field: Field, time_s: float) -> None:
    """Take away, in place, the phase that the field has made in `time_s` before the first sample."""
    fids *= np.exp(-2j * np.pi * field.offset_hz * time_s).astype(np.complex64)[..., None]


@dataclass(frozen=True)
class _Block:
    fids: Samples
    """Aligned water; shape (n, t)."""
    dwell_s: float


def water_phases(
    water: Samples, field: Field, dwell_s: float, jobs: int = 1
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the phase of aligned water over time in voxels where it is strong, and which these are.

    Returns
    -------
    Phase in rad, shape (n_strong, t), and whether each voxel has one, shape (x, y, z); their order is that of
    boolean indexing.

    """
    chosen = water[field.strong]
    blocks = [_Block(chosen[start : start + 512], dwell_s) for start in range(0, len(chosen), 512)]
    parts = map_blocks(_phases, blocks, jobs)
    if not parts:
        return np.zeros((0, water.shape[-1])), np.zeros_like(field.strong)
    phases = np.concatenate(parts)
    usable = np.isfinite(phases[:, 0])
    where = field.strong.copy()
    where[field.strong] = usable
    return phases[usable], where


def _phases(block: _Block) -> Floats:
    out = np.full(block.fids.shape, np.nan)
    for number, fid in enumerate(block.fids):
        try:
            out[number] = phase_of_fid(fid.astype(np.complex128), block.dwell_s, "water")[0]
        except DataError:
            continue
    return out
