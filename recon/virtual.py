"""A virtual scan in memory as the reconstruction reads it, without a file between."""

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError
from pulsespec.recon.transients import Geometry, Scan, Transients
from pulsespec.simulator.play import VirtualScan
from pulsespec.simulator.setup import Place

_RAS_FROM_GRADIENT = np.diag([-1.0, 1.0, -1.0])
"""Patient axes (right, anterior, superior) from the virtual scanner's gradients: head first and supine."""


def scan_of(played: VirtualScan) -> Scan:
    """Return metabolite and water of a virtual scan, complex64, NIfTI-MRS sense, as `read` gives its file.

    Raises
    ------
    DataError
        Editing conditions have different numbers of shots.

    """
    setup, basis = played.setup, played.setup.basis
    noise = None if played.noise is None else swap_sense(played.noise).astype(np.complex128)

    def part(wanted: bool) -> Transients | None:
        groups = _groups(played, wanted)
        if not groups:
            return None
        several = len(groups) > 1
        return Transients(
            data=swap_sense(np.stack(groups) if several else groups[0]),
            dims=("edit", "average", "coil", "t") if several else ("average", "coil", "t"),
            dwell_s=setup.dwell_s,
            f0_hz=basis.f0_hz,
            te_s=basis.te_s,
            tr_s=basis.tr_s,
            geometry=None if setup.place is None else _geometry(setup.place),
            sequence=basis.sequence,
            source="virtual scan",
            noise=noise,
        )

    return Scan(part(False), part(True))


def _groups(played: VirtualScan, wanted: bool) -> list[NDArray[np.complex64]]:
    """Return the shots of one kind, by condition; each (n_shots, n_coils, samples)."""
    chosen = played.setup.is_water == wanted
    condition = played.setup.condition
    groups = [played.data[chosen & (condition == one)] for one in np.unique(condition[chosen])]
    if len({len(group) for group in groups}) > 1:
        sizes = [len(group) for group in groups]
        raise DataError(f"virtual scan: editing conditions have different numbers of shots: {sizes}")
    return groups


def _geometry(place: Place) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = _RAS_FROM_GRADIENT @ place.axes * place.size_mm
    affine[:3, 3] = _RAS_FROM_GRADIENT @ place.position_mm
    return Geometry(affine)
