"""Pictures of basis sets: a page of spectra, and two sets over each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import InputError
from pulsespec.files import atomic_path
from pulsespec.simulator.basis import Basis
from pulsespec.simulator.basis_compare import Comparison
from pulsespec.simulator.sampled import SampledBasis, sampled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4
_SUFFIXES = (".png", ".svg", ".pdf")
_FIRST, _SECOND, _DIFFERENCE = "#1f4e79", "#b5482a", "#888888"


def page(
    basis: Basis | SampledBasis, title: str, ppm: tuple[float, float] = (0.2, 4.2), linewidth_hz: float = 2.0
) -> "Figure":
    """Return a page with the real spectrum of each function, broadened by `linewidth_hz`, each to its own height.

    Raises
    ------
    InputError
        No point of the readout lies in the range of chemical shift.

    """
    fids = sampled(basis, linewidth_hz=linewidth_hz)
    samples = 4 * fids.samples
    axis = ppm_axis(samples, fids.dwell_s, fids.f0_hz, fids.reference_ppm)
    inside = (axis >= min(ppm)) & (axis <= max(ppm))
    if not inside.any():
        raise InputError(
            f"range {ppm[0]} to {ppm[1]} ppm: the readout reaches {axis[-1]:.2f} to {axis[0]:.2f} ppm"
        )
    figure, panels = _panels(len(fids.names), title, ppm)
    for panel, name in zip(panels, fids.names, strict=False):
        panel.plot(
            axis[inside], to_spectrum(fids.fid(name, samples)).real[inside], color=_FIRST, linewidth=0.8
        )
        panel.set_title(name, fontsize=9, pad=2)
    return figure


def overlay(comparison: Comparison, title: str) -> "Figure":
    """Return a page with both spectra of each shared metabolite and, below, their difference."""
    ppm = (float(comparison.ppm[-1]), float(comparison.ppm[0]))
    figure, panels = _panels(len(comparison.rows), title, ppm)
    for panel, row in zip(panels, comparison.rows, strict=False):
        turn = np.exp(-1j * np.radians(row.phase_deg))
        first, second = (row.first * turn).real, (row.second * turn).real
        below = 0.25 * np.abs(first).max()
        panel.plot(comparison.ppm, first, color=_FIRST, linewidth=1.2)
        panel.plot(comparison.ppm, second, color=_SECOND, linewidth=0.7, linestyle="--")
        panel.plot(comparison.ppm, first - second - below, color=_DIFFERENCE, linewidth=0.7)
        panel.set_title(f"{row.name}  {row.correlation:.4f}", fontsize=9, pad=2)
    return figure


def _panels(count: int, title: str, ppm: tuple[float, float]) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    rows = -(-count // _COLUMNS)
    figure = Figure(figsize=(3 * _COLUMNS, 0.8 + 1.5 * rows), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = np.ravel(np.asarray(figure.subplots(rows, _COLUMNS, squeeze=False)))
    for number, panel in enumerate(panels):
        panel.set_visible(number < count)
        panel.set_xlim(max(ppm), min(ppm))
        panel.set_yticks([])
        panel.tick_params(labelsize=7)
        for side in ("left", "right", "top"):
            panel.spines[side].set_visible(False)
        if number + _COLUMNS >= count:
            panel.set_xlabel("ppm", fontsize=8)
    return figure, panels


def require_picture(path: Path) -> None:
    """Raise `InputError` where `path` is no name of a picture."""
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path}: expected a name that ends in {', '.join(_SUFFIXES)}")


def save(figure: "Figure", path: Path, overwrite: bool = False) -> None:
    """Write a figure as .png, .svg or .pdf."""
    require_picture(path)
    with atomic_path(path, overwrite) as temporary:
        figure.savefig(temporary, dpi=150)
