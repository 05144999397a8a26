"""Scalp lipid that the point-spread function has carried into the brain, told by where it comes from.

What is measured is the object blurred by known k-space weights. The fat under the scalp is taken for sources on a
finer grid within the head outside the brain; regularised least squares finds them from the voxels outside the brain,
and what they cast into the brain is subtracted. Only what looks like lipid takes part: FIDs are first projected onto
the strongest signals of the scalp, so metabolites and noise are not moved. A lesion's own lipid stays, for its place is
not the scalp (spatial priors: Adany et al. 2021, doi:10.1002/mrm.28949; spatial and spectral subspaces: Ma et al. 2016,
doi:10.1002/mrm.25635, recalled).
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pulsespec.executor import map_blocks
from pulsespec.recon.image_masks import Mask
from pulsespec.recon.image_regrid import filter_of
from pulsespec.recon.lipid_operator import LipidOperator
from pulsespec.recon.transients import Transients

Complex = NDArray[np.complexfloating]
Real = NDArray[np.float64]

_STEP = "Spatial Fourier transform"
_FINER = 2
"""Sources a voxel along each encoded axis."""
_REGULARISATION = np.float32(1e-5)
"""Of the largest eigenvalue, which is about 1."""
_ITERATIONS = 60
_ENOUGH = 1e-4
_SIGNALS = 24
_TOGETHER = 4
_TINY = np.float32(1e-30)
_WEAKEST = 1e-5
"""Power over that of the strongest signal of the scalp, below which one is noise or metabolites."""


@dataclass(frozen=True)
class Blur:
    """How an image shows sources on a finer grid."""

    weights: Real
    """Of k-space as `numpy.fft.fftn` orders it; shape (x, y, z)."""
    finer: tuple[int, int, int]
    """Sources a voxel along each axis."""

    @property
    def fine_shape(self) -> tuple[int, int, int]:
        """Sources along each axis."""
        x, y, z = (n * f for n, f in zip(self.weights.shape, self.finer, strict=True))
        return x, y, z

    def image(self, sources: Complex) -> Complex:
        """Return the images of sources; shape (n, *fine_shape) to (n, x, y, z)."""
        spectra = sources
        for axis, fine in enumerate(self.fine_shape, 1):
            spectra = np.take(scipy.fft.fft(spectra, axis=axis), self._kept(axis - 1, fine), axis=axis)
        return np.asarray(scipy.fft.ifftn(spectra * self._transfer, axes=(1, 2, 3)))

    def adjoint(self, images: Complex) -> Complex:
        """Return the adjoint of `image`; shape (n, x, y, z) to (n, *fine_shape)."""
        spectra = scipy.fft.fftn(images, axes=(1, 2, 3)) * self._transfer.conj()
        for axis, fine in reversed(list(enumerate(self.fine_shape, 1))):
            padded = np.zeros((*spectra.shape[:axis], fine, *spectra.shape[axis + 1 :]), spectra.dtype)
            padded[(slice(None),) * axis + (self._kept(axis - 1, fine),)] = spectra
            spectra = scipy.fft.ifft(padded, axis=axis)
        return np.asarray(spectra * np.float32(np.prod(self.finer)))

    def _kept(self, axis: int, fine: int) -> NDArray[np.int64]:
        """Return which frequencies of the fine grid the image has."""
        n = self.weights.shape[axis]
        return np.asarray(np.round(np.fft.fftfreq(n) * n).astype(np.int64) % fine)

    @cached_property
    def _transfer(self) -> NDArray[np.complex64]:
        """Weights, and the phase that puts the sources of a voxel evenly about its centre."""
        phase = np.ones(self.weights.shape, np.complex128)
        for axis, (n, finer) in enumerate(zip(self.weights.shape, self.finer, strict=True)):
            turns = np.fft.fftfreq(n) * (0.5 / finer - 0.5)
            phase = phase * np.exp(-2j * np.pi * turns).reshape([-1 if a == axis else 1 for a in range(3)])
        return np.asarray(self.weights * phase, np.complex64)


def k_weights(data: Transients) -> Real | None:
    """Return the weights of k-space that images were made with, by their record; `None` where it does not say.

    Shape (x, y, z), ordered as by `numpy.fft.fftn`.
    """
    record = next((one for one in data.records if one.method == _STEP), None)
    figures: dict[str, Any] = {} if record is None else record.figures
    shape = data.data.shape[:3]
    name = filter_of(str(figures.get("filter", "none")))
    if "matrix" in figures:
        weights = np.ones(shape)
        for axis, (n, encoded) in enumerate(zip(shape, figures["matrix"], strict=True)):
            step = np.fft.fftfreq(n) * n
            inside = (step >= -(encoded // 2)) & (step < encoded - encoded // 2)
            values = np.where(inside, name(np.clip(2 * step / max(encoded, 2), -1, 1)), 0.0)
            weights = weights * values.reshape([-1 if a == axis else 1 for a in range(3)])
        return weights
    if "edge_per_m" in figures and data.geometry is not None:
        steps = [np.fft.fftfreq(n, mm * 1e-3) for n, mm in zip(shape, data.geometry.voxel_mm, strict=True)]
        radius = np.sqrt(
            steps[0][:, None, None] ** 2 + steps[1][None, :, None] ** 2 + 0 * steps[2][None, None, :]
        )
        share = radius / float(figures["edge_per_m"])
        return np.where(share <= 1, name(np.minimum(share, 1.0)), 0.0)
    return None


def lipid_from_scalp(
    data: Transients, weights: Real, head: Mask, brain: Mask, operator: LipidOperator, jobs: int = 1
) -> NDArray[np.complex64]:
    """Return the scalp lipid that lies in each voxel of the brain; shape (n_brain, samples).

    Parameters
    ----------
    data
        Images without water, dims ("x", "y", "z", "t").
    weights
        Of k-space, by `k_weights`.
    head, brain
        Masks; sources lie in the head outside the brain.
    operator
        Of the scalp, for the signals that count as lipid.
    jobs
        Processes that signals are spread over.

    """
    signals = _signals(operator)
    finer = tuple(_FINER if n > 1 else 1 for n in weights.shape)
    blur = Blur(weights, (finer[0], finer[1], finer[2]))
    fine = head & ~brain
    for axis, count in enumerate(blur.finer):
        fine = np.repeat(fine, count, axis=axis)
    maps = np.moveaxis(data.data @ signals.conj(), 3, 0).astype(np.complex64)
    blocks = [maps[first : first + _TOGETHER] for first in range(0, len(maps), _TOGETHER)]
    cast = np.concatenate(map_blocks(partial(_cast, blur, fine, brain), blocks, jobs))
    return np.asarray(cast.T @ signals.T, np.complex64)


def _cast(blur: Blur, fine: Mask, brain: Mask, maps: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return what the sources of maps (n, x, y, z) cast into the brain; shape (n, n_brain)."""
    sources = _least_squares(blur, maps, fine, ~brain)
    return np.asarray(blur.image(sources)[:, brain], np.complex64)


def _signals(operator: LipidOperator) -> Complex:
    """Return orthonormal FIDs that span the strongest lipids of the scalp; shape (samples, n)."""
    kept = operator.powers > _WEAKEST
    scaled = operator.lipids[:, kept] * np.sqrt(operator.powers[kept])
    vectors, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    return np.asarray(vectors[:, : min(_SIGNALS, int(np.sum(sizes > np.sqrt(_WEAKEST) * sizes[0])))])


def _least_squares(blur: Blur, maps: Complex, fine: Mask, outside: Mask) -> Complex:
    """Return the sources of maps (n, x, y, z) by conjugate gradients, every map by itself; shape (n, *fine)."""

    def normal(sources: Complex) -> Complex:
        return np.asarray(blur.adjoint(blur.image(sources) * outside) * fine + _REGULARISATION * sources)

    def product(one: Complex, other: Complex) -> NDArray[np.float32]:
        sums = [np.vdot(a, b).real for a, b in zip(one, other, strict=True)]
        return np.array(sums, np.float32)[:, None, None, None]

    residual = blur.adjoint(maps * outside) * fine
    found = np.zeros_like(residual)
    direction = residual.copy()
    size = product(residual, residual)
    first = np.maximum(size, _TINY)
    for _ in range(_ITERATIONS):
        image = normal(direction)
        step = size / np.maximum(product(direction, image), _TINY)
        found += step * direction
        residual -= step * image
        new = product(residual, residual)
        if np.all(new <= _ENOUGH**2 * first):
            break
        direction = residual + new / np.maximum(size, _TINY) * direction
        size = new
    return found
