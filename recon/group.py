"""Statistics of a study: what its scans have in common, in what they differ, and which of them stand out.

A subject counts once: what was measured on it several times is averaged first, for repeated scans of one person are
not independent. Scans of different kinds (another sequence, another voxel) are never pooled. No value is left out for
its Cramer-Rao bound being large in percent: that removes small concentrations and biases the mean of those that are
left (Kreis 2016, doi:10.1002/mrm.25568).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import false_discovery_control, norm, ttest_ind

Real = NDArray[np.float64]

ALL = "all"
"""Name of the group of everybody."""
QUANTITIES = {
    "ratio_tCr": "ratio to tCr",
    "concentration_mM": "concentration in mM",
    "concentration_molal_mmol_per_kg": "concentration in mmol per kg of tissue water",
}
"""Columns that statistics are of, and what a reader calls them."""
FAR = 3.5
"""Modified z-score beyond which a value stands out (Iglewicz and Hoaglin 1993, recalled)."""
_LEAST_FOR_OUTLIERS = 10
"""Of fewer values the median deviation says too little."""
_MAD_OF_NORMAL = 0.6745


@dataclass(frozen=True)
class Values:
    """One quantity of one metabolite in scans of one kind; a value a subject."""

    kind: str
    """Entities that tell scans of a subject apart, such as acq-press; empty for a study with one scan each."""
    metabolite: str
    quantity: str
    subjects: tuple[str, ...]
    groups: tuple[str, ...]
    """Group of each subject; empty words where there are none."""
    value: Real
    sd: Real
    """Standard deviation that the fit gives; shape (n,), as `value`."""
    within: float
    """Standard deviation between scans of the same subject, NaN where each has one."""
    undetected: int
    """Scans in which it cannot be told from zero."""

    def of(self, group: str) -> NDArray[np.bool_]:
        """Return which subjects belong to a group."""
        return np.array([group in (ALL, one) for one in self.groups], dtype=bool)


def gather(rows: Sequence[Mapping[str, Any]]) -> list[Values]:
    """Return the values of all metabolites from rows of the long table; rows without a number are left out."""
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        for quantity in QUANTITIES:
            if math.isfinite(row.get(quantity, math.nan)):
                found.setdefault((row["scan"], row["metabolite"], quantity), []).append(row)
    return [_values(*key, some) for key, some in found.items()]


def _values(kind: str, metabolite: str, quantity: str, rows: Sequence[Mapping[str, Any]]) -> Values:
    by_subject: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_subject.setdefault(row["subject"], []).append(row)
    each = [np.array([row[quantity] for row in some], dtype=float) for some in by_subject.values()]
    sds = [np.array([row[f"{quantity}_sd"] for row in some], dtype=float) for some in by_subject.values()]
    repeats = sum(one.size - 1 for one in each)
    squares = sum(float(np.sum((one - one.mean()) ** 2)) for one in each)
    return Values(
        kind,
        metabolite,
        quantity,
        tuple(by_subject),
        tuple(str(some[0].get("group", "")) for some in by_subject.values()),
        np.array([one.mean() for one in each]),
        np.array([np.sqrt(np.sum(one**2)) / one.size for one in sds]),
        math.sqrt(squares / repeats) if repeats else math.nan,
        sum("not-detected" in row.get("flag", "") for row in rows),
    )


def groups_of(values: Values) -> tuple[str, ...]:
    """Return the names of groups in order, without those who have none."""
    return tuple(sorted({name for name in values.groups if name}))


def summaries(values: Iterable[Values]) -> list[dict[str, Any]]:
    """Return mean, deviation and the like of each quantity, for everybody and for each group.

    `weighted_mean` is that of a random-effects model: each value is weighted by the inverse of its own variance and
    that between subjects, `between_sd` squared (Paule and Mandel 1982, doi:10.6028/jres.087.022, recalled).
    """
    return [
        row
        for one in values
        for group in (ALL, *groups_of(one))
        for row in [_summary(one, group)]
        if row["n"]
    ]


def _summary(values: Values, group: str) -> dict[str, Any]:
    inside = values.of(group)
    x, sd = values.value[inside], values.sd[inside]
    n = x.size
    mean = float(x.mean()) if n else math.nan
    spread = float(x.std(ddof=1)) if n > 1 else math.nan
    weighted, weighted_sd, between = weighted_mean(x, sd)
    return {
        "scan": values.kind,
        "metabolite": values.metabolite,
        "quantity": values.quantity,
        "group": group,
        "n": n,
        "mean": mean,
        "sd": spread,
        "cv_percent": 100 * spread / mean if mean > 0 else math.nan,
        "median": float(np.median(x)) if n else math.nan,
        "lowest": float(x.min()) if n else math.nan,
        "highest": float(x.max()) if n else math.nan,
        "weighted_mean": weighted,
        "weighted_mean_sd": weighted_sd,
        "between_sd": between,
        "fit_sd": float(np.sqrt(np.mean(sd**2))) if n else math.nan,
        "within_subject_sd": values.within if group == ALL else math.nan,
        "not_detected": values.undetected if group == ALL else math.nan,
    }


def weighted_mean(x: Real, sd: Real) -> tuple[float, float, float]:
    """Return the mean of a random-effects model, its standard deviation, and that between subjects.

    `x` and `sd` have shape (n,). Values without a standard deviation above 0 have no weight; all is NaN without two.
    """
    sure = np.isfinite(sd) & (sd > 0)
    x, variance = x[sure], sd[sure] ** 2
    if x.size < 2:
        return math.nan, math.nan, math.nan

    def excess(between: float) -> float:
        weights = 1 / (variance + between)
        return float(weights @ (x - weights @ x / weights.sum()) ** 2) - (x.size - 1)

    high = float(np.sum((x - x.mean()) ** 2)) + 1e-300
    between = 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, high, xtol=1e-12 * high))
    weights = 1 / (variance + between)
    return float(weights @ x / weights.sum()), float(weights.sum() ** -0.5), math.sqrt(between)


def comparisons(values: Iterable[Values]) -> list[dict[str, Any]]:
    """Return each pair of groups compared, two subjects or more in each.

    `p` is of Welch's t test (doi:10.1093/biomet/34.1-2.28), `p_adjusted` over the metabolites of one quantity and pair
    (Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x), `hedges_g` an effect size (Hedges 1981,
    doi:10.3102/10769986006002107). `weighted_p` compares the means of `weighted_mean` as normal: of many subjects.
    """
    rows = [
        row for one in values for pair in combinations(groups_of(one), 2) for row in _compared(one, *pair)
    ]
    for some in _families(rows):
        adjusted = false_discovery_control([row["p"] for row in some])
        for row, p in zip(some, adjusted, strict=True):
            row["p_adjusted"] = float(p)
    return rows


def _families(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    keys = dict.fromkeys(_family(row) for row in rows)
    for key in keys:
        yield [row for row in rows if _family(row) == key and math.isfinite(row["p"])]


def _family(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("scan", "quantity", "group_a", "group_b"))


def _compared(values: Values, first: str, second: str) -> Iterator[dict[str, Any]]:
    a, b = values.of(first), values.of(second)
    x, y = values.value[a], values.value[b]
    if min(x.size, y.size) < 2 or not np.ptp(x) + np.ptp(y) > 0:
        return
    found = ttest_ind(x, y, equal_var=False)
    low, high = found.confidence_interval(0.95)
    mean_a, sd_a, _ = weighted_mean(x, values.sd[a])
    mean_b, sd_b, _ = weighted_mean(y, values.sd[b])
    z = (mean_a - mean_b) / math.hypot(sd_a, sd_b)
    yield {
        "scan": values.kind,
        "metabolite": values.metabolite,
        "quantity": values.quantity,
        "group_a": first,
        "group_b": second,
        "n_a": x.size,
        "n_b": y.size,
        "difference": float(x.mean() - y.mean()),
        "low_95": float(low),
        "high_95": float(high),
        "t": float(found.statistic),
        "df": float(found.df),
        "p": float(found.pvalue),
        "p_adjusted": math.nan,
        "hedges_g": _hedges(x, y),
        "weighted_difference": mean_a - mean_b,
        "weighted_p": float(2 * norm.sf(abs(z))),
    }


def _hedges(x: Real, y: Real) -> float:
    """Return the difference over the pooled deviation, freed of its bias in small groups."""
    free = x.size + y.size - 2
    pooled = math.sqrt(((x.size - 1) * x.var(ddof=1) + (y.size - 1) * y.var(ddof=1)) / free)
    return float((x.mean() - y.mean()) / pooled * (1 - 3 / (4 * free - 1)))


def modified_z(x: Real) -> Real:
    """Return distances from the median in robust standard deviations; NaN of fewer than ten values; shape as `x`."""
    if x.size < _LEAST_FOR_OUTLIERS:
        return np.full(x.shape, np.nan)
    away = x - np.median(x)
    spread = float(np.median(np.abs(away)))
    if spread == 0:
        return np.full(x.shape, np.nan)
    return np.asarray(_MAD_OF_NORMAL * away / spread)


def outliers(values: Iterable[Values]) -> list[dict[str, Any]]:
    """Return the values that stand out of their group, or of everybody where groups are small."""
    return [row for one in values for row in _far(one)]


def _far(values: Values) -> Iterator[dict[str, Any]]:
    z = modified_z(values.value)
    for group in groups_of(values):
        inside = values.of(group)
        own = modified_z(values.value[inside])
        if np.all(np.isfinite(own)):
            z[inside] = own
    for at in np.flatnonzero(np.abs(z) > FAR):
        yield {
            "scan": values.kind,
            "subject": values.subjects[at],
            "group": values.groups[at],
            "metabolite": values.metabolite,
            "quantity": values.quantity,
            "value": float(values.value[at]),
            "z": float(z[at]),
        }
