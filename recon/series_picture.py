"""A picture of a series: spectra with their fit, and amplitudes against the variable with the course of the model."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.files import atomic_path
from pulsespec.recon.fit import SUMS
from pulsespec.recon.series_fit import SeriesResult

Real = NDArray[np.float64]

_MOST_CURVES = 6
_MOST_SPECTRA = 24


def draw(found: SeriesResult, path: Path, overwrite: bool = False) -> None:
    """Write a PNG: data and joint fit of each spectrum, and the strongest metabolites against the variable."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.5), layout="constrained")
    spectra, courses = figure.subplots(1, 2)
    _spectra(spectra, found)
    _courses(courses, found)
    with atomic_path(path, overwrite) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _spectra(axes: Any, found: SeriesResult) -> None:
    joint = found.joint
    shown = np.unique(
        np.linspace(0, found.plan.x.size - 1, min(found.plan.x.size, _MOST_SPECTRA)).astype(int)
    )
    step = 0.5 * float(np.ptp(joint.data[shown]))
    variable = found.model.variable
    for row, k in enumerate(shown):
        axes.plot(joint.ppm, joint.data[k] - row * step, color="0.3", linewidth=0.6)
        axes.plot(joint.ppm, joint.fit[k] - row * step, color="tab:red", linewidth=0.8)
        axes.text(joint.ppm.min(), -row * step, f" {found.plan.x[k]:.4g}", fontsize=7, va="bottom")
    axes.set_xlim(joint.ppm.max(), joint.ppm.min())
    axes.set_yticks([])
    axes.set_xlabel("chemical shift / ppm")
    axes.set_title(f"data (grey) and joint fit (red); {variable.name} / {variable.unit}", fontsize=9)


def _courses(axes: Any, found: SeriesResult) -> None:
    """Draw linked amplitudes with their deviation over those of each spectrum alone, the first value being 1."""
    variable, order = found.model.variable, np.argsort(found.plan.x)
    x = found.plan.x[order]
    for colour, (name, weights) in enumerate(_strongest(found).items()):
        linked, sd = (values[order] for values in found.curve(weights))
        scale = float(np.abs(linked).max()) or 1.0
        shade = f"C{colour}"
        axes.plot(x, linked / scale, color=shade, label=name, linewidth=1.2)
        axes.fill_between(x, (linked - sd) / scale, (linked + sd) / scale, color=shade, alpha=0.2)
        axes.errorbar(
            *_points(found, weights, order, scale), fmt="o", color=shade, markersize=3, linewidth=0.7
        )
    axes.set_xlabel(f"{variable.name} / {variable.unit}")
    axes.set_ylabel("amplitude over the largest of the model")
    axes.set_title("model (lines) and spectra fitted one by one (points)", fontsize=9)
    axes.legend(fontsize=8)


def _points(
    found: SeriesResult, weights: dict[int, float], order: Any, scale: float
) -> tuple[Real, Real, Real]:
    x = found.plan.x[order]
    if not found.alone:
        values = sum((w * found.released[:, k] for k, w in weights.items()), np.zeros(x.size))
        return x, values[order] / scale, np.zeros(x.size)
    named = {found.names[k]: w for k, w in weights.items()}
    pairs = np.array([one.combine(named) for one in found.alone])[order] / scale
    return x, pairs[:, 0], pairs[:, 1]


def _strongest(found: SeriesResult) -> dict[str, dict[int, float]]:
    """Return the sums, and the components in none of them, that are known best."""
    parts = {
        name: [found.names.index(part) for part in of if part in found.names] for name, of in SUMS.items()
    }
    parts = {name: of for name, of in parts.items() if of}
    inside = {k for of in parts.values() for k in of}
    parts |= {name: [k] for k, name in enumerate(found.names) if k not in inside}
    weights = {name: dict.fromkeys(of, 1.0) for name, of in parts.items()}

    def known(name: str) -> float:
        value, sd = found.curve(weights[name])
        return float(np.max(np.abs(value) / (sd + 1e-300)))

    best = sorted(weights, key=known, reverse=True)[:_MOST_CURVES]
    return {name: weights[name] for name in weights if name in best}
