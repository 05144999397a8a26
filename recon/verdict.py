"""Is the spectrum good, usable or poor, and why: measures against thresholds that are data with sources."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon import artefacts
from pulsespec.recon.align import METHOD as ALIGNMENT
from pulsespec.recon.edit_order import keep_naa
from pulsespec.recon.editing import is_difference
from pulsespec.recon.guards import judge
from pulsespec.recon.outliers import METHOD as OUTLIERS
from pulsespec.recon.quality import (
    Quality,
    linewidth_of_water,
    lipid_over_naa,
    noise_sd,
    one_fid,
    phase_difference_deg,
    quality,
    water_height,
    water_over_naa,
)
from pulsespec.recon.transients import Scan, Transients

LEVELS = ("good", "usable", "poor")
NOT_APPLICABLE = "not applicable"
_NO_LIKENESS = 0.02
_LEAST_LIKENESS = 0.3
_SURE_LIKENESS = 0.5
_CLEAR = 20.0
_UNSUPPRESSED = 100.0


@dataclass(frozen=True)
class Measure:
    """One figure of merit with what it says about the spectrum."""

    name: str
    """Its name in `quality.toml`."""
    value: float
    """NaN where it does not apply."""
    level: str
    """Of `LEVELS`, or "not applicable"."""
    words: str
    """Value, unit and what it was measured on; or why it does not apply."""


@dataclass(frozen=True)
class Assessment:
    """All measures of one scan and the verdict that follows from the worst of them."""

    verdict: str
    """Of `LEVELS`, or "not applicable" where the data are no proton spectrum of brain."""
    reasons: tuple[str, ...]
    """What keeps the spectrum from being good, or why no verdict applies; empty for a good one."""
    measures: tuple[Measure, ...]

    def get(self, name: str) -> Measure:
        """Return the measure called `name` in `quality.toml`."""
        return next(measure for measure in self.measures if measure.name == name)

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the measures that are not good."""
        return tuple(measure.name for measure in self.measures if measure.level in LEVELS[1:])

    def line(self) -> str:
        """Return verdict and reasons as one line."""
        shown = [m.words for m in self.measures[:2] if m.level != NOT_APPLICABLE]
        return f"quality: {self.verdict}" + (f" ({'; '.join(self.reasons or shown)})")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "flags": list(self.flags),
            "measures": {
                m.name: {
                    "value": m.value if math.isfinite(m.value) else None,
                    "level": m.level,
                    "words": m.words,
                    "source": thresholds()[m.name]["source"],
                }
                for m in self.measures
            },
        }


@cache
def thresholds() -> Mapping[str, Mapping[str, Any]]:
    """Return what `quality.toml` says: label, unit, direction, limits and source of each measure."""
    return tomllib.loads(files("pulsespec.recon").joinpath("quality.toml").read_text(encoding="utf-8"))


def assess(raw: Scan, done: Scan) -> Assessment:
    """Judge a scan.

    Parameters
    ----------
    raw
        As it was read: clipping, offset and water suppression show there.
    done
        What `recon` made of it, with its records; dims ("t",) or ("edit", "t").

    """
    source = raw.metabolite or raw.water
    spectrum = done.metabolite or done.water
    assert source is not None
    assert spectrum is not None
    measures = [*_receiver(source)]
    why = _why_not(raw, spectrum)
    if why:
        missing = [Measure(name, math.nan, NOT_APPLICABLE, why) for name in thresholds()]
        found = {m.name: m for m in measures if m.name != "offset"}
        shown = tuple(found.get(m.name, m) for m in missing)
        poor = tuple(m.words for m in shown if m.level == "poor")
        return Assessment(NOT_APPLICABLE, (why + _water_line(done), *poor), shown)
    used = keep_naa(spectrum) if spectrum.dims == ("edit", "t") else np.ones(1, dtype=bool)
    one = one_fid(_chosen(spectrum, used))
    share = "" if used.all() else f"{used.sum()} of "
    where = "" if used.size == 1 else f", mean of {share}{used.size} editing conditions"
    measures = [
        *_spectrum(one, where),
        *_water(raw, one, spectrum, used),
        *_shots(spectrum),
        *measures,
    ]
    order = list(thresholds())
    measures.sort(key=lambda m: order.index(m.name))
    worst = max((LEVELS.index(m.level) for m in measures if m.level in LEVELS), default=0)
    reasons = [m.words for level in LEVELS[:0:-1] for m in measures if m.level == level]
    return Assessment(LEVELS[worst], tuple(reasons), tuple(measures))


def _measure(name: str, value: float, note: str = "") -> Measure:
    entry = thresholds()[name]
    if not math.isfinite(value):
        return Measure(name, math.nan, NOT_APPLICABLE, f"{entry['label']}: {note or 'could not be measured'}")
    sign = -1 if entry["direction"] == "low" else 1
    beyond = [sign * value > sign * entry[limit] for limit in LEVELS[1:]]
    level = LEVELS[2] if beyond[1] else LEVELS[1] if beyond[0] else LEVELS[0]
    unit = entry["unit"] if entry["unit"] in ("", "%") else f" {entry['unit']}"
    words = f"{entry['label']} {value:.3g}{unit}" + (f" ({note})" if note else "")
    return Measure(name, float(value), level, words)


def _why_not(raw: Scan, spectrum: Transients) -> str:
    """Return why no verdict on a brain's proton spectrum applies; empty where one does."""
    if spectrum.nucleus != "1H":
        return f"nucleus {spectrum.nucleus}: figures of merit are defined on proton singlets"
    if any(name in spectrum.dims for name in ("x", "y", "z")):
        return "spectroscopic image: judged voxel by voxel only"
    if raw.metabolite is None:
        return "water reference alone"
    if is_difference(spectrum.header):
        return "difference of editing conditions: its conditions are judged, where singlets do not cancel"
    one = one_fid(spectrum)
    likeness = judge(one).as_read
    unsuppressed = raw.water is None and water_over_naa(one_fid(raw.metabolite)) > _UNSUPPRESSED
    if likeness < _SURE_LIKENESS and unsuppressed:
        return f"water more than {_UNSUPPRESSED:g} times anything at NAA: not suppressed"
    if likeness >= _LEAST_LIKENESS:
        return ""
    values, noise = np.abs(np.fft.fft(one.data)), noise_sd(one)
    if values.max() > _CLEAR * noise and (likeness < _NO_LIKENESS or _naa_is_not_it(one)):
        return "no NAA, Cr and Cho in it, though signal is there: no brain (a phantom, or another organ)"
    return ""


def _naa_is_not_it(one: Transients) -> bool:
    """Return whether neither NAA nor Cr stands out: what is there is something else."""
    found: Quality = quality(one)
    return not found.snr > _CLEAR or lipid_over_naa(one) > 3.0


def _water_line(done: Scan) -> str:
    if done.water is None or done.water.nucleus != "1H" or done.water.dims != ("t",):
        return ""
    return f"; linewidth of water {linewidth_of_water(done.water):.2f} Hz"


def _chosen(data: Transients, used: NDArray[np.bool_]) -> Transients:
    """Return only those editing conditions, where data have them apart, in which NAA is there to measure on."""
    if data.size("edit") != used.size or "edit" not in data.dims:
        return data
    return data.with_data(np.compress(used, data.data, axis=data.axis("edit")))


def _spectrum(one: Transients, conditions: str) -> list[Measure]:
    found = quality(one)
    width_ppm = found.linewidth_hz / one.f0_hz * 1e6
    seen = found.snr > 3.0
    note = "" if seen else "NAA is not above the noise"
    return [
        _measure("snr", found.snr, f"NAA{conditions}"),
        _measure(
            "linewidth_ppm",
            width_ppm if seen else math.nan,
            f"{found.linewidth_of}, {found.linewidth_hz:.1f} Hz" if seen else note,
        ),
        _measure("lipid_over_naa", lipid_over_naa(one) if seen else math.nan, note),
        _measure("spurious_echo", artefacts.spurious_echo(one)),
        _measure("phase_difference_deg", phase_difference_deg(one), ""),
    ]


def _water(raw: Scan, one: Transients, spectrum: Transients, used: NDArray[np.bool_]) -> list[Measure]:
    """Judge water before and after its removal: of several editing conditions, in the one that has most of it."""
    assert raw.metabolite is not None
    if raw.water is None:
        share, note = math.nan, "no water reference"
    elif raw.water.size("coil") != raw.metabolite.size("coil"):
        share, note = math.nan, "water and metabolite data have other coils"
    else:
        share, note = 100 * water_height(raw.metabolite) / water_height(raw.water), "if gains are equal"
    before = water_over_naa(one_fid(_chosen(raw.metabolite, used)))
    note_left = f"{before:.2g} before"
    left = water_over_naa(one)
    if "edit" in spectrum.dims:
        left = max(water_over_naa(part, one) for part in _conditions(spectrum))
        note_left += ", worst of the editing conditions"
    return [
        _measure("residual_water_percent", share, note),
        _measure("water_left_over_naa", left, note_left),
    ]


def _conditions(data: Transients) -> list[Transients]:
    fids = np.moveaxis(data.data, data.axis("edit"), 0)
    return [data.with_data(fid, drop=("edit",)) for fid in fids]


def _shots(spectrum: Transients) -> list[Measure]:
    """Judge what alignment and rejection found in single shots; conditions have frames of their own each."""
    figures = {record.method: record.figures for record in spectrum.records}
    drift = figures.get(ALIGNMENT, {}).get("frequency_hz")
    if drift is None or np.size(drift) < 2:
        alone = "single shots are not in the file"
        return [_measure(name, math.nan, alone) for name in ("drift_ppm", "rejected_percent")]
    outliers = figures.get(OUTLIERS, {})
    kept = np.broadcast_to(
        outliers.get("keep", True), np.shape(drift)
    )  # a spoiled shot says nothing of the drift
    span = max(
        float(np.ptp(row[good])) for row, good in zip(_rows(drift), _rows(kept), strict=True) if good.any()
    )
    shots, count = np.size(drift), len(outliers.get("left_out", ()))
    return [
        _measure("drift_ppm", span / spectrum.f0_hz * 1e6, f"{span:.2f} Hz"),
        _measure("rejected_percent", 100 * count / shots, f"{count} of {shots}"),
    ]


def _rows(values: NDArray[Any]) -> NDArray[Any]:
    return np.reshape(values, (-1, np.shape(values)[-1]))


def _receiver(data: Transients) -> list[Measure]:
    count = artefacts.clipped_samples(data)
    offset = math.nan
    if data.nucleus == "1H" and not any(name in data.dims for name in ("x", "y", "z")):
        offset = artefacts.offset_over_noise(one_fid(data))
    return [_measure("clipped", count), _measure("offset", offset)]
