"""Whether spectrum and basis lie at the same place, the same way round.

Header and basis file may agree in every number and still be wrong. Their magnitude spectra, which no phase moves, are
compared at every shift up to a ppm, as they are and with the data mirrored about the receiver's centre.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from pulsespec.conventions import ppm_axis, ppm_to_hz, swap_sense
from pulsespec.errors import DataError, MismatchError
from pulsespec.recon.transients import Record, Transients

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_GRID_PPM = 0.02
_WIDTH_PPM = 0.06
"""Lines are broadened to this, three steps of the grid, so that no shift between two steps is missed."""
_FARTHEST_PPM = 1.0
_NEAR_PPM = 0.32
_WINDOW_PPM = (0.3, 4.1)
"""Of the data: below water, whose residue no basis has."""
_TREND = 5
"""Terms of the polynomial that stands for a baseline."""
_LIKE, _FAR_BETTER = 0.6, 0.4
"""Share of the spectrum that a better place must explain, and of what it may leave of the rest here."""

_LEAST_SIZE = 0.5
"""Height of what lies on one side of the centre over the other that makes it worth a comparison."""


@dataclass(frozen=True)
class Place:
    """Where the spectrum is most like the basis."""

    here: float
    """Share explained (0 to 1) within the shift that the fit corrects."""
    elsewhere: float
    """Share explained at `shift_ppm`, farther away or mirrored."""
    shift_ppm: float
    """Where that is: the shift of the data against the basis."""
    mirrored: bool
    """Whether the data had to be mirrored about their centre for it."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether the spectrum lies elsewhere beyond doubt."""
        return self.elsewhere > _LIKE and 1 - self.elsewhere < _FAR_BETTER * (1 - self.here)


def find_place(data: Transients, basis: Any) -> Place:
    """Return how like the basis the spectrum is where it should be, and where it is most like it.

    Parameters
    ----------
    data
        One FID, dims ("t",), water removed.
    basis
        Its metabolites (what is not `broad`) are compared.

    """
    names = [name for name in basis.names if name not in getattr(basis, "broad", ())]
    grid = np.arange(_WINDOW_PPM[0] - _FARTHEST_PPM, _WINDOW_PPM[1] + _FARTHEST_PPM, _GRID_PPM)
    fids = np.array([basis.fid(name, data.samples, data.dwell_s) for name in names])
    patterns = _magnitudes(fids, data, basis.reference_ppm, grid)
    fids = np.array([data.data, swap_sense(data.data)])
    seen = _magnitudes(fids, data, data.reference_ppm, grid)
    size = [float(np.ptp(one)) for one in seen]
    found: list[tuple[float, float, bool]] = []
    for mirrored in (False, True):
        # Where nothing is but tails of lines, tails of the basis are like them.
        share = 1.0 if size[mirrored] > _LEAST_SIZE * size[not mirrored] else 0.0
        found += [
            (share * like, shift, mirrored) for like, shift in _likenesses(seen[int(mirrored)], patterns)
        ]
    here = max(like for like, shift, mirrored in found if not mirrored and abs(shift) < _NEAR_PPM)
    like, shift, mirrored = max(one for one in found if one[2] or abs(one[1]) >= _NEAR_PPM)
    return Place(here, like, shift, mirrored)


def check_place(data: Transients, basis: Any) -> tuple[Transients, tuple[str, ...]]:
    """Return the data the right way round, with notices; refuse what lies elsewhere.

    Raises
    ------
    DataError
        The data are mirrored against the basis and their format defines the sign.
    MismatchError
        They are like each other only at another reference.

    """
    if data.nucleus != "1H":
        return data, ()
    place = find_place(data, basis)
    if not place.is_elsewhere:
        return data, ()
    name = data.source or "data"
    shares = f"{place.elsewhere:.0%} of the spectrum, {place.here:.0%} as it is"
    if abs(place.shift_ppm) >= _NEAR_PPM:
        raise MismatchError(
            f"{name}: the basis explains {shares}, only where the data are moved by {-place.shift_ppm:+.2f} ppm"
            f"{' and mirrored' if place.mirrored else ''}: check the receiver's centre of the data "
            f"({data.reference_ppm:g} ppm) and of the basis ({basis.reference_ppm:g} ppm)"
        )
    if data.sign_is_defined:
        raise DataError(
            f"{name}: mirrored against the basis, which explains {shares}. Its format defines the sign, so it is "
            "refused; pass --conjugate if the file is wrong"
        )
    words = f"the basis explains {shares}, when mirrored; the format does not define the sign, so it was conjugated"
    return data.with_data(swap_sense(data.data), Record("Conjugation", words)), (words,)


def _magnitudes(fids: Complex, data: Transients, reference_ppm: float, grid: Real) -> Real:
    """Return magnitude spectra on a grid in ppm, broadened to `_WIDTH_PPM`; shape (n, grid)."""
    t = np.arange(data.samples) * data.dwell_s
    gauss_hz = _WIDTH_PPM * data.f0_hz * 1e-6
    decay = np.exp(-((np.pi * gauss_hz * t) ** 2) / (4 * np.log(2)))
    decay[0] *= 0.5
    points = 2 * data.samples
    move = ppm_to_hz(reference_ppm, data.f0_hz, data.reference_ppm)
    spectra = np.fft.fftshift(np.fft.fft(fids * decay * np.exp(2j * np.pi * move * t), points), axes=-1)
    ppm = ppm_axis(points, data.dwell_s, data.f0_hz, data.reference_ppm)
    return np.array([np.interp(grid, ppm[::-1], one[::-1], left=0.0, right=0.0) for one in np.abs(spectra)])


def _likenesses(seen: Real, patterns: Real) -> list[tuple[float, float]]:
    """Return (share that the patterns explain, shift of the data) at each shift; the window stays on the data."""
    most = round(_FARTHEST_PPM / _GRID_PPM)
    count = seen.size - 2 * most
    trend, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, count), _TREND))
    part = seen[most : most + count] - trend @ (trend.T @ seen[most : most + count])
    total = float(np.linalg.norm(part))
    found = []
    for step in range(-most, most + 1):
        columns = patterns[:, most - step : most - step + count].T
        columns = columns - trend @ (trend.T @ columns)
        columns = columns / (np.linalg.norm(columns, axis=0) + 1e-300)
        share = 1 - (nnls(columns, part)[1] / total) ** 2 if total > 0 else 0.0
        found.append((share, step * _GRID_PPM))
    return found
