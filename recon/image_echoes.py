"""From samples of an echo train to spectra along x: whitening, untilting, regridding, both polarities.

Every sample of k-space has a time of its own. In the spectrum of one sample over the echoes that is a phase
exp(i 2 pi f t), and taking it away puts all of k-space on one time axis, so that what is off resonance neither moves
nor blurs (Maudsley et al. 2009, doi:10.1002/mrm.21875; recalled).
It holds for frequencies within the band of the echoes.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pulsespec.errors import InputError
from pulsespec.recon.image_plan import Comb, Encodes, Floats, Grid
from pulsespec.recon.image_regrid import density, direct, filter_of

ECHO_MODES = ("average", "interlaced", "even", "odd")
"""What becomes of the two polarities: their mean, both in turn for twice the spectral width, or one of them."""

_HEAD = 16
"""Points that the oscillation at the beginning of a FID is estimated from."""
_LEAST = 0.1
"""Correlation of neighbouring points below which a FID is noise, and no oscillation."""

Samples = NDArray[np.complex64]


@dataclass(frozen=True)
class Polarity:
    """How far the echoes of a bipolar train are from where the sequence has them."""

    delay_s: float = 0.0
    """By how much the gradient comes later than the samples."""
    phase_rad: float = 0.0
    """Of the second polarity over the first, constant."""


@dataclass(frozen=True)
class Operator:
    """What makes spectra along x of the samples of one polarity."""

    comb: Comb
    turn: Samples
    """Phase of each frequency and sample; shape (n_frequencies, n_samples)."""
    regrid: Samples
    """Shape (n_samples, n_x)."""


@dataclass(frozen=True)
class Readout:
    """All that the samples of one encode need to become spectra along x."""

    operators: tuple[Operator, ...]
    whitening: Samples | None
    """Shape (n_coils, n_coils)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Polarities, frequencies, points along x."""
        return (len(self.operators), self.operators[0].turn.shape[0], self.operators[0].regrid.shape[1])


def shifted(comb: Comb, delay_s: float) -> Floats:
    """Return k of the samples of an echo whose gradient comes `delay_s` later; shape (n_samples,).

    k of the nominal course at t - delay, by the cubic that has k and the gradient at both samples about it.
    """
    if delay_s == 0.0 or comb.samples < 2:
        return comb.k_per_m
    from scipy.interpolate import CubicHermiteSpline  # a quarter of a second to import

    course = CubicHermiteSpline(comb.delays_s, comb.k_per_m, comb.gradient_hz_per_m)
    return np.asarray(course(comb.delays_s - delay_s))


def chosen_combs(combs: tuple[Comb, ...], echo_mode: str) -> tuple[Comb, ...]:
    """Return the polarities that an echo mode uses; the time axis of one alone begins with its own first echo."""
    if echo_mode not in ECHO_MODES:
        raise InputError(f"echo mode: got {echo_mode!r}, expected one of {', '.join(ECHO_MODES)}")
    if len(combs) == 1:
        return combs
    if echo_mode in ("even", "odd"):
        one = combs[0 if echo_mode == "even" else 1]
        return (replace(one, delays_s=one.delays_s - start_s(one)),)
    return combs


def start_s(comb: Comb) -> float:
    """Return when the first echo of a polarity crosses the middle of k-space, after the start of the time axis."""
    if comb.samples < 2:
        return float(comb.delays_s[0])
    return float(np.interp(0.0, comb.direction * comb.k_per_m, comb.delays_s))


def readout(
    encodes: Encodes,
    grid: Grid,
    *,
    points_x: int | None = None,
    filter_name: str = "none",
    echo_mode: str = "average",
    polarity: Polarity | None = None,
    untilt: bool = True,
    one_axis: bool = False,
    whitening: Samples | None = None,
    echoes: int | None = None,
) -> Readout:
    """Return what makes spectra along x of the samples of one encode.

    Parameters
    ----------
    encodes, grid
        Of the sequence.
    points_x
        Voxels along x; by default those of the matrix, one where x is phase-encoded.
    filter_name
        Weighting of k along x.
    echo_mode
        One of `ECHO_MODES`; of trains with one polarity and of FIDs all mean the same.
    polarity
        Delay and phase of the echoes, as `image_polarity` finds them.
    untilt
        Whether each sample is put on the time axis through its spectrum.
    one_axis
        Whether both polarities are put on the time axis of the first; else each on that of its own echoes.
    whitening
        Lower triangular inverse of the noise's factor; shape (n_coils, n_coils).
    echoes
        Use only so many echoes of each polarity and interleave, from the first.

    """
    polarity = polarity or Polarity()
    combs = chosen_combs(encodes.combs, echo_mode)
    reads = combs[0].direction != 0
    x_m = grid.positions_m(0, points_x) + grid.axes[:, 0] @ grid.centre_m if reads else np.zeros(1)
    edge = grid.matrix[0] / (2 * grid.fov_m[0])
    interleaves = encodes.points // len(combs[0].index)
    count = min(echoes or len(combs[0].index), len(combs[0].index))
    frequencies_hz = np.fft.fftfreq(count * interleaves, encodes.dwell_s)
    made = []
    for comb in combs:
        k = shifted(comb, polarity.delay_s)
        weights = sample_weights(k, edge, filter_name) if reads else np.ones(1)
        delays = comb.delays_s - (0.0 if one_axis else start_s(comb))
        turns = np.outer(frequencies_hz, delays) if untilt else np.zeros((frequencies_hz.size, comb.samples))
        phase = 0.0
        if len(encodes.combs) > 1:
            phase = polarity.phase_rad / (2 if comb.direction == encodes.combs[0].direction else -2)
        regrid = direct(k, weights, x_m) * np.exp(1j * phase)
        used = replace(comb, index=comb.index[:count])
        made.append(
            Operator(used, np.exp(-2j * np.pi * turns).astype(np.complex64), regrid.astype(np.complex64))
        )
    return Readout(tuple(made), whitening)


def sample_weights(k_per_m: Floats, edge_per_m: float, filter_name: str) -> Floats:
    """Return density times filter of samples along the readout, of sum 1."""
    weights = density(k_per_m, edge_per_m) * filter_of(filter_name)(np.clip(k_per_m / edge_per_m, -1.0, 1.0))
    return np.asarray(weights / weights.sum())


def spectra(raw: Samples, made: Readout) -> Samples:
    """Return the spectra along x of one encode.

    Parameters
    ----------
    raw
        Samples as they came, interleaves apart; shape (n_interleaves, n_coils, n_samples).
    made
        From `readout`.

    Returns
    -------
    Shape (n_coils, n_polarities, n_frequencies, n_x); the inverse FFT over frequencies is the FID at each x.

    """
    n_polarities, points, columns = made.shape
    found = np.empty((raw.shape[1], n_polarities, points, columns), np.complex64)
    for number, operator in enumerate(made.operators):
        echoes, samples = operator.comb.index.shape
        series = np.moveaxis(raw[..., operator.comb.index], 0, 2)  # coil, echo, interleave, sample
        series = series.reshape(raw.shape[1], echoes * raw.shape[0], samples)
        turned = np.asarray(scipy.fft.fft(series, axis=1, overwrite_x=True)) * operator.turn
        found[:, number] = turned @ operator.regrid
    if made.whitening is not None:
        flat = found.reshape(raw.shape[1], -1)
        found = (made.whitening @ flat).reshape(found.shape)
    return found


def series_of(spectrum: Samples, echo_mode: str, shift: float = 0.0) -> Samples:
    """Return FIDs of spectra whose polarities are apart.

    Parameters
    ----------
    spectrum
        Shape (..., n_polarities, n_frequencies).
    echo_mode
        "interlaced" puts them in turn, all others average.
    shift
        By how many points of the time axis the second polarity comes later than the first.

    Returns
    -------
    Shape (..., n_points).

    """
    fids = np.asarray(scipy.fft.ifft(spectrum, axis=-1))
    if fids.shape[-2] == 1:
        return np.asarray(fids[..., 0, :])
    if echo_mode == "interlaced":
        return np.asarray(np.swapaxes(fids, -1, -2).reshape(*spectrum.shape[:-2], -1))
    mean = (fids[..., 0, :] + earlier(fids[..., 1, :], shift)) / 2
    begin = int(np.ceil(shift))
    mean[..., :begin] = fids[..., 0, :begin]
    return np.asarray(mean)


def earlier(fids: Samples, shift: float) -> Samples:
    """Return FIDs that begin `shift` points late at the points of the time axis itself; those before are not meant.

    A FID begins with a step, at which interpolation by Fourier rings. So a damped oscillation is taken out first, one
    that begins as the FID does, and is put back moved in closed form: what is left begins smoothly.
    """
    points = fids.shape[-1]
    head = fids[..., : min(_HEAD, points)]
    size = np.sum(np.abs(head[..., :-1]) ** 2, axis=-1)
    step = np.sum(np.conj(head[..., :-1]) * head[..., 1:], axis=-1) / np.maximum(size, 1e-30)
    step = step / np.maximum(np.abs(step), 1.0)
    rate = np.log(np.where(np.abs(step) > _LEAST, step, 1.0))[..., None]
    begin = fids[..., :1]
    at = np.arange(points)
    rest = scipy.fft.fft(fids - begin * np.exp(rate * at), n=2 * points, axis=-1)
    rest *= np.exp(-2j * np.pi * np.fft.fftfreq(2 * points) * shift)
    moved = scipy.fft.ifft(rest, axis=-1)[..., :points] + begin * np.exp(rate * (at - shift))
    return np.asarray(moved, np.complex64)
