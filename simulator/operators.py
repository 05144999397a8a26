"""Spin operators of a small system of spins, each of any total spin, in the product basis."""

from functools import cached_property, lru_cache, reduce
from itertools import combinations
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

Complex = NDArray[np.complex128]


def spin_matrices(spin: float) -> Complex:
    """Return Ix, Iy and Iz of one spin, shape (3, 2 spin + 1, 2 spin + 1), states from m = +spin down."""
    m = spin - np.arange(round(2 * spin) + 1)
    raising = np.diag(np.sqrt(spin * (spin + 1) - m[1:] * (m[1:] + 1)), 1).astype(complex)
    lowering = raising.T
    return np.stack([(raising + lowering) / 2, (raising - lowering) / 2j, np.diag(m).astype(complex)])


class Operators:
    """Operators of spins with the total spin quantum numbers `spins`, in a basis of definite Fz.

    The basis is that of product states, or those combinations of them that keep their sign (`parity` +1) or
    change it (-1) when spins change places as `swap` says: a symmetry of all that is done to them.
    """

    def __init__(
        self, spins: tuple[float, ...], swap: tuple[int, ...] | None = None, parity: int = 1
    ) -> None:
        self.spins = spins
        self.sizes = tuple(round(2 * spin) + 1 for spin in spins)
        m = [spin - np.arange(size) for spin, size in zip(spins, self.sizes, strict=True)]
        places = np.stack([grid.ravel() for grid in np.meshgrid(*m, indexing="ij")])
        self.basis = None if swap is None else _of_parity(self.sizes, swap, parity)
        self.iz_of_products: NDArray[np.float64] = places
        self.m: NDArray[np.float64] = places.sum(axis=0)
        if self.basis is not None:
            self.m = self.m[np.abs(self.basis).argmax(axis=0)]
        self.dimension = self.m.size

    def inside(self, products: Any) -> Any:
        """Return matrices (..., n, n) among product states as those in this basis, (..., dimension, dimension)."""
        if self.basis is None:
            return products
        xp = array_namespace(products)
        basis = xp.asarray(self.basis, dtype=products.dtype, device=device(products))
        return xp.matrix_transpose(basis) @ products @ basis

    @cached_property
    def single(self) -> Complex:
        """Ix, Iy and Iz of every spin among product states; shape (n_spins, 3, n, n)."""
        found = []
        for index, spin in enumerate(self.spins):
            left = np.eye(int(np.prod(self.sizes[:index])))
            right = np.eye(int(np.prod(self.sizes[index + 1 :])))
            found.append([np.kron(np.kron(left, matrix), right) for matrix in spin_matrices(spin)])
        return np.array(found)

    def shift(self, shift_hz: NDArray[np.float64]) -> Complex:
        """Return sum shift_i I_iz in Hz; shape (dimension, dimension)."""
        return np.asarray(self.inside(np.diag(shift_hz @ self.iz_of_products).astype(complex)))

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Coherence order of every matrix element; shape (dimension, dimension)."""
        return np.asarray(np.rint(self.m[:, None] - self.m[None, :]), dtype=np.int64)

    @cached_property
    def raising(self) -> Complex:
        """F+; shape (dimension, dimension)."""
        return np.asarray(self.inside(self.single[:, 0].sum(0) + 1j * self.single[:, 1].sum(0)))

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """All pairs of spins."""
        return tuple(combinations(range(len(self.spins)), 2))

    def coupling(self, j_hz: NDArray[np.float64]) -> Complex:
        """Return sum J_ik I_i . I_k in Hz; shape (dimension, dimension)."""
        pairs = tuple((i, k) for i, k in self.pairs if j_hz[i, k])
        if not pairs:
            return np.zeros((self.dimension, self.dimension), dtype=complex)
        couplings = np.array([j_hz[pair] for pair in pairs])
        scalar = self.bilinear(pairs)[0].reshape(len(pairs), len(REAL_PRODUCTS), -1)[:, _SCALAR].sum(axis=1)
        return np.asarray((couplings @ scalar).reshape(self.dimension, self.dimension), dtype=np.complex128)

    def strength(self, j_hz: NDArray[np.float64]) -> float:
        """Return the largest magnitude of an eigenvalue of the coupling, in Hz."""
        key = j_hz.tobytes()
        if key not in self._strengths:
            self._strengths[key] = float(np.abs(np.linalg.eigvalsh(self.coupling(j_hz))).max())
        return self._strengths[key]

    @cached_property
    def _strengths(self) -> dict[bytes, float]:
        return {}

    def bilinear(self, pairs: tuple[tuple[int, int], ...]) -> tuple[NDArray[np.float64], ...]:
        """Return all I_ia I_kb: those that are real, and those that are imaginary over i.

        Shapes (5 n_pairs, dimension ** 2) and (4 n_pairs, dimension ** 2); the order is that of `REAL_PRODUCTS`
        and `IMAGINARY_PRODUCTS` for the first pair, then for the next.
        """
        if pairs not in self._bilinear:
            found = np.stack(
                [
                    self.inside(self.single[i, a] @ self.single[k, b])
                    for i, k in pairs
                    for a in range(3)
                    for b in range(3)
                ]
            ).reshape(len(pairs), 9, -1)
            size = self.dimension**2
            self._bilinear[pairs] = (
                np.ascontiguousarray(found[:, REAL_PRODUCTS].real.reshape(-1, size)),
                np.ascontiguousarray(found[:, IMAGINARY_PRODUCTS].imag.reshape(-1, size)),
            )
        return self._bilinear[pairs]

    @cached_property
    def _bilinear(self) -> dict[tuple[tuple[int, int], ...], tuple[NDArray[np.float64], ...]]:
        return {}


REAL_PRODUCTS = (0, 2, 4, 6, 8)
"""Of I_ia I_kb with 3 a + b: xx, xz, yy, zx and zz."""
IMAGINARY_PRODUCTS = (1, 3, 5, 7)
"""xy, yx, yz and zy."""
_SCALAR = [REAL_PRODUCTS.index(product) for product in (0, 4, 8)]


def _of_parity(sizes: tuple[int, ...], swap: tuple[int, ...], parity: int) -> NDArray[np.float64]:
    """Return the combinations of product states that a swap of spins multiplies by `parity`: (n, dimension)."""
    states = np.arange(int(np.prod(sizes))).reshape(sizes)
    image = states.transpose(swap).ravel()
    columns = []
    for state, other in enumerate(image):
        if other < state or (other == state and parity < 0):
            continue
        column = np.zeros(image.size)
        column[state] += 1.0
        column[other] += parity
        columns.append(column / np.linalg.norm(column))
    return np.stack(columns, axis=1)


@lru_cache(maxsize=64)
def operators(spins: tuple[float, ...], swap: tuple[int, ...] | None = None, parity: int = 1) -> Operators:
    """Return the operators of a system, made once."""
    return Operators(spins, swap, parity)


def blocks(spins: tuple[float, ...], swap: tuple[int, ...] | None) -> tuple[Operators, ...]:
    """Return the operators of the two parts into which a symmetry divides a system, or of the whole of it."""
    if swap is None:
        return (operators(spins),)
    both = (operators(spins, swap, 1), operators(spins, swap, -1))
    return tuple(part for part in both if np.ptp(part.m) > 0)


def representation(spin: float, a: Any, b: Any) -> Any:
    """Return the matrix of a rotation (a, b) for a spin; shape (..., 2 spin + 1, 2 spin + 1).

    The symmetrised product of 2 spin spins 1/2 (Sakurai, Modern Quantum Mechanics, section 3.9).
    """
    xp = array_namespace(a, b)
    half = xp.stack([xp.stack([a, -xp.conj(b)], axis=-1), xp.stack([b, xp.conj(a)], axis=-1)], axis=-2)
    n = round(2 * spin)
    if n == 1:
        return half
    power = reduce(_kron, [half] * n)
    down = np.array([bin(state).count("1") for state in range(2**n)])
    symmetric = np.stack([(down == k) / np.sqrt(np.sum(down == k)) for k in range(n + 1)])
    onto = xp.asarray(symmetric, dtype=power.dtype, device=device(power))
    return onto @ power @ xp.matrix_transpose(onto)


def product_representation(spins: tuple[float, ...], a: Any, b: Any) -> Any:
    """Return the rotation of a whole system; a and b of shape (n_spins, ...), result (..., dim, dim)."""
    return reduce(_kron, [representation(spin, a[i, ...], b[i, ...]) for i, spin in enumerate(spins)])


def _kron(left: Any, right: Any) -> Any:
    xp = array_namespace(left, right)
    rows, columns = left.shape[-2] * right.shape[-2], left.shape[-1] * right.shape[-1]
    product = left[..., :, None, :, None] * right[..., None, :, None, :]
    return xp.reshape(product, (*product.shape[:-4], rows, columns))
