r"""What is played while samples are taken: nothing for an FID, an echo-planar train for spectroscopic images.

A bipolar train crosses k-space along x forth and back (Mansfield, MRM 1984;1:370-386; whole brain: Maudsley
et al., MRM 2009;61:548-559); a flyback train comes back in between as fast as the gradient can, so that all its
echoes run the same way (Cunningham et al., MRM 2005;54:1286-1289):

    bipolar   /==\      /==\             flyback   /====\    /====\
             /    \    /    \                     /      \  /      \
                   \==/      \==/                         \/        \/
             |echo 0|echo 1|                      |echo 0    |echo 1

One ADC event spans the whole train, and each echo has the same number of samples. With n interleaves the train
of shot j starts j/n of the time between two echoes of one polarity later: their echoes interleave in time. Rings are in
`rings`.
"""

from typing import Any

import numpy as np
import pypulseq
from numpy.typing import NDArray

from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol
from pulsespec.protocols.schema import Train
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulses import ceil_to, on_raster
from pulsespec.sequences.readout import Readout, sampling
from pulsespec.sequences.rings import rings
from pulsespec.sequences.scanner import Scanner


def plan_readout(protocol: Protocol, scanner: Scanner) -> Readout:
    """Return the readout of a protocol.

    Raises
    ------
    SequenceError
        Spectral width, points or resolution break the scanner's rules or limits; the message gives values
        that do not.

    """
    if protocol.train is None:
        return fid(protocol, scanner)
    planned = rings if protocol.train.kind == "rings" else train
    return planned(protocol, protocol.train, scanner)


def fid(protocol: Protocol, scanner: Scanner) -> Readout:
    """Return a readout without a gradient whose first sample is at the echo."""
    dwell_s = protocol.dwell_s
    if not on_raster(dwell_s, scanner.adc_raster_s):
        near = max(1, round(dwell_s / scanner.adc_raster_s)) * scanner.adc_raster_s
        raise SequenceError(
            f"{protocol.name}: spectral_width_hz = {protocol.spectral_width_hz:g} is a dwell of "
            f"{dwell_s * 1e6:.4f} us, not on the ADC raster of "
            f"{scanner.adc_raster_s * 1e6:g} us; the nearest is {1 / near:.6g} Hz"
        )
    if not on_raster(dwell_s / 2, scanner.rf_raster_s):
        raise SequenceError(
            f"{protocol.name}: spectral_width_hz = {protocol.spectral_width_hz:g}: half of its dwell, "
            f"{dwell_s * 5e5:.4f} us, is not on the {scanner.rf_raster_s * 1e6:g} us raster on which a "
            "readout starts, so no sample can lie on the echo; expected an even number of microseconds"
        )
    limit, divisor = scanner.adc_samples_limit, scanner.adc_samples_divisor
    if (limit and protocol.points > limit) or (divisor and protocol.points % divisor):
        raise SequenceError(
            f"{protocol.name}: points = {protocol.points}: {scanner.name} takes at most {limit}, "
            f"a multiple of {divisor}"
        )
    dwell_s = round(dwell_s / scanner.adc_raster_s) * scanner.adc_raster_s
    return Readout(protocol.points, dwell_s, dwell_s / 2)


def train(protocol: Protocol, settings: Train, scanner: Scanner) -> Readout:
    """Return an echo-planar train whose spectral width per polarity is that of the protocol."""
    assert protocol.encoding is not None
    period_s = settings.interleaves / protocol.spectral_width_hz
    echo_s = period_s / 2 if settings.kind == "bipolar" else period_s
    step_s = period_s / settings.interleaves
    raster = max(scanner.grad_raster_s, scanner.block_raster_s)
    # The middle of an echo, where k is zero, must lie on the raster too.
    halves = 4 if settings.kind == "bipolar" else 2
    if not on_raster(period_s, halves * raster) or not on_raster(step_s, raster):
        unit = raster * np.lcm(halves, settings.interleaves)
        near = max(1, round(period_s / unit)) * unit
        raise SequenceError(
            f"{protocol.name}: spectral_width_hz = {protocol.spectral_width_hz:g} with "
            f"{settings.interleaves} interleaves has echoes every {echo_s * 1e6:.2f} us, off the "
            f"{raster * 1e6:g} us raster of {scanner.name}; the nearest is {settings.interleaves / near:.6g} Hz"
        )
    area = protocol.encoding.matrix[0] / (protocol.encoding.fov_mm[0] * 1e-3)
    lobe, fly = _lobes(protocol, settings, scanner, echo_s, area)
    echoes = protocol.points // settings.interleaves * (2 if settings.kind == "bipolar" else 1)
    times, values = _repeat(lobe, fly, echoes, echo_s)
    peak = float(np.abs(lobe[1]).max())
    widest = protocol.encoding.fov_mm[0] * 1e-3 * peak * settings.oversampling
    samples, dwell_s = sampling(protocol, scanner, echo_s, widest)
    whole = float(np.trapezoid(lobe[1], lobe[0]))
    return Readout(
        samples * echoes,
        dwell_s,
        lobe[0][-1] / 2,
        times,
        values[None],
        before_per_m=(-whole / 2, 0.0, 0.0),
        interleaves=settings.interleaves,
        interleave_s=step_s,
        definitions=(
            ("Readout", f"epsi-{settings.kind}"),
            ("Prephasing", -whole / 2),
            ("EchoSpacing", echo_s),
            ("Echoes", echoes),
            ("EchoSamples", samples),
            ("Interleaves", settings.interleaves),
            ("RampSampling", int(settings.ramp_sampling)),
            ("LobeRampTime", float(lobe[0][1])),
            ("LobeDuration", float(lobe[0][-1])),
        ),
    )


Corners = tuple[NDArray[np.float64], NDArray[np.float64]]


def _lobes(
    protocol: Protocol, settings: Train, scanner: Scanner, echo_s: float, area: float
) -> tuple[Corners, Corners | None]:
    """Return the lobe that reads and the one that flies back: times in s and gradient in Hz/m."""
    raster = max(scanner.grad_raster_s, scanner.block_raster_s)
    slew = settings.slew_share * scanner.max_slew_hz_per_m_per_s
    largest = scanner.max_grad_hz_per_m
    if settings.kind == "bipolar":
        lobe = _lobe(area, echo_s, slew, largest, raster, settings.ramp_sampling)
        if lobe is not None:
            return lobe, None
    else:
        longest = 2 * (round(echo_s / raster) // 2 - 1)
        for duration in np.arange(longest, 4, -2) * raster:
            lobe = _lobe(area, float(duration), slew, largest, raster, settings.ramp_sampling)
            if lobe is None:
                break
            whole = float(np.trapezoid(lobe[1], lobe[0]))
            back = _lobe(whole, echo_s - float(duration), slew, largest, raster, True)
            if back is not None:
                return lobe, (back[0], -back[1])
    raise SequenceError(_unreachable(protocol, settings, scanner, area))


def _lobe(
    area: float, duration_s: float, slew: float, largest: float, raster_s: float, ramps: bool
) -> Corners | None:
    """Return the trapezoid of a duration with the shortest ramps, whose area (of its flat top) is `area`."""
    for steps in range(1, int(duration_s / raster_s / 2 + 1e-6) + 1):
        ramp = steps * raster_s
        base = duration_s - (1 if ramps else 2) * ramp
        if base <= 0:
            return None
        amplitude = area / base
        if amplitude <= largest and amplitude / ramp <= slew:
            times = np.array([0.0, ramp, duration_s - ramp, duration_s])
            return times, amplitude * np.array([0.0, 1.0, 1.0, 0.0])
    return None


def _unreachable(protocol: Protocol, settings: Train, scanner: Scanner, area: float) -> str:
    """Return how far the gradients are from the spectral width, and what would do."""
    raster = max(scanner.grad_raster_s, scanner.block_raster_s)
    slew = settings.slew_share * scanner.max_slew_hz_per_m_per_s
    duration = 4 * raster
    while _lobe(area, duration, slew, scanner.max_grad_hz_per_m, raster, settings.ramp_sampling) is None:
        duration += raster
    period = 2 * duration  # flying back takes about as long as reading at the limit
    widest = settings.interleaves / period
    needed = int(np.ceil(protocol.spectral_width_hz * period))
    return (
        f"{protocol.name}: spectral_width_hz = {protocol.spectral_width_hz:g} with {settings.interleaves} "
        f"interleaves is more than the gradients of {scanner.name} reach for this resolution: expected at most "
        f"{widest:.0f} Hz, or {needed} interleaves"
    )


def _repeat(lobe: Corners, fly: Corners | None, echoes: int, echo_s: float) -> Corners:
    """Return the corners of a train of echoes, those that two lobes share once."""
    times, values = [np.zeros(1)], [np.zeros(1)]
    for echo in range(echoes):
        sign = 1.0 if fly is not None or echo % 2 == 0 else -1.0
        times.append(echo * echo_s + lobe[0][1:])
        values.append(sign * lobe[1][1:])
        if fly is not None and echo + 1 < echoes:
            times.append(echo * echo_s + lobe[0][-1] + fly[0][1:])
            values.append(fly[1][1:])
    corners = np.concatenate(times)
    keep = np.concatenate([[True], np.diff(corners) > 1e-9])  # a triangle has no flat top
    return np.round(corners[keep], 10), np.concatenate(values)[keep]


def events(
    readout: Readout, scale: float, frame: Frame, scanner: Scanner, delay_s: float, phase_rad: float
) -> list[Any]:
    """Return the block of the ADC event and its gradients, `scale` times as large, which start `delay_s` into it."""
    adc = pypulseq.make_adc(
        readout.samples,
        dwell=readout.dwell_s,
        delay=delay_s + readout.lead_s,
        phase_offset=phase_rad,
        system=scanner.opts,
    )
    end_s = delay_s + readout.lead_s + readout.samples * readout.dwell_s + scanner.adc_dead_time_s
    gradients: list[Any] = []
    if readout.corners_s is not None and readout.gradients_hz_per_m is not None:
        end_s = max(end_s, delay_s + float(readout.corners_s[-1]))
        turned = frame.rotation[:, : len(readout.gradients_hz_per_m)] @ readout.gradients_hz_per_m * scale
        gradients = [
            pypulseq.make_extended_trapezoid(
                channel=axis, times=readout.corners_s + delay_s, amplitudes=values, system=scanner.opts
            )
            for axis, values in zip("xyz", turned, strict=True)
            if np.abs(values).max() > 1e-9 * np.abs(turned).max()
        ]
        for event in gradients:
            event.like = (id(readout), event.channel)  # one shape for all scales, whatever the rounding
    return [adc, *gradients, pypulseq.make_delay(ceil_to(end_s, scanner.block_raster_s))]
