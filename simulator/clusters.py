"""Large spin systems as overlapping clusters, whose propagators together are that of the whole.

Where spins B part spins A from spins C, so that no spin of A is coupled to one of C, the propagators of a pulse are

    U(ABC) = U(AB) U(B)^-1 U(BC)

but for commutators that lead from a coupling of A to one of C through all couplings in between (Osborne 2006,
doi:10.1103/PhysRevLett.97.157202; Haah et al. 2018, doi:10.1109/FOCS.2018.00041; both recalled). With n couplings on
that way the error is of the n-th order in coupling times duration, however strong the RF: rotations of single spins
cancel.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

Real = NDArray[np.float64]

LEAST_DIMENSION = 64
"""Smaller systems are not worth dividing."""


@dataclass(frozen=True)
class Division:
    """Spins of a system in two overlapping clusters: `left` and `middle`, `middle` and `right`."""

    left: tuple[int, ...]
    middle: tuple[int, ...]
    right: tuple[int, ...]

    @property
    def clusters(self) -> tuple[tuple[int, ...], ...]:
        """The first cluster, what both have, and the second; each in the order of `left`, `middle`, `right`."""
        return (self.left + self.middle, self.middle, self.middle + self.right)

    def error(self, j_hz: Real, duration_s: float) -> float:
        """Return a bound of the error of propagators over a time, as an operator's norm, to leading orders.

        A nested commutator of n scalar products of spins 1/2 is at most half of their size, and its integral over
        the ordered times duration**n / n!.
        """
        angle = 2 * np.pi * np.abs(j_hz) * duration_s
        reached = angle[np.ix_(self.left, self.middle)].sum(axis=0)
        last = angle[np.ix_(self.middle, self.right)].sum(axis=1)
        inside = angle[np.ix_(self.middle, self.middle)]
        total = 0.0
        for order in range(2, len(self.middle) + 3):
            total += float(reached @ last) / (2 * math.factorial(order))
            reached = reached @ inside
        return total


def division(spins: tuple[float, ...], j_hz: Real, duration_s: float, tolerance: float) -> Division | None:
    """Return the division of a system that costs least, with an error below `tolerance`; `None` if there is none.

    It is for spins 1/2. The cost is that of products of matrices of the clusters.
    """
    if any(spin != 0.5 for spin in spins) or 2 ** len(spins) < LEAST_DIMENSION:
        return None
    for found in _divisions(tuple(map(tuple, (j_hz != 0).tolist()))):
        if found.error(j_hz, duration_s) < tolerance:
            return found
    return None


@lru_cache(maxsize=64)
def _divisions(coupled: tuple[tuple[bool, ...], ...]) -> tuple[Division, ...]:
    """Return all divisions of a coupling graph whose clusters are smaller than it, the cheapest first."""
    graph = np.array(coupled)
    found = [one for middle in _middles(len(graph)) for one in _parted(graph, middle)]
    return tuple(sorted(found, key=lambda one: sum(8 ** len(cluster) for cluster in one.clusters)))


def _middles(count: int) -> Iterator[tuple[int, ...]]:
    for size in range(1, count - 1):
        yield from combinations(range(count), size)


def _parted(graph: NDArray[np.bool_], middle: tuple[int, ...]) -> Iterator[Division]:
    rest = np.array([spin for spin in range(len(graph)) if spin not in middle])
    number, label = connected_components(graph[np.ix_(rest, rest)], directed=False)
    for choice in product((False, True), repeat=number - 1):
        is_right = np.array([False, *choice])[label]
        if is_right.any():
            yield Division(tuple(rest[~is_right].tolist()), middle, tuple(rest[is_right].tolist()))


def joined(found: Division, first: Any, overlap: Any, second: Any) -> Any:
    """Return the propagators of a whole system of spins 1/2 from those of `Division.clusters`; (n, dim, dim)."""
    xp = array_api_compat.array_namespace(first, overlap, second)
    n, b = overlap.shape[:2]
    a, c = first.shape[-1] // b, second.shape[-1] // b
    only = xp.reshape(first, (n, a * b * a, b)) @ xp.conj(xp.matrix_transpose(overlap))
    both = xp.reshape(only @ xp.reshape(second, (n, b, c * b * c)), (n, a, b, a, c, b, c))
    order = found.left + found.middle + found.right
    place = [order.index(spin) for spin in range(len(order))]
    size = a * b * c
    both = xp.reshape(xp.permute_dims(both, (0, 1, 2, 4, 3, 5, 6)), (n, *[2] * (2 * len(order))))
    axes = [1 + at for at in place] + [1 + len(order) + at for at in place]
    return xp.reshape(xp.permute_dims(both, (0, *axes)), (n, size, size))
