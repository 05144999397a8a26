"""Pictures of maps and of single voxels with their fits, as PNG inside a page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.fit_result import FitResult
from pulsespec.recon.transients import Geometry

Real = NDArray[np.float64]

_MOST_SLICES = 6
_INCH = 1.35
_DPI = 110


@dataclass(frozen=True, eq=False)
class Panel:
    """One map that is shown."""

    title: str
    values: Real
    """Shape (x, y, z), NaN where there is nothing."""
    low: float
    high: float
    """Ends of the colour scale, which all slices share."""
    colours: str = "viridis"
    outline: NDArray[np.bool_] | None = None
    """Voxels that are framed."""


def upper_end(values: Real, believed: NDArray[np.bool_]) -> float:
    """Return the end of a colour scale from 0: the 98th percentile of believed voxels."""
    inside = values[believed & np.isfinite(values)]
    return float(np.percentile(inside, 98)) if inside.size and np.percentile(inside, 98) > 0 else 1.0


def upright(values: NDArray[Any], geometry: Geometry | None) -> NDArray[Any]:
    """Return an image with its axes turned and flipped to run right, anterior, superior as nearly as they can."""
    if geometry is None:
        return values
    from nibabel import orientations

    of: Any = orientations
    turned: NDArray[Any] = of.apply_orientation(values, of.io_orientation(geometry.affine))
    return turned


def _aspect(geometry: Geometry | None) -> float:
    """Return the height of a voxel over its width in upright slices."""
    if geometry is None:
        return 1.0
    from nibabel import orientations

    of: Any = orientations
    order = of.io_orientation(geometry.affine)[:, 0]
    size = geometry.voxel_mm
    return float(size[order == 1][0] / size[order == 0][0])


def slices_of(passing: NDArray[np.bool_]) -> list[int]:
    """Return the slices to show of an upright image: evenly spaced among those that have voxels."""
    used = np.flatnonzero(passing.any(axis=(0, 1)))
    if not used.size:
        used = np.arange(passing.shape[2])
    chosen = np.linspace(0, used.size - 1, min(_MOST_SLICES, used.size)).round().astype(int)
    return [int(k) for k in used[np.unique(chosen)]]


def map_picture(panels: Sequence[Panel], geometry: Geometry | None, shown: NDArray[np.bool_]) -> str:
    """Return rows of slices, one row a map (several maps a row where there is a single slice), as base64 PNG.

    Parameters
    ----------
    panels
        Maps.
    geometry
        Of the grid: pictures are drawn with right on the right and anterior up.
    shown
        Voxels by which the slices are chosen; shape (x, y, z).

    """
    from matplotlib.figure import Figure

    chosen = slices_of(upright(shown, geometry))
    columns = len(chosen) if len(chosen) > 1 else min(4, len(panels))
    rows = len(panels) if len(chosen) > 1 else -(-len(panels) // columns)
    figure = Figure(figsize=(_INCH * 1.35 * columns + 0.6, _INCH * 1.45 * rows), dpi=_DPI)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.01,
        right=0.96 if len(chosen) == 1 else 1.0,
        bottom=0.02,
        top=1 - 0.25 / (_INCH * 1.45 * rows),
        hspace=0.25,
    )
    for axis in axes.flat:
        axis.set_axis_off()
    tall = _aspect(geometry)
    box = _box([upright(panel.values, geometry) for panel in panels])
    for number, panel in enumerate(panels):
        values = upright(panel.values, geometry)[box]
        row = axes[number] if len(chosen) > 1 else [axes[number // columns][number % columns]]
        for axis, at in zip(row, chosen, strict=True):
            drawn = axis.imshow(
                values[:, :, at].T,
                origin="lower",
                vmin=panel.low,
                vmax=panel.high,
                cmap=panel.colours,
                aspect=tall,
            )
            if panel.outline is not None:
                inside = upright(panel.outline, geometry)[box][:, :, at].T
                axis.add_collection(_frame(inside))
            axis.text(0.02, 0.02, "L" if geometry is not None else "", transform=axis.transAxes, fontsize=6)
        row[0].set_title(panel.title, fontsize=8, loc="left")
        figure.colorbar(drawn, ax=list(row), shrink=0.85, pad=0.01).ax.tick_params(labelsize=6)
    return _png(figure)


def _box(shown: Sequence[NDArray[Any]]) -> tuple[slice, slice]:
    """Return the part of the slices that has voxels in any of the maps, one voxel of margin around it."""
    known = np.any([np.isfinite(values) & (values != 0) for values in shown], axis=(0, 3))
    part = []
    for axis, size in enumerate(known.shape):
        used = np.flatnonzero(known.any(axis=1 - axis))
        low, high = (used[0], used[-1] + 1) if used.size else (0, size)
        part.append(slice(max(0, int(low) - 1), min(size, int(high) + 1)))
    return part[0], part[1]


def _frame(inside: NDArray[np.bool_]) -> Any:
    """Return the edges of voxels, rows along the first axis, as lines."""
    from matplotlib.collections import LineCollection

    padded = np.pad(inside, 1)
    across, along = padded[:, 1:] != padded[:, :-1], padded[1:] != padded[:-1]
    lines = [((k - 0.5, j - 1.5), (k - 0.5, j - 0.5)) for j, k in np.argwhere(across)]
    lines += [((k - 1.5, j - 0.5), (k - 0.5, j - 0.5)) for j, k in np.argwhere(along)]
    return LineCollection(lines, colors="#d1242f", linewidths=1.2)


def voxel_picture(fits: Sequence[tuple[str, FitResult]]) -> str:
    """Return spectra of single voxels with fit, baseline and residual, as base64 PNG."""
    from matplotlib.figure import Figure

    columns = min(2, len(fits))
    rows = -(-len(fits) // columns)
    figure = Figure(figsize=(5.2 * columns, 2.5 * rows), dpi=_DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(fits) :]:
        axis.set_axis_off()
    for axis, (title, found) in zip(axes.flat, fits, strict=False):
        top = float(max(found.data.max(), found.fit.max()))
        axis.plot(found.ppm, found.data, color="0.15", lw=0.7, label="data")
        axis.plot(found.ppm, found.fit, color="#d1242f", lw=1.0, label="fit")
        axis.plot(found.ppm, found.baseline, color="#8250df", lw=0.8, ls=":", label="baseline")
        axis.plot(found.ppm, found.residual + 1.15 * top, color="#57606a", lw=0.6, label="residual")
        axis.set_xlim(found.ppm.max(), found.ppm.min())
        axis.set_title(title, fontsize=8)
        axis.tick_params(labelsize=6)
        axis.set_yticks([])
    axes.flat[0].legend(fontsize=6, loc="upper left", ncols=4, frameon=False)
    return _png(figure)


def _png(figure: Any) -> str:
    memory = io.BytesIO()
    figure.savefig(memory, format="png", metadata={"Software": None})
    return base64.b64encode(memory.getvalue()).decode("ascii")
