"""Spin operators of a small system of spins, each of any total spin, in the product basis."""

from functools import cached_property, lru_cache, reduce
from itertools import combinations

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

Complex = NDArray[np.complex128]


def spin_matrices(spin: float) -> Complex:
    """Return Ix, Iy and Iz of one spin, shape (3, 2 spin + 1, 2 spin + 1), states from m = +spin down."""
    m = spin - np.arange(round(2 * spin) + 1)
    raising = np.diag(np.sqrt(spin * (spin + 1) - m[1:] * (m[1:] + 1)), 1).astype(complex)
    lowering = raising.T
    return np.stack([(raising + lowering) / 2, (raising - lowering) / 2j, np.diag(m).astype(complex)])


class Operators:
    """Operators of spins with the total spin quantum numbers `spins`."""

    def __init__(self, spins: tuple[float, ...]) -> None:
        self.spins = spins
        self.sizes = tuple(round(2 * spin) + 1 for spin in spins)
        self.dimension = int(np.prod(self.sizes))

    @cached_property
    def single(self) -> Complex:
        """Ix, Iy and Iz of every spin; shape (n_spins, 3, dimension, dimension)."""
        found = []
        for index, spin in enumerate(self.spins):
            left = np.eye(int(np.prod(self.sizes[:index])))
            right = np.eye(int(np.prod(self.sizes[index + 1 :])))
            found.append([np.kron(np.kron(left, matrix), right) for matrix in spin_matrices(spin)])
        return np.array(found)

    @cached_property
    def m(self) -> NDArray[np.float64]:
        """Eigenvalue of Fz of every product state; shape (dimension,)."""
        return np.asarray(np.einsum("ikk->k", self.single[:, 2]).real)

    @cached_property
    def iz(self) -> NDArray[np.float64]:
        """Eigenvalues of Iz of each spin; shape (n_spins, dimension)."""
        return np.asarray(np.einsum("ikk->ik", self.single[:, 2]).real)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Coherence order of every matrix element; shape (dimension, dimension)."""
        return np.asarray(np.rint(self.m[:, None] - self.m[None, :]), dtype=np.int64)

    @cached_property
    def raising(self) -> Complex:
        """F+; shape (dimension, dimension)."""
        return np.asarray(self.single[:, 0].sum(0) + 1j * self.single[:, 1].sum(0))

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """All pairs of spins."""
        return tuple(combinations(range(len(self.spins)), 2))

    def coupling(self, j_hz: NDArray[np.float64]) -> Complex:
        """Return sum J_ik I_i . I_k in Hz; shape (dimension, dimension)."""
        total = np.zeros((self.dimension, self.dimension), dtype=complex)
        for i, k in self.pairs:
            if j_hz[i, k]:
                total += j_hz[i, k] * np.einsum("aij,ajk->ik", self.single[i], self.single[k])
        return total

    def bilinear(self, pairs: tuple[tuple[int, int], ...], dtype: type) -> scipy.sparse.csr_array:
        """Return all I_ia I_kb as sparse rows; shape (9 n_pairs, dimension ** 2)."""
        rows = [
            scipy.sparse.coo_array((self.single[i, a] @ self.single[k, b]).reshape(1, -1).astype(dtype))
            for i, k in pairs
            for a in range(3)
            for b in range(3)
        ]
        return scipy.sparse.csr_array(scipy.sparse.vstack(rows))


@lru_cache(maxsize=64)
def operators(spins: tuple[float, ...]) -> Operators:
    """Return the operators of a system, made once."""
    return Operators(spins)


def representation(spin: float, a: Complex, b: Complex) -> Complex:
    """Return the matrix of a rotation (a, b) for a spin; shape (..., 2 spin + 1, 2 spin + 1).

    The symmetrised product of 2 spin spins 1/2 (Sakurai, Modern Quantum Mechanics, section 3.9).
    """
    half = np.stack([np.stack([a, -np.conj(b)], -1), np.stack([b, np.conj(a)], -1)], -2)
    n = round(2 * spin)
    if n == 1:
        return half
    power = reduce(_kron, [half] * n)
    down = np.array([bin(state).count("1") for state in range(2**n)])
    symmetric = np.stack([(down == k) / np.sqrt(np.sum(down == k)) for k in range(n + 1)])
    return np.asarray(symmetric @ power @ symmetric.T)


def product_representation(spins: tuple[float, ...], a: Complex, b: Complex) -> Complex:
    """Return the rotation of a whole system; a and b of shape (n_spins, ...), result (..., dim, dim)."""
    return reduce(_kron, [representation(spin, a[i], b[i]) for i, spin in enumerate(spins)])


def _kron(left: Complex, right: Complex) -> Complex:
    rows, columns = left.shape[-2] * right.shape[-2], left.shape[-1] * right.shape[-1]
    product = left[..., :, None, :, None] * right[..., None, :, None, :]
    return np.asarray(product.reshape(*product.shape[:-4], rows, columns))
