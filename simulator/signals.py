"""What one coil of sensitivity 1 would receive from each shot without noise, in mM of protons, Pulseq sense."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError
from pulsespec.simulator.basis import Lines, render
from pulsespec.simulator.broad import broad_lines, ratio_priors
from pulsespec.simulator.chances import Chances, stream
from pulsespec.simulator.faults import Faults
from pulsespec.simulator.setup import Setup
from pulsespec.simulator.tissue_lines import tissue_lines

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_ZERO_FILLING = 8
_SCATTER_PPM = 0.05
_WIDTH_PPM = (0.03, 0.12)

_LEAST_ECHO = 1e-100
"""Of an echo far outside the readout nothing is seen, whatever its height."""


@dataclass(frozen=True)
class Signals:
    """Parts of the signal, before frequency, phase and eddy currents."""

    metabolite: Complex
    """Of each condition, macromolecules included, as wide as the field makes lines; shape (n_conditions, samples)."""
    water: Complex
    """Unsuppressed water; shape (samples,)."""
    residual: Complex
    """Lines of residual water, scaled to water; shape (samples,)."""
    lipid: Complex
    """Lipid whose spectrum is as high as the reference peak; shape (samples,)."""
    echo: Complex
    """A spurious echo of phase 0 at its centre, as high as `Faults.echo` says; shape (samples,)."""
    height: Real
    """Height of the reference peak of each condition; shape (n_conditions,)."""
    eddy_rad: Real
    """Phase of eddy currents in a water reference; shape (samples,)."""


def signals(setup: Setup, faults: Faults, seed: int) -> Signals:
    """Return the parts of the signal of a scan; `InputError` where the reference peak is missing."""
    t = setup.time_s
    line = np.exp(-np.pi * faults.linewidth_hz * t - (np.pi * faults.gauss_hz * t) ** 2 / (4 * np.log(2)))
    metabolite = np.array([_metabolites(setup, condition, faults) for condition in sorted(setup.bases)])
    metabolite *= line
    heights = np.array([reference_height(setup, fid) for fid in metabolite])
    if not heights.max() > 0:
        raise InputError(f"phantom {setup.phantom.name}: no signal at {_where(setup)} to measure SNR by")
    assert setup.basis.water is not None
    water = setup.phantom.water_mm * render(setup.basis.water, setup.samples, setup.dwell_s)
    lipid = _lipid(setup) * line
    return Signals(
        metabolite,
        water * line,
        _residual(setup, water, faults, seed) * line,
        lipid * heights.max() / _peak(lipid),
        _echo(setup, faults, float(heights.max())),
        heights,
        faults.eddy_rad * (1 - np.exp(-t / faults.eddy_time_s))
        + faults.eddy_fast_rad * (1 - np.exp(-t / faults.eddy_fast_time_s)),
    )


def shot_signals(
    setup: Setup, parts: Signals, chances: Chances, faults: Faults, shots: slice
) -> tuple[Complex, Complex]:
    """Return what a coil of sensitivity 1 receives, and the part from outside the voxel; (n_chosen, samples)."""
    t = setup.time_s
    water, condition = setup.is_water[shots], setup.condition[shots]
    rows = np.searchsorted(sorted(setup.bases), np.where(water, min(setup.bases), condition))
    column = np.s_[shots, None]
    fids = chances.gain[column] * (parts.metabolite[rows] + chances.residual_water[column] * parts.residual)
    fids *= np.exp(-np.pi * chances.broadening_hz[column] * t)
    outside = chances.lipid[column] * parts.lipid
    if faults.echo:
        outside += np.exp(1j * chances.echo_rad[column]) * parts.echo
    outside[water] = 0
    fids = np.where(water[:, None], parts.water, fids + outside)
    share = np.where(water, 1.0, faults.eddy_metabolite)
    offset = np.array([readout.offset_hz for readout in setup.readouts[shots]])
    turn = 2 * np.pi * (chances.frequency_hz[shots] - offset)[:, None] * t
    turn += chances.phase_rad[column] + share[:, None] * parts.eddy_rad
    factor = np.exp(1j * turn)
    return np.asarray(fids * factor), np.asarray(outside * factor)


def reference_height(setup: Setup, fid: Complex) -> float:
    """Return the height of the phantom's reference peak in the magnitude spectrum, else of the largest peak."""
    samples = _ZERO_FILLING * fid.size
    spectrum = np.abs(np.fft.fft(fid, samples))
    if setup.phantom.snr_ppm is not None:
        basis = setup.basis
        ppm = basis.reference_ppm + np.fft.fftfreq(samples, setup.dwell_s) / basis.f0_hz * 1e6
        low, high = setup.phantom.snr_ppm
        spectrum = spectrum[(ppm >= low) & (ppm <= high)]
    return float(spectrum.max(initial=0.0))


def _where(setup: Setup) -> str:
    window = setup.phantom.snr_ppm
    return "any frequency" if window is None else f"{window[0]:g} to {window[1]:g} ppm"


def _metabolites(setup: Setup, condition: int, faults: Faults) -> Complex:
    phantom, basis = setup.phantom, setup.bases[condition]
    parts: list[tuple[float, Lines]] = [
        (value, basis.lines[name]) for name, value in phantom.concentrations_mm.items()
    ]
    broad = setup.broad.get(condition)
    if broad is None:
        broad = tissue_lines(basis.f0_hz, tuple(phantom.broad_mm), basis.reference_ppm)
    kept = faults.macromolecules * phantom.broad_share(basis.te_s)
    parts += [(kept * phantom.broad_mm[name], lines) for name, lines in broad.items()]
    total = np.zeros(setup.samples, dtype=complex)
    for value, lines in parts:
        total += value * render(lines, setup.samples, setup.dwell_s)
    return total


def _residual(setup: Setup, water: Complex, faults: Faults, seed: int) -> Complex:
    """Return what suppression leaves, before its share: water itself, or lines about it of many phases.

    Places and widths of the lines are those of `expect`, a choice of ours.
    """
    n = faults.residual_water_lines
    if n == 1:
        return water
    assert setup.basis.water is not None
    rng = stream(faults, seed, "residual-water", 0)
    to_hz = setup.basis.f0_hz * 1e-6
    place = setup.basis.water.frequency_hz[0] + rng.normal(0.0, _SCATTER_PPM, n) * to_hz
    share, turn = rng.uniform(0.1, 1.0, n), rng.uniform(0.0, 2 * np.pi, n)
    size = abs(water[0]) * share / share.sum() * np.exp(1j * turn)
    lines = Lines(place, size, rng.uniform(*_WIDTH_PPM, n) * to_hz)
    return render(lines, setup.samples, setup.dwell_s)


def _lipid(setup: Setup) -> Complex:
    """Return lipid in the ratios that LCModel expects (its two lines at 1.3 ppm in equal parts)."""
    ratios = {of: ratio for of, to, ratio, _ in ratio_priors() if of.startswith("Lip")}
    sizes = {"Lip13a": 0.5, "Lip13b": 0.5, **ratios}
    found = broad_lines(setup.basis.f0_hz, list(sizes), setup.basis.reference_ppm)
    total = np.zeros(setup.samples, dtype=complex)
    for name, lines in found.items():
        total += sizes[name] * render(lines, setup.samples, setup.dwell_s)
    return total


def _echo(setup: Setup, faults: Faults, height: float) -> Complex:
    after = setup.time_s - faults.echo_time_s
    echo = np.exp(-0.5 * (after / faults.echo_width_s) ** 2 + 2j * np.pi * faults.echo_hz * after)
    largest = _peak(echo)
    if largest < _LEAST_ECHO:
        return np.zeros_like(echo)
    return np.asarray(echo * faults.echo * height / largest)


def _peak(fid: Complex) -> float:
    return float(np.abs(np.fft.fft(fid, _ZERO_FILLING * fid.size)).max())
