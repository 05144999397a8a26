"""Scalp lipid removed from each voxel by an operator of its own field and of a weight of its own.

The weight follows from what is in the voxel: with lipid of power w times that of the scalp's strongest signal, noise of
variance 1 and metabolites guarded, the removal leaves the least mean square error (Wiener). So voxels beside the scalp
are penalised strongly, at some cost in noise, and those that little was cast into hardly at all.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import InputError
from pulsespec.recon.image_masks import LIPID_PPM
from pulsespec.recon.lipid_guard import metabolite_guard
from pulsespec.recon.lipid_operator import LipidOperator, lipid_operator
from pulsespec.recon.transients import Transients

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_STEP_HZ = 2.0
"""Fields that share an operator."""
_QUIET_PPM = (-0.5, 6.5)
"""Beyond there is noise, and what strong lines that begin at once have of tails."""
_TAIL = 0.1
_LEAST, _MOST = 1e-3, 1e8


@dataclass(frozen=True)
class VoxelOperators:
    """What was taken from each voxel of a mask, in their order."""

    operators: tuple[LipidOperator, ...]
    """One for each field; their own weights are of no account."""
    which: NDArray[np.intp]
    """Operator of each voxel; shape (n,)."""
    weights: Real
    """Weight of each voxel; shape (n,)."""
    shifts_hz: Real
    """By how much signals of each voxel lie off, in the NIfTI-MRS sense, when lipid is removed; shape (n,)."""
    dwell_s: float

    def apply(self, fids: NDArray[np.complexfloating]) -> Complex:
        """Return FIDs of all voxels without scalp lipid; shape (n, samples)."""
        if fids.ndim != 2 or fids.shape[0] != self.which.size:
            raise InputError(f"FIDs: shape {fids.shape}, expected ({self.which.size}, samples), one a voxel")
        left = np.array(fids, np.complex128)
        for number, one in enumerate(self.operators):
            at = self.which == number
            inverse = 1 / (1 + self.weights[at, None] * one.powers)
            left[at] -= (one.amounts(fids[at]) * (1 - inverse)) @ one.lipids.T
        return left

    def in_field(self, fid: NDArray[np.complexfloating]) -> Complex:
        """Return a signal of aligned voxels as it lies in each voxel's field; shape (samples,) to (n, samples)."""
        t = np.arange(fid.shape[-1]) * self.dwell_s
        return np.asarray(fid * np.exp(2j * np.pi * self.shifts_hz[:, None] * t))

    def survival(self, fid: NDArray[np.complexfloating]) -> Real:
        """Return the share of a signal of aligned voxels that is left in each; (samples,) to (n,)."""
        here = self.in_field(fid)
        return np.asarray(np.sum(here.conj() * self.apply(here), axis=1).real / np.vdot(fid, fid).real)

    def noise_gain(self, fid: NDArray[np.complexfloating]) -> Real:
        """Return by how much the noise in the product with a signal has grown in each voxel; (samples,) to (n,)."""
        here = self.in_field(fid)
        left = np.array(here)
        for number, one in enumerate(self.operators):
            at = self.which == number
            inverse = 1 / (1 + self.weights[at, None] * one.powers)
            left[at] -= ((here[at] @ one.lipids.conj()) * (1 - inverse)) @ one.probes.T
        return np.asarray(np.linalg.norm(left, axis=1) / np.linalg.norm(fid))

    def only(self, chosen: NDArray[np.bool_]) -> "VoxelOperators":
        """Return the operators of some of the voxels; (n,)."""
        return replace(
            self, which=self.which[chosen], weights=self.weights[chosen], shifts_hz=self.shifts_hz[chosen]
        )

    def typical(self) -> LipidOperator:
        """Return the operator of the median field with the median weight, for what is asked of the image as a whole."""
        middle = np.argsort(self.shifts_hz)[self.shifts_hz.size // 2]
        return self.operators[int(self.which[middle])].with_weight(float(np.median(self.weights)))


def surviving_basis(operators: VoxelOperators, voxel: int, fids: NDArray[np.complexfloating]) -> Complex:
    """Return model FIDs as lipid removal leaves them in a voxel, so that a fit of them has no bias.

    Parameters
    ----------
    operators
        Of the images.
    voxel
        Number of the voxel among those that lipid was removed from.
    fids
        Model signals of an aligned voxel, in the NIfTI-MRS sense; shape (n_signals, samples).

    Returns
    -------
    Shape (n_signals, samples), aligned as they were.

    """
    count = operators.which.size
    if not 0 <= voxel < count:
        raise InputError(f"voxel: got {voxel}, expected 0 to {count - 1}, those that lipid was removed from")
    one = operators.operators[int(operators.which[voxel])].with_weight(float(operators.weights[voxel]))
    t = np.arange(fids.shape[-1]) * operators.dwell_s
    turn = np.exp(2j * np.pi * operators.shifts_hz[voxel] * t)
    return np.asarray(one.apply(fids * turn) * turn.conj())


def noise_power(fids: NDArray[np.complexfloating], data: Transients) -> float:
    """Return the variance of a sample of FIDs, median over voxels: the lesser of tails and of what lies beside signals.

    Both have signal in them where the FID is short, and then say too much.
    """
    spectra = to_spectrum(fids) / np.sqrt(fids.shape[1])
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    quiet = spectra[:, (ppm < _QUIET_PPM[0]) | (ppm > _QUIET_PPM[1])]
    tail = fids[:, -max(1, round(_TAIL * fids.shape[1])) :]
    found = [float(np.median(np.abs(part) ** 2) / np.log(2)) for part in (quiet, tail) if part.size]
    return max(min(found), 1e-300)


def voxel_operators(
    data: Transients,
    scalp: Complex,
    fids: Complex,
    shifts_hz: Real,
    probes: tuple[Complex, ...],
    least_survival: float,
    weight: float | None = None,
) -> VoxelOperators:
    """Return the operators of voxels, metabolites guarded at each one's field.

    Parameters
    ----------
    data
        Images without water; says samples, dwell time, frequency and reference.
    scalp
        FIDs of the scalp; shape (n_scalp, samples).
    fids
        Of the voxels; shape (n, samples).
    shifts_hz
        By how much their signals lie off, in the NIfTI-MRS sense; shape (n,).
    probes
        Aligned signals of which `least_survival` must be left and no more than its inverse may be; (samples,) each.
    least_survival
        Share, below 1.
    weight
        In place of those that follow from the lipid in each voxel.

    """
    noise = noise_power(fids, data)
    lipids = above_noise(scalp, noise)
    bins = np.round(shifts_hz / _STEP_HZ).astype(np.int64)
    values, which = np.unique(bins, return_inverse=True)
    guard = metabolite_guard(data)
    made = tuple(
        lipid_operator(lipids, 0.0, guard=guard.moved(_STEP_HZ * float(value), data.dwell_s))
        for value in values
    )
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    band = (ppm > LIPID_PPM[0]) & (ppm < LIPID_PPM[1])
    energy = np.sum(np.abs(to_spectrum(fids)[:, band]) ** 2, axis=1) / (noise * data.samples) - band.sum()
    of_scalp = float(np.sum(np.abs(to_spectrum(lipids)[:, band]) ** 2)) / data.samples
    largest = np.array([one.largest for one in made])[which]
    asked = (
        np.clip(energy * largest / of_scalp, _LEAST, _MOST) if weight is None else np.full(bins.size, weight)
    )
    found = VoxelOperators(
        made, which.astype(np.intp), asked, np.asarray(shifts_hz, np.float64), data.dwell_s
    )
    return found if weight is not None else _gentle(found, probes, least_survival)


def above_noise(scalp: Complex, noise: float) -> Complex:
    """Return FIDs with the same covariance as those of the scalp, less what noise has made; shape (n, samples).

    Eigenvalues within the edge of pure noise are left out (Marchenko and Pastur 1967; Veraart et al. 2016,
    doi:10.1016/j.neuroimage.2016.08.016, recalled), and the noise in the others is subtracted.
    """
    _, sizes, rows = np.linalg.svd(scalp, full_matrices=False)
    count, samples = scalp.shape
    kept = sizes**2 > noise * (np.sqrt(count) + np.sqrt(samples)) ** 2
    kept[0] = True
    power = np.maximum(sizes[kept] ** 2 - noise * count, 0.0)
    return np.asarray(np.sqrt(power)[:, None] * rows[kept])


def _gentle(found: VoxelOperators, probes: tuple[Complex, ...], least_survival: float) -> VoxelOperators:
    """Return operators with weights halved where more than is allowed would be changed of a signal."""
    for _ in range(60):
        changed = np.max([np.abs(1 - found.survival(fid)) for fid in probes], axis=0)
        too_much = changed > 1 - least_survival
        if not too_much.any():
            break
        found = replace(found, weights=np.where(too_much, 0.5 * found.weights, found.weights))
    return found
