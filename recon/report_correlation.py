"""How the amplitudes of a fit hang together, as a picture for the report."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WRITTEN = 0.3
"""Correlations of at least this size are written into their squares."""
_COLOURS = [[0.0, "#0969da"], [0.5, "#ffffff"], [1.0, "#d1242f"]]


def correlation_figure(names: Sequence[str], correlation: NDArray[np.float64]) -> dict[str, Any]:
    """Return the plotly figure of a correlation matrix, shape (n, n): its lower half, blue against, red together."""
    shown = np.where(np.tril(np.ones_like(correlation), -1) > 0, correlation, np.nan)
    rows = [[None if np.isnan(value) else round(float(value), 3) for value in row] for row in shown]
    words = [
        ["" if value is None or abs(value) < _WRITTEN else f"{value:.2f}".replace("0.", ".") for value in row]
        for row in rows
    ]
    trace = {
        "type": "heatmap",
        "x": list(names),
        "y": list(names),
        "z": rows,
        "zmin": -1,
        "zmax": 1,
        "colorscale": _COLOURS,
        "text": words,
        "texttemplate": "%{text}",
        "textfont": {"size": 9},
        "hovertemplate": "%{y} and %{x}: %{z:.2f}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"title": {"text": "correlation"}},
    }
    layout = {
        "height": 240 + 20 * len(names),
        "margin": {"l": 70, "r": 10, "t": 20, "b": 70},
        "xaxis": {"tickangle": -60, "showgrid": False, "tickfont": {"size": 10}, "dtick": 1},
        "yaxis": {"autorange": "reversed", "showgrid": False, "tickfont": {"size": 10}, "dtick": 1},
        "plot_bgcolor": "#ffffff",
        "font": {"family": "system-ui, sans-serif", "size": 11},
    }
    return {"data": [trace], "layout": layout}
