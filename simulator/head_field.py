"""The field of the magnet in a head: what air in sinus and ears does to it, and what shimming leaves."""

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]

AIR_OVER_TISSUE = 9.4e-6
"""Susceptibility of air (0.36e-6) less that of tissue, which is near water's (-9.05e-6; Schenck 1996,
doi:10.1118/1.597854, recalled)."""
AIR = (((0.0, 66.0, -62.0), 12.0), ((60.0, -15.0, -58.0), 9.0), ((-60.0, -15.0, -58.0), 9.0))
"""Centre and radius in mm of the spheres of air: frontal and sphenoidal sinus, the two ears; places of ours."""
BONE_AROUND = 1.6
"""Radius, over that of the air, within which there is bone alone."""
_LARGEST = 99.9
"""Percentile that counts as the largest offset."""


def sphere_field(points_mm: Real, centre_mm: Real, radius_mm: float) -> Real:
    """Return the field of a sphere of air in tissue, relative to the magnet's, which lies along the third axis.

    Outside, (chi_i - chi_o) / 3 (a / r)^3 (3 cos^2 theta - 1) (Schenck 1996, doi:10.1118/1.597854); nearer than
    `BONE_AROUND` radii, where a drawn head has bone alone, as at that distance.
    """
    away = points_mm - centre_mm
    r = np.maximum(np.linalg.norm(away, axis=-1), 1e-9)
    cosine, nearest = away[..., 2] / r, BONE_AROUND * radius_mm
    return np.asarray(AIR_OVER_TISSUE / 3 * (radius_mm / np.maximum(r, nearest)) ** 3 * (3 * cosine**2 - 1))


def harmonics(points_mm: Real, order: int) -> Real:
    """Return the solid harmonics up to an order (0 to 2) over their size at 80 mm; shape (..., n)."""
    x, y, z = np.moveaxis(points_mm / 80.0, -1, 0)
    terms = [np.ones_like(x)]
    if order >= 1:
        terms += [x, y, z]
    if order >= 2:
        terms += [x * y, y * z, x * z, x**2 - y**2, z**2 - (x**2 + y**2) / 2]
    return np.stack(terms, axis=-1)


def field_hz(
    points_mm: Real,
    weight: Real,
    f0_hz: float,
    *,
    centre_mm: Real,
    hot_spot_hz: float | None,
    shim_order: int,
    residue_hz: float,
    seed: int,
) -> Real:
    """Return the offset of the field at points in Hz, positive downfield; shape (...,).

    Parameters
    ----------
    points_mm
        World coordinates; shape (..., 3).
    weight
        Share of brain at each point, for which the magnet is shimmed; shape (...,).
    f0_hz
        Larmor frequency.
    centre_mm
        Centre of the head.
    hot_spot_hz
        Largest offset in the brain that the air leaves; by its susceptibility where `None`.
    shim_order
        Order of the harmonics that are taken out.
    residue_hz
        Standard deviation over the brain of what shimming leaves of first and second order.
    seed
        Of that residue.

    """
    places = points_mm - centre_mm
    air = np.zeros(points_mm.shape[:-1])
    for centre, radius in AIR:
        air += f0_hz * sphere_field(places, np.array(centre), radius)
    terms = harmonics(places, 2)
    brain = weight > 0.5
    used = terms[..., : (1, 4, 9)[shim_order]]
    if brain.any():
        solved, *_ = np.linalg.lstsq(used[brain], air[brain], rcond=None)
        air = air - used @ solved
        if hot_spot_hz is not None:
            air = air * (hot_spot_hz / max(np.percentile(np.abs(air[brain]), _LARGEST), 1e-12))
    left = terms[..., 1:] @ np.random.default_rng(seed).standard_normal(8)
    inside = left[brain] if brain.any() else left
    left = (left - inside.mean()) * (residue_hz / max(inside.std(), 1e-12))
    return np.asarray(air + left)
