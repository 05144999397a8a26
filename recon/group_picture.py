"""A quantity of one metabolite over the subjects of a study, as a picture in a page: strips, violins, means."""

import math
from html import escape

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from pulsespec.recon.group import ALL, Values, groups_of

Real = NDArray[np.float64]

COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#8250df", "#9a6700", "#0a7ea4", "#bf3989", "#57606a")
"""One a group."""
_HEIGHT, _TOP, _BOTTOM, _LEFT = 210, 26, 34, 40
_LANE = 84
_HALF = 30.0
"""Half the width of the widest violin, in pixels, as all lengths here."""
_LEAST_FOR_VIOLIN = 5
_GOLDEN = (math.sqrt(5) - 1) / 2


def strip(values: Values, far: set[str]) -> Markup:
    """Return an SVG with a lane a group: a point a subject with the fit's standard deviation, mean and deviation.

    Subjects in `far` are rings. The axis begins at zero, for what is drawn are amounts.
    """
    lanes = groups_of(values) or (ALL,)
    highest = float(np.max(values.value + np.where(np.isfinite(values.sd), values.sd, 0)))
    ticks = nice_ticks(highest)
    width = _LEFT + _LANE * len(lanes) + 8
    parts = [_axis(ticks, width)]
    for number, name in enumerate(lanes):
        middle = _LEFT + _LANE * (number + 0.5)
        parts.append(_lane(values, name, middle, COLOURS[number % len(COLOURS)], ticks[-1], far))
        words = escape(name) if name != ALL or len(lanes) > 1 else ""
        count = int(np.sum(values.of(name)))
        parts.append(_text(middle, _HEIGHT - 14, f"{words} n = {count}".strip(), "middle"))
    title = _text(width / 2, 16, escape(values.metabolite), "middle", "title")
    label = escape(f"{values.metabolite}: {values.quantity}")
    body = "".join(parts)
    return Markup(
        f'<svg viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}" role="img" '
        f'aria-label="{label}">{title}{body}</svg>'
    )


def nice_ticks(highest: float) -> list[float]:
    """Return round numbers from zero to at least `highest`, four to six of them."""
    if not highest > 0:
        return [0.0, 1.0]
    step = highest / 4
    scale = 10.0 ** math.floor(math.log10(step))
    step = next(one * scale for one in (1, 2, 2.5, 5, 10) if one * scale >= step * (1 - 1e-9))
    return [step * k for k in range(math.ceil(highest / step - 1e-9) + 1)]


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top


def _axis(ticks: list[float], width: float) -> str:
    rows = []
    for value in ticks:
        y = _y(value, ticks[-1])
        rows.append(f'<line class="grid" x1="{_LEFT}" x2="{width - 6}" y1="{y:.1f}" y2="{y:.1f}"/>')
        rows.append(_text(_LEFT - 5, y + 4, f"{value:.4g}", "end"))
    return "".join(rows)


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    css = f' class="{kind}"' if kind else ""
    return f'<text{css} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def _lane(values: Values, name: str, middle: float, colour: str, top: float, far: set[str]) -> str:
    inside = np.flatnonzero(values.of(name))
    x, sd = values.value[inside], values.sd[inside]
    density = _Density(x)
    parts = [_violin(x, density, middle, colour, top)]
    for rank, at in enumerate(np.argsort(x, kind="stable")):
        away = ((rank + 1) * _GOLDEN % 1 - 0.5) * 1.4 * _HALF * float(density(x[at]))
        subject = values.subjects[inside[at]]
        parts.append(_point(middle + away, x[at], sd[at], colour, top, subject, subject in far))
    if x.size > 1:
        parts.append(_mean(x, middle, top))
    return "".join(parts)


class _Density:
    """Density of values over its highest, 1 everywhere where there are too few of them."""

    def __init__(self, x: Real) -> None:
        enough = x.size >= _LEAST_FOR_VIOLIN and float(np.ptp(x)) > 0
        self.kernel = gaussian_kde(x) if enough else None
        self.highest = float(self.kernel(np.linspace(x.min(), x.max(), 101)).max()) if self.kernel else 1.0

    def __call__(self, value: float) -> float:
        return float(self.kernel(value)[0]) / self.highest if self.kernel else 0.5


def _violin(x: Real, density: _Density, middle: float, colour: str, top: float) -> str:
    if density.kernel is None:
        return ""
    reach = 2 * math.sqrt(float(density.kernel.covariance[0, 0]))
    levels = np.linspace(max(0.0, float(x.min()) - reach), min(top, float(x.max()) + reach), 60)
    half = [_HALF * density(float(level)) for level in levels]
    right = [f"{middle + w:.1f},{_y(float(v), top):.1f}" for v, w in zip(levels, half, strict=True)]
    left = [f"{middle - w:.1f},{_y(float(v), top):.1f}" for v, w in zip(levels, half, strict=True)]
    return f'<polygon points="{" ".join(right + left[::-1])}" fill="{colour}" opacity="0.13"/>'


def _point(x: float, value: float, sd: float, colour: str, top: float, subject: str, far: bool) -> str:
    y = _y(value, top)
    fill = "#fff" if far else colour
    whisker = ""
    if math.isfinite(sd):
        low, high = _y(max(0.0, value - sd), top), _y(value + sd, top)
        whisker = (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}" '
            'stroke-opacity="0.35"/>'
        )
    words = f"sub-{escape(subject)}: {value:.3g} ± {sd:.2g}"
    return (
        f'{whisker}<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{fill}" stroke="{colour}">'
        f"<title>{words}</title></circle>"
    )


def _mean(x: Real, middle: float, top: float) -> str:
    mean, sd = float(x.mean()), float(x.std(ddof=1))
    y, low, high = _y(mean, top), _y(max(0.0, mean - sd), top), _y(mean + sd, top)
    edge = middle + _HALF + 4
    return (
        f'<line class="mean" x1="{edge - 5:.1f}" x2="{edge + 5:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<line class="mean" x1="{edge:.1f}" x2="{edge:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
    )
