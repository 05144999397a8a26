"""One self-contained HTML page that shows what was measured, what was fitted and how it came about.

The page carries its own plotting library and forbids the browser any request, so it opens without a
network and tells nobody that it was opened.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError
from pulsespec.recon.fit import FitResult
from pulsespec.recon.page import fill
from pulsespec.recon.quality import quality
from pulsespec.recon.report_correlation import correlation_figure
from pulsespec.recon.transients import Record, Transients
from pulsespec.recon.verdict import Assessment

_LAYER_STYLES = {
    "data": {"color": "#1a1a1a", "width": 1.2},
    "fit": {"color": "#d1242f", "width": 1.6},
    "baseline": {"color": "#8250df", "width": 1.4, "dash": "dot"},
    "residual": {"color": "#57606a", "width": 1.0},
}
_COLOURS = ("#0969da", "#1a7f37", "#bc4c00", "#bf3989", "#1b7c83", "#9a6700", "#6639ba", "#cf222e")
_MAX_CURVES = 16
"""More rows than this in a record's two-dimensional figure are shown as their median and quartiles."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything the page shows."""

    title: str
    ppm: NDArray[np.float64]
    """Chemical shift of each point shown, in ppm, any order; shape (n,)."""
    layers: Mapping[str, NDArray[np.float64]]
    """Real spectra "data", "fit", "baseline" and "residual"; each of shape (n,)."""
    components: Mapping[str, NDArray[np.float64]]
    """Real spectrum of each fitted component by name; each of shape (n,)."""
    table: Sequence[Mapping[str, Any]]
    """Rows of the table of concentrations; all have the same keys, the first of which is the name."""
    quality: Mapping[str, Any] = field(default_factory=dict)
    """Figures of merit to be shown first, such as signal-to-noise ratio and linewidth in Hz."""
    judged: Assessment | None = None
    """How good the data are, and why."""
    warnings: Sequence[str] = ()
    records: Sequence[Record] = ()
    """What each processing step did, in order."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Settings and origins: nested mappings of plain values."""
    correlation: tuple[Sequence[str], NDArray[np.float64]] | None = None
    """Names of the components and how their amplitudes correlate; shape (n, n)."""
    fit_range_ppm: tuple[float, float] | None = None
    """Where the fit looked; the first view of the plot is this range."""

    def __post_init__(self) -> None:
        """Check that every curve lies on the axis."""
        n = self.ppm.shape
        for kind, curves in (("layers", self.layers), ("components", self.components)):
            for name, values in curves.items():
                if np.shape(values) != n:
                    raise InputError(f"Report {kind}[{name!r}]: shape {np.shape(values)}, expected {n}")


def fit_report(
    found: FitResult,
    spectrum: Transients,
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str,
    warnings: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    judged: Assessment | None = None,
) -> Report:
    """Return the report of one fit.

    Parameters
    ----------
    found
        The fit.
    spectrum
        What was fitted; its records and quality are shown.
    rows
        The table of concentrations.
    title
        What the page is called: no name or number that identifies a person.
    warnings
        What the reader must know besides the warnings of the fit.
    provenance
        Settings and origins besides those of the fit.
    judged
        How good the data are: the verdict leads the figures, all measures are a panel of their own.

    """
    merit = quality(spectrum)
    return Report(
        title=title,
        ppm=found.ppm,
        layers={
            "data": found.data,
            "fit": found.fit,
            "baseline": found.baseline,
            "residual": found.residual,
        },
        components=found.components,
        table=rows,
        quality=({"verdict": judged.verdict} if judged else {})
        | ({} if found.converged else {"fit": "refused: no numbers are given"})
        | {
            "signal-to-noise ratio (NAA)": merit.snr,
            f"linewidth of {merit.linewidth_of} / Hz": merit.linewidth_hz,
            "shift / ppm": found.parameters["shift_ppm"],
            "phase / degrees": found.parameters["phase0_deg"],
            "residual over noise": found.parameters["residual_over_noise"],
        },
        judged=judged,
        warnings=[*warnings, *(w for w in found.warnings if w not in warnings)],
        records=spectrum.records,
        provenance={
            **(provenance or {}),
            "fit": {**dataclasses.asdict(found.settings), **found.parameters, "search": found.message},
        },
        correlation=(found.names, found.correlation) if found.converged else None,
        fit_range_ppm=found.settings.ppm_range,
    )


def write_report(report: Report, path: Path) -> None:
    """Write `report` as one HTML file to `path`, which is replaced if it exists."""
    path.write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    """Return `report` as the text of one HTML page that refers to nothing outside itself."""
    steps = [(record, numbers(record), record_figures(record)) for record in report.records]
    return fill(
        "report.html",
        show,
        title=report.title,
        warnings=report.warnings,
        tiles=report.quality,
        report=report,
        columns=list(report.table[0]) if report.table else [],
        spectrum=spectrum_figure(report),
        correlation=correlation_figure(*report.correlation) if report.correlation else None,
        steps=steps,
        steps_figures={
            f"step-{s}-{p}": plot for s, (_, _, plots) in enumerate(steps) for p, plot in enumerate(plots)
        },
        plotly_js=_plotly_js(),
        provenance=list(flatten(report.provenance)),
    )


def _plotly_js() -> str:
    return files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")


def show(value: Any) -> str:
    """Return `value` as text for a reader: four significant digits, a dash for what is not known."""
    if value is None:
        return "–"
    if isinstance(value, float | np.floating):
        number = float(value)
        if not math.isfinite(number):
            return "–"
        return f"{number:.4g}" if abs(number) < 1e5 else f"{number:.9g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {show(item)}" for key, item in value.items())
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(show(item) for item in np.asarray(value, dtype=object).ravel())
    return str(value)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the leaves of nested mappings as (dotted name, text) pairs."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        rows += flatten(value, f"{name}.") if isinstance(value, Mapping) else [(name, show(value))]
    return rows


def _numbers(values: Any) -> list[float | None]:
    """Return a list that JSON can hold: six significant digits, and `None` where not finite."""
    flat = np.asarray(values, dtype=float).tolist()
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in flat]


def _trace(name: str, x: list[float | None], y: Any, axis: str, line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": _numbers(y),
        "yaxis": axis,
        "line": dict(line),
        "hovertemplate": f"{name}<br>%{{x:.3f}} ppm, %{{y:.4g}}<extra></extra>",
    }


def spectrum_figure(report: Report) -> dict[str, Any]:
    """Return the plotly figure of the fit: the whole above, every component stacked below, one ppm axis."""
    scale = _scale(report)
    order = np.argsort(report.ppm)
    ppm = _numbers(report.ppm[order])
    layers = {name: np.asarray(values)[order] / scale for name, values in report.layers.items()}
    if "residual" in layers:
        top = max((float(np.nanmax(v)) for k, v in layers.items() if k != "residual"), default=1.0)
        layers["residual"] = layers["residual"] + top + 0.1 - min(0.0, float(np.nanmin(layers["residual"])))
    traces = [
        _trace(name, ppm, values, "y", _LAYER_STYLES.get(name, {"width": 1.2}))
        for name, values in layers.items()
    ]
    components, step = _stacked(report, scale, order)
    for k, (name, values) in enumerate(components.items()):
        trace = _trace(name, ppm, values, "y2", {"color": _COLOURS[k % len(_COLOURS)], "width": 1.2})
        traces.append(trace | {"legendgroup": "components", "meta": "component"})
    return {"data": traces, "layout": _layout(report, list(components), step)}


def _scale(report: Report) -> float:
    """Return the largest value of the curves inside the fitted range, so that the plot's unit is that."""
    inside = np.ones(report.ppm.shape, dtype=bool)
    if report.fit_range_ppm is not None:
        low, high = sorted(report.fit_range_ppm)
        inside = (report.ppm >= low) & (report.ppm <= high)
    largest = [float(np.nanmax(np.abs(v[inside]))) for v in report.layers.values() if inside.any()]
    return max(largest, default=0.0) or 1.0


def _stacked(report: Report, scale: float, order: Any) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Return the components, each lifted by a step so that it has a line of its own, first one on top."""
    heights = [float(np.nanmax(np.abs(values))) / scale for values in report.components.values()]
    step = 0.35 * max([*heights, 1e-12])
    count = len(heights)
    return {
        name: np.asarray(values)[order] / scale + (count - 1 - k) * step
        for k, (name, values) in enumerate(report.components.items())
    }, step


def _layout(report: Report, names: list[str], step: float) -> dict[str, Any]:
    low, high = sorted(report.fit_range_ppm or (float(report.ppm.min()), float(report.ppm.max())))
    split = 0.5 if names else 0.0
    labels = {
        "tickvals": [(len(names) - 1 - k) * step for k in range(len(names))],
        "ticktext": names,
        "tickfont": {"size": 10},
    }
    return {
        "height": 480 + 20 * len(names),
        "margin": {"l": 70, "r": 10, "t": 36, "b": 50},
        "xaxis": {
            "title": {"text": "chemical shift / ppm"},
            "range": [high, low],
            "anchor": "y2" if names else "y",
        },
        "yaxis": {
            "domain": [split + 0.02 if names else 0.0, 1.0],
            "title": {"text": "signal (largest = 1)"},
            "zeroline": False,
        },
        "yaxis2": {"domain": [0.0, split], "zeroline": False, "showgrid": False, **labels},
        "legend": {"itemclick": "toggle", "itemdoubleclick": "toggleothers", "tracegroupgap": 12},
        "hovermode": "closest",
        "plot_bgcolor": "#ffffff",
        "font": {"family": "system-ui, sans-serif", "size": 12},
    }


def numbers(record: Record) -> list[tuple[str, str]]:
    """Return the single numbers and words among the figures of `record`, as (name, text)."""
    return [
        (name, show(value))
        for name, value in record.figures.items()
        if np.ndim(value) == 0 and not _is_picture(value)
    ]


def _is_picture(value: Any) -> bool:
    return isinstance(value, Mapping) and "ppm" in value


def _picture(name: str, curves: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plotly figure of spectra before and after a step: curves by name on the axis "ppm"."""
    ppm = _numbers(curves["ppm"])
    shown = [(label, values) for label, values in curves.items() if label != "ppm"]
    traces = [
        _trace(label, ppm, values, "y", {"color": _COLOURS[k % len(_COLOURS)], "width": 1.2})
        for k, (label, values) in enumerate(shown)
    ]
    layout = {
        "height": 280,
        "margin": {"l": 60, "r": 10, "t": 36, "b": 40},
        "xaxis": {"title": {"text": "chemical shift / ppm"}, "autorange": "reversed"},
        "yaxis": {"title": {"text": name.replace("_", " ")}},
        "font": {"family": "system-ui, sans-serif", "size": 11},
    }
    return {"data": traces, "layout": layout}


def record_figures(record: Record) -> list[dict[str, Any]]:
    """Return a plotly figure for each array among the figures of `record`: its values by index."""
    figures = []
    for name, value in record.figures.items():
        if _is_picture(value):
            figures.append(_picture(name, value))
            continue
        if isinstance(value, Mapping):
            continue
        array = np.asarray(value)
        if array.ndim == 0 or array.size < 2 or array.dtype.kind not in "fiubc":
            continue
        real = np.abs(array) if np.iscomplexobj(array) else array.astype(float)
        rows = real.reshape(-1, real.shape[-1]) if real.ndim > 1 else real[np.newaxis]
        figures.append(_record_figure(name, _spread(rows)))
    return figures


def _spread(rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the curves to draw: all rows where they are few, else their median and quartiles."""
    if len(rows) == 1:
        return {"": rows[0]}
    if len(rows) <= _MAX_CURVES:
        return {str(k): row for k, row in enumerate(rows)}
    low, middle, high = np.nanpercentile(rows, (25, 50, 75), axis=0)
    return {"lower quartile": low, "median": middle, "upper quartile": high}


def _record_figure(name: str, curves: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    longest = max(len(curve) for curve in curves.values())
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers" if longest <= 400 else "lines",
            "name": label,
            "y": _numbers(curve),
            "line": {"color": _COLOURS[k % len(_COLOURS)], "width": 1.2},
            "marker": {"size": 4},
        }
        for k, (label, curve) in enumerate(curves.items())
    ]
    layout = {
        "height": 240,
        "margin": {"l": 60, "r": 10, "t": 36, "b": 40},
        "xaxis": {"title": {"text": "index"}},
        "yaxis": {"title": {"text": name.replace("_", " ")}},
        "showlegend": len(curves) > 1,
        "font": {"family": "system-ui, sans-serif", "size": 11},
    }
    return {"data": traces, "layout": layout}
