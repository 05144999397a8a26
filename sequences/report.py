"""One self-contained page about a written `.seq`: timing, pulses, slices, displacement, suppression, pathways."""

import base64
import io
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import numpy as np

from pulsespec import __version__
from pulsespec.files import atomic_path
from pulsespec.sequences.diagram import figure
from pulsespec.sequences.localisation import RESONANCES_PPM, Localisation, localisation
from pulsespec.sequences.purity import Purity, purity
from pulsespec.sequences.steady_state import longitudinal_at_excitation, residual_water
from pulsespec.simulator.timeline import Timeline, read_timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_T1_S = (0.8, 1.2, 2.0, 4.0)
_B1 = (0.8, 0.9, 1.0, 1.1, 1.2)
_METABOLITE_T1_S = 1.3
"""Of the metabolites whose bleaching by the suppression is shown."""
_SHOWN_PATHWAYS = 8


@dataclass(frozen=True)
class _Section:
    title: str
    rows: list[dict[str, str]]
    image: str = ""
    note: str = ""


def write_report(sequence: Path, output: Path, *, overwrite: bool = False) -> None:
    """Write the page of a `.seq`; `output` is complete or left as it was.

    Raises
    ------
    SequenceError
        The file cannot be read, or does not say its pathway.
    InputError
        `output` exists without `overwrite`.

    """
    timeline = read_timeline(sequence)
    selected = localisation(timeline)
    sections = [
        _timing(timeline, selected),
        _Section("One shot", [], _encoded(figure(sequence))),
        _pulses(selected),
        _Section("Slices", [], _encoded(_profiles(selected))),
        _displacement(selected),
        _suppression(timeline),
        _pathways(purity(timeline)),
    ]
    template = jinja2.Template(
        (files("pulsespec.sequences") / "report.html").read_text(encoding="utf-8"), autoescape=True
    )
    title = f"{timeline.definitions.get('ProtocolName', sequence.name)} on {timeline.definitions.get('Scanner', '?')}"
    page = template.render(title=title, version=__version__, sections=[s for s in sections if s])
    with atomic_path(output, overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _encoded(drawn: "Figure") -> str:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()


def _timing(timeline: Timeline, selected: Localisation) -> _Section:
    rows = {
        "echo time, measured": f"{selected.echo_time_s * 1e3:.2f} ms",
        "first sample after the excitation": f"{selected.first_sample_s * 1e3:.2f} ms",
    }
    if selected.mixing_time_s:
        rows["mixing time, measured"] = f"{selected.mixing_time_s * 1e3:.2f} ms"
    for key, unit, scale in (
        ("TE", "ms", 1e3),
        ("TM", "ms", 1e3),
        ("TR", "ms", 1e3),
        ("SpectralWidth", "Hz", 1),
    ):
        value = timeline.seconds(key)
        if value is not None:
            rows[f"{key}, as the file says"] = f"{value * scale:g} {unit}"
    readout = timeline.shots[0].readout
    rows["readout"] = f"{readout.samples} samples of {readout.dwell_s * 1e6:g} us"
    rows["field"] = f"{timeline.f0_hz * 1e-6:.3f} MHz"
    return _Section("Timing", [{"": key, "value": value} for key, value in rows.items()])


def _pulses(selected: Localisation) -> _Section:
    rows = [
        {
            "pulse": str(pulse.number),
            "axis": pulse.axis,
            "duration (ms)": f"{pulse.duration_s * 1e3:.2f}",
            "peak B1 (uT)": f"{pulse.peak_b1_ut:.1f}",
            "slice (mm)": f"{pulse.thickness_m * 1e3:.1f}",
            "centre (mm)": f"{pulse.centre_m * 1e3:.1f}",
            "displacement (% per ppm)": f"{pulse.percent_per_ppm:.2f}",
        }
        for pulse in selected.pulses
    ]
    return _Section(
        "Slice-selective pulses", rows, note="For the resonance at the carrier; axes of the voxel."
    )


def _profiles(selected: Localisation) -> "Figure":
    from matplotlib.figure import Figure

    made = Figure(figsize=(12, 3), layout="constrained")
    axes = made.subplots(1, 3, sharey=True)
    x_mm = selected.positions_m * 1e3
    for axis, name, profile in zip(axes, "xyz", selected.profiles, strict=True):
        axis.plot(x_mm, profile, color="#1f4e79")
        wide = np.flatnonzero(profile > 0.02 * profile.max())
        edge = max(abs(x_mm[wide[0]]), abs(x_mm[wide[-1]])) * 1.4 if wide.size else 100.0
        axis.set(xlim=(-min(edge, 150), min(edge, 150)), xlabel=f"{name} from the voxel's centre (mm)")
        axis.set_title(f"along {name}")
        axis.grid(color="0.92")
    axes[0].set_ylabel("signal kept")
    return made


def _displacement(selected: Localisation) -> _Section:
    rows = []
    for name, (x, y, z) in selected.displacement_mm.items():
        rows.append(
            {
                "resonance": f"{name} ({RESONANCES_PPM[name]:g} ppm)",
                "x (mm)": f"{x:+.2f}",
                "y (mm)": f"{y:+.2f}",
                "z (mm)": f"{z:+.2f}",
                "shared with the voxel": f"{selected.overlap[name]:.0%}",
            }
        )
    return _Section("Chemical-shift displacement", rows, note="From the resonance at the carrier.")


def _suppression(timeline: Timeline) -> _Section | None:
    if not timeline.select(water_reference=False):
        return None
    left = residual_water(timeline, None, _T1_S, _B1, (0.0,))[..., 0]
    if np.ptp(left) < 1e-9:
        return None
    rows = [
        {"T1 of water (s)": f"{t1:g}"}
        | {f"B1 {b1:.0%}": f"{value:+.2%}" for b1, value in zip(_B1, row, strict=True)}
        for t1, row in zip(_T1_S, left, strict=True)
    ]
    kept = ", ".join(f"{ppm:g} ppm {_kept(timeline, ppm):.1%}" for ppm in (4.05, 3.91, 3.56, 2.01))
    note = (
        "Longitudinal water at the excitation over equilibrium, in the steady state of TR. Of metabolites "
        f"(T1 {_METABOLITE_T1_S:g} s) the preparation leaves: {kept}."
    )
    return _Section("Suppression of water", rows, note=note)


def _kept(timeline: Timeline, ppm: float) -> float:
    """Return what of a metabolite is left beside what the same shots without suppression have."""
    with_it = longitudinal_at_excitation(timeline, None, ppm, (_METABOLITE_T1_S,))
    if not timeline.select(water_reference=True):
        return float(with_it[0, 0, 0])
    without = longitudinal_at_excitation(timeline, None, ppm, (_METABOLITE_T1_S,), water_reference=True)
    return float(with_it[0, 0, 0] / without[0, 0, 0])


def _pathways(found: Purity) -> _Section:
    rows = [
        {
            "order after each pulse": " ".join(f"{order:+d}" for order in row.orders),
            "metabolites": f"{row.metabolites:.1e}",
            "water": f"{row.water:.1e}",
        }
        for row in found.rows[:_SHOWN_PATHWAYS]
    ]
    note = "Signal over that of the wanted pathway, with the phase cycle. "
    note += f"Sum for metabolites {found.metabolite_sum:.1e}"
    if found.water_residual is not None:
        note += (
            f"; of water with the suppression {found.water_sum:.1e}, while the suppression leaves "
            f"{found.water_residual:.1e} at worst along the wanted pathway"
        )
    return _Section("Unwanted coherence pathways", rows, note=note + ".")
