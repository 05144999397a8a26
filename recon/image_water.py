"""Residual water of images: what `water_removal` does to one FID, for all voxels in batches.

The band about water is one linear space for all voxels; the exponentials beside it are each voxel's own. With the
band projected out of both, least squares with the exponentials alone is the joint fit (variable projection: Golub and
Pereyra 1973, doi:10.1137/0710036).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, ppm_to_hz, to_spectrum
from pulsespec.executor import map_blocks
from pulsespec.recon.hankel import batch_decay_rates
from pulsespec.recon.image_masks import Mask, require_images
from pulsespec.recon.subspace import band, coordinates, exponentials
from pulsespec.recon.transients import Record, Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

BLOCK = 128
"""Voxels of one block, whatever runs them, so that results do not depend on it."""
_WIDTHS_PPM = (0.14, 0.18, 0.22, 0.26, 0.3, 0.35)
_CHANCE = 3.0
_RCOND = 1e-6
_METABOLITES_PPM = (1.8, 3.4)


@dataclass(frozen=True)
class WaterBand:
    """Where water is looked for, and how."""

    dwell_s: float
    centre_hz: float
    """Of water, in the NIfTI-MRS sense."""
    halves_hz: tuple[float, ...]
    """Halves of the widths that are tried; signal beyond the last is not water."""
    components: int
    """Exponentials that stand for all else."""


def water_band(data: Transients, half_width_ppm: float = 0.4, components: int = 24) -> WaterBand:
    """Return where water of 4.65 ppm lies in data."""
    scale = data.f0_hz * 1e-6
    halves = (*(w for w in _WIDTHS_PPM if w < half_width_ppm), half_width_ppm)
    centre = float(ppm_to_hz(4.65, data.f0_hz, data.reference_ppm))
    return WaterBand(data.dwell_s, centre, tuple(half * scale for half in halves), components)


def without_water(fids: NDArray[np.complexfloating], how: WaterBand) -> Complex:
    """Return FIDs without residual water; shape (n_fids, samples).

    As in `water_removal.remove_water`, the band is widened for each FID until more width explains no more than noise.
    """
    whole = np.asarray(fids, np.complex128)
    others = _others(whole, how)
    noise = np.mean(np.abs(whole[:, -max(8, whole.shape[1] // 8) :]) ** 2, axis=1)
    grams = others @ others.conj().swapaxes(1, 2)
    rights = np.einsum("bks,bs->bk", others, whole.conj()).conj()
    norm = np.linalg.norm(whole, axis=1) ** 2
    best, energy, size = whole, np.full(whole.shape[0], np.inf), 0
    widening = np.ones(whole.shape[0], dtype=bool)
    for half in how.halves_hz:
        low, high = how.centre_hz - half, how.centre_hz + half
        own = coordinates(whole, how.dwell_s, low, high)
        beside = coordinates(others.reshape(-1, whole.shape[1]), how.dwell_s, low, high)
        beside = beside.reshape(*others.shape[:2], -1)
        coefficients, explained = _solve(
            grams - beside @ beside.conj().swapaxes(1, 2),
            rights - np.einsum("bkn,bn->bk", beside, own.conj()).conj(),
        )
        left = norm - np.linalg.norm(own, axis=1) ** 2 - explained
        more = own.shape[1] - size
        widening &= ~(energy - left < noise * (more + _CHANCE * np.sqrt(more)))
        if not widening.any():
            break
        water = (own - np.einsum("bk,bkn->bn", coefficients, beside)) @ band(
            whole.shape[1], how.dwell_s, low, high
        )
        best = np.where(widening[:, None], whole - water, best)
        energy, size = np.where(widening, left, energy), own.shape[1]
    return best


def _others(fids: Complex, how: WaterBand) -> Complex:
    """Return exponentials beyond the widest band, of norm 1, zero where a rate is not one; (n_fids, k, samples)."""
    rates = batch_decay_rates(fids, how.dwell_s, how.components)
    found = exponentials(rates.ravel(), fids.shape[1], how.dwell_s)
    found /= np.linalg.norm(found, axis=1)[:, None]
    far = np.abs(rates.imag / (2 * np.pi) - how.centre_hz) >= how.halves_hz[-1]
    return np.asarray(np.where(far[:, :, None], found.reshape(*rates.shape, -1), 0.0))


def _solve(gram: Complex, right: Complex) -> tuple[Complex, Real]:
    """Return coefficients (n, k) by truncated least squares, and the energy that they explain (n,).

    `gram` has the products <other_j, other_k*>; coefficients are those of FID = sum c_k other_k.
    """
    values, vectors = np.linalg.eigh(gram.conj())
    kept = values > _RCOND * np.maximum(values[:, -1:], 1e-300)
    inverse = np.where(kept, 1 / np.where(kept, values, 1.0), 0.0)
    turned = np.einsum("bkj,bk->bj", vectors.conj(), right)
    return np.einsum("bkj,bj->bk", vectors, inverse * turned), np.sum(inverse * np.abs(turned) ** 2, axis=1)


def remove_image_water(
    data: Transients,
    where: Mask,
    half_width_ppm: float = 0.4,
    components: int = 24,
    jobs: int = 1,
    spread: Callable[..., list[Complex]] = map_blocks,
) -> Transients:
    """Return images without residual water.

    Parameters
    ----------
    data
        Dims ("x", "y", "z", "t").
    where
        Voxels that are cleaned; the others stay as they are; shape (x, y, z).
    half_width_ppm
        Half the width about 4.65 ppm in which signal counts as water.
    components
        Exponentials that stand for all else in a voxel.
    jobs
        Processes over which blocks of voxels are spread.
    spread
        What spreads the blocks, called as `map_blocks` is.

    Returns
    -------
    Data whose record has `water_left`: the largest point in that window over the largest metabolite peak between 1.8
    and 3.4 ppm, shape (x, y, z), NaN elsewhere.

    """
    require_images(data, "water removal")
    how = water_band(data, half_width_ppm, components)
    fids = data.data[where]
    blocks = [fids[first : first + BLOCK] for first in range(0, len(fids), BLOCK)]
    cleaned = np.array(data.data)
    if blocks:
        cleaned[where] = np.concatenate(spread(partial(without_water, how=how), blocks, jobs))
    left, before = (_left(part[where], data, half_width_ppm) for part in (cleaned, data.data))
    image = np.full(where.shape, np.nan)
    image[where] = left
    return data.with_data(cleaned, _record(before, left, image, half_width_ppm, components))


def _left(fids: NDArray[np.complexfloating], data: Transients, half_width_ppm: float) -> Real:
    """Return the largest point near water over that of the metabolites, in each FID."""
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    bell = np.cos(0.5 * np.pi * np.arange(data.samples) / data.samples) ** 2
    near = np.abs(ppm - 4.65) < half_width_ppm
    beside = (ppm > _METABOLITES_PPM[0]) & (ppm < _METABOLITES_PPM[1])
    found = []
    for first in range(0, len(fids), BLOCK):
        size = np.abs(to_spectrum(fids[first : first + BLOCK] * bell))
        water, others = (size[:, part].max(axis=1, initial=0.0) for part in (near, beside))
        found.append(water / np.maximum(others, 1e-300))
    return np.concatenate(found) if found else np.zeros(0)


def _record(before: Real, left: Real, image: Real, half_width_ppm: float, components: int) -> Record:
    if not left.size:
        return Record("Nuisance peak removal", "water: no voxel is in the mask")
    over = float(np.mean(left > 1))
    details = (
        f"water within {half_width_ppm:g} ppm of 4.65 ppm beside {components} exponentials (HSVD), {left.size} voxels; "
        f"largest point there over the largest metabolite peak {np.median(before):.3g} before, {np.median(left):.3g} "
        f"after (median), {np.quantile(left, 0.95):.3g} in 95 %; larger than the metabolites in {100 * over:.1f} %"
    )
    figures = {"water_left": image, "share_over": over, "before": float(np.median(before))}
    return Record("Nuisance peak removal", details, figures)
