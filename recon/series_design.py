"""Regressors of a general linear model over time: rest, drift, blocks of stimulation and their response."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import DataError, InputError
from pulsespec.recon.series_order import Order
from pulsespec.recon.series_schema import Regressor, SeriesModel

Real = NDArray[np.float64]

_STEP_S = 0.1
_HRF_S = 32.0


@dataclass(frozen=True)
class Events:
    """Blocks of stimulation as in a BIDS events table, from the start of the first shot."""

    onset_s: Real
    duration_s: Real
    trial_type: tuple[str, ...]
    source: str


def read_events(path: Path) -> Events:
    """Read a BIDS events table: tab-separated, with `onset`, `duration` in s and perhaps `trial_type`.

    Raises
    ------
    DataError
        It cannot be read, lacks a column, or has times that are no numbers or durations below 0.

    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a tab-separated table") from error
    if not rows or not {"onset", "duration"} <= set(rows[0]):
        raise DataError(f"{path}: expected tab-separated columns onset and duration, in s")
    try:
        onset = np.array([float(row["onset"]) for row in rows])
        duration = np.array([float(row["duration"]) for row in rows])
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: onset or duration is no number") from error
    if not np.all(np.isfinite(onset)) or not np.all(duration >= 0):
        raise DataError(f"{path}: onset or duration is not finite, or a duration below 0")
    return Events(onset, duration, tuple(str(row.get("trial_type") or "") for row in rows), path.name)


def response(times_s: Real) -> Real:
    """Return the canonical haemodynamic response at times in s, its integral being 1.

    Two gamma functions, 6 and 12 steps of 0.9 s, the second 0.35 of the first (Glover 1999,
    doi:10.1006/nimg.1998.0419, recalled).
    """
    fine = np.arange(0, _HRF_S, _STEP_S)
    return np.asarray(_bumps(np.maximum(times_s, 0.0)) / (_bumps(fine).sum() * _STEP_S))


def _bumps(t: Real) -> Real:
    first, second = ((t / (n * 0.9)) ** n * np.exp(-(t - n * 0.9) / 0.9) for n in (6, 12))
    return np.asarray(first - 0.35 * second)


def shot_times(n_shots: int, tr_s: float | None) -> Real:
    """Return the time of each shot in s from the first one; `InputError` where TR is not known."""
    if tr_s is None:
        raise InputError(
            "series over time: TR is not in the header; give times as --values or --tr-ms in the data"
        )
    return np.asarray(np.arange(n_shots) * tr_s, dtype=np.float64)


def mean_of(values: Real, order: Order) -> Real:
    """Return the mean over the shots of each spectrum; shape (n_spectra,)."""
    return np.asarray(np.bincount(order.entry, values, order.size) / order.counts)


def design(
    model: SeriesModel, order: Order, x: Real, tr_s: float | None, events: Events | None
) -> dict[str, Real]:
    """Return the regressors of a model by name; shape (n_spectra,) each.

    Events are followed shot by shot and averaged over the shots of a spectrum, as the signal is.
    """
    return {one.name: _regressor(one, order, x, tr_s, events) for one in model.regressors}


def _regressor(one: Regressor, order: Order, x: Real, tr_s: float | None, events: Events | None) -> Real:
    if one.kind == "constant":
        return np.ones(x.size)
    if one.kind == "drift":
        span = float(np.ptp(x)) or 1.0
        return np.asarray((2 * (x - x.min()) / span - 1) ** one.order)
    if one.kind == "column":
        found = order.columns.get(str(one.column))
        if found is None:
            known: Mapping[str, Real] = order.columns
            raise InputError(
                f"regressor {one.name}: no column {one.column!r} in --values ({', '.join(known) or 'none'})"
            )
        return found
    if events is None:
        raise InputError(f"regressor {one.name}: needs the events of the scan; pass --events TABLE")
    times = shot_times(order.entry.size, tr_s)
    return mean_of(_course(one, events, times), order)


def _course(one: Regressor, events: Events, times_s: Real) -> Real:
    """Return what is on at the time of each shot, smoothed by the response that is asked for."""
    chosen = [k for k, kind in enumerate(events.trial_type) if one.trial_type in (None, kind)]
    if not chosen:
        raise InputError(
            f"regressor {one.name}: no event of type {one.trial_type!r} in {events.source} "
            f"({', '.join(sorted(set(events.trial_type)))})"
        )
    if one.response == "none":
        return _on(events, chosen, times_s)
    fine = np.arange(-_HRF_S, float(times_s.max()) + _STEP_S, _STEP_S)
    kernel = response(np.arange(0, _HRF_S, _STEP_S)) * _STEP_S
    smooth = np.convolve(_on(events, chosen, fine), kernel)[: fine.size]
    return np.asarray(np.interp(times_s, fine, smooth))


def _on(events: Events, chosen: list[int], times_s: Real) -> Real:
    found = np.zeros(times_s.size)
    for k in chosen:
        start, end = events.onset_s[k], events.onset_s[k] + events.duration_s[k]
        found[(times_s >= start - 1e-9) & (times_s < end - 1e-9)] = 1.0
    return found
