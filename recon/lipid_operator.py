"""Removal of scalp lipid from the FIDs of the brain by an L2 penalty, in closed form.

With the spectra L of scalp voxels as columns, a spectrum x becomes argmin |x' - x|^2 + beta |L^H x'|^2 =
(I + beta L L^H)^-1 x (Bilgic et al. 2014, doi:10.1002/jmri.24365; the penalty: Bilgic et al. 2013,
doi:10.1002/mrm.24399), which is x - L (L^H L + 1 / beta)^-1 L^H x: regularised least squares finds how much of each
scalp spectrum is in x, and that is subtracted. Written so, the amounts can be found with weights W that are 1 where
there is little but lipid and small elsewhere, x - L (L^H W L + 1 / beta)^-1 L^H W x, and what the scalp has elsewhere,
such as the lipid under NAA, is subtracted with them: NAA then hardly counts as lipid. W = 1 is the method as published;
weights of 0 would let weak signals grow where nobody looks.

One eigendecomposition serves every weight. The operator is linear and the same for all voxels: what becomes of any
known signal, such as NAA or the lactate of a lesion, follows exactly by passing it through, and a model that is
passed through it too fits what is left without bias.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError
from pulsespec.recon.lipid_guard import Guard

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

_SMALLEST = 1e-12


@dataclass(frozen=True)
class LipidOperator:
    """I - sum_k a_k g_k b_k^H with the gains g_k = w s_k / (1 + w s_k)."""

    lipids: Complex
    """FIDs a_k that are subtracted; shape (samples, n)."""
    probes: Complex
    """FIDs b_k whose products with an FID say how much; biorthogonal to `lipids`; shape (samples, n)."""
    powers: Real
    """s_k: eigenvalues of L^H W L over the largest; shape (n,)."""
    weight: float
    """w: beta times the largest eigenvalue; at 1 half of the strongest lipid signal is left."""
    largest: float = 1.0
    """The largest eigenvalue."""

    @property
    def gains(self) -> Real:
        """Share that is taken of each lipid; shape (n,)."""
        return np.asarray(self.weight * self.powers / (1 + self.weight * self.powers))

    def amounts(self, fids: NDArray[np.complexfloating]) -> Complex:
        """Return how much of each lipid is in FIDs; shape (..., n)."""
        if fids.shape[-1] != self.probes.shape[0]:
            raise InputError(
                f"FIDs: {fids.shape[-1]} samples, expected {self.probes.shape[0]}, those of the scalp's"
            )
        return np.asarray(fids @ self.probes.conj())

    def removed(self, fids: NDArray[np.complexfloating]) -> Complex:
        """Return what is taken from FIDs; shape (..., samples)."""
        return np.asarray((self.amounts(fids) * self.gains) @ self.lipids.T)

    def apply(self, fids: NDArray[np.complexfloating]) -> Complex:
        """Return FIDs without scalp lipid; shape (..., samples)."""
        return np.asarray(fids - self.removed(fids))

    def with_weight(self, weight: float) -> "LipidOperator":
        """Return the operator with another weight."""
        return replace(self, weight=weight)


def lipid_operator(
    scalp: NDArray[np.complexfloating],
    weight: float,
    band: Real | None = None,
    guard: Guard | None = None,
) -> LipidOperator:
    """Return the operator that the FIDs of scalp voxels define.

    Parameters
    ----------
    scalp
        FIDs of the scalp, water removed; shape (n_voxels, samples).
    weight
        beta times the largest eigenvalue of L^H W L, no less than 0.
    band
        The weights W of the bins of `numpy.fft.fft`, 0 to 1; all 1 where it is `None`; shape (samples,).
    guard
        A metric in place of W that is blind to metabolites.

    Raises
    ------
    InputError
        There is no scalp voxel, it has no signal in the band, or the weight is negative.

    """
    if scalp.ndim != 2 or not scalp.size:
        raise InputError(
            f"scalp: FIDs of shape {scalp.shape}, expected (n_voxels, samples), one voxel or more"
        )
    if not weight >= 0:
        raise InputError(f"weight: got {weight}, expected a number of at least 0")
    columns = _compressed(np.asarray(scalp, np.complex128).T)
    seen = columns if band is None else np.fft.ifft(band[:, None] * np.fft.fft(columns, axis=0), axis=0)
    seen = seen if guard is None else guard.blind(columns)
    values, turns = np.linalg.eigh(columns.conj().T @ seen)
    values, turns = values[::-1], turns[:, ::-1]
    kept = values > _SMALLEST * values[0]
    if not values[0] > 0:
        raise InputError("scalp: its FIDs have no signal in the band of lipids")
    scale = turns[:, kept] / np.sqrt(values[kept])
    return LipidOperator(
        columns @ scale, seen @ scale, values[kept] / values[0], float(weight), float(values[0])
    )


def _compressed(columns: Complex) -> Complex:
    """Return no more columns than rows, with the same product C C^H."""
    if columns.shape[1] <= columns.shape[0]:
        return columns
    values, vectors = np.linalg.eigh(columns @ columns.conj().T)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def survival(operator: LipidOperator, fid: NDArray[np.complexfloating]) -> float:
    """Return the share of a known signal that the operator leaves: <fid, M fid> / <fid, fid>.

    Pass the FID of a metabolite, of a lesion's lipid or of its lactate, as long and at the place in frequency that it
    has in the images.
    """
    left = np.vdot(fid, operator.apply(fid)).real
    return float(left / np.vdot(fid, fid).real)
