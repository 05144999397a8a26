"""Small `.seq` files, written with pypulseq alone, that a brute-force simulation can afford."""

import warnings

import numpy as np
import pypulseq
import scipy.constants

GAMMA_HZ_PER_T = scipy.constants.physical_constants["shielded proton gyromag. ratio in MHz/T"][0] * 1e6
F0_HZ = 123.25e6
VOXEL_M = (0.02, 0.02, 0.02)
BOX_M = (0.04, 0.04, 0.04)
PEER_F0_HZ = 127.731e6


def system(f0_hz=F0_HZ, rf_raster_s=1e-5):
    return pypulseq.Opts(
        max_grad=1e9,
        max_slew=1e12,
        rf_raster_time=rf_raster_s,
        grad_raster_time=1e-5,
        block_duration_raster=1e-5,
        adc_raster_time=1e-7,
        B0=f0_hz / GAMMA_HZ_PER_T,
    )


def write(seq, path, f0_hz=F0_HZ, **definitions):
    defaults = {"Name": path.stem, "B0": f0_hz / GAMMA_HZ_PER_T, "Nucleus": "1H", "VoxelSize": list(VOXEL_M)}
    for key, value in (defaults | definitions).items():
        seq.set_definition(key, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seq.write(str(path))
    return path


def hard(flip, phase=0.0, *, opts, duration_s=1e-4, use="refocusing"):
    return pypulseq.make_block_pulse(flip, duration=duration_s, phase_offset=phase, system=opts, use=use)


def adc(opts, samples=256, dwell_s=5e-4, **more):
    """A readout whose first sample lies at the start of its block after one raster of delay."""
    return pypulseq.make_adc(samples, dwell=dwell_s, system=opts, **more)


def pulse_acquire(path, samples=256, dwell_s=5e-4, **receiver):
    opts = system()
    seq = pypulseq.Sequence(opts)
    seq.add_block(hard(np.pi / 2, opts=opts, use="excitation"))
    seq.add_block(adc(opts, samples, dwell_s, **receiver))
    return write(seq, path, TE=0.0)


def spin_echo(path, te_s=0.03, samples=256, dwell_s=5e-4, crusher_per_m=300.0):
    """Hard 90x, 180y; the echo lies at the start of the readout's first dwell."""
    opts = system()
    seq = pypulseq.Sequence(opts)
    seq.add_block(hard(np.pi / 2, opts=opts, use="excitation"))
    spoil = pypulseq.make_trapezoid("z", area=crusher_per_m, duration=2e-3, system=opts)
    gap = te_s / 2 - 1e-4 - 2e-3
    for _ in range(2):
        seq.add_block(pypulseq.make_delay(gap))
        seq.add_block(spoil)
        if _ == 0:
            seq.add_block(hard(np.pi, np.pi / 2, opts=opts))
    seq.add_block(pypulseq.make_delay(5e-5))
    seq.add_block(adc(opts, samples, dwell_s))
    return write(seq, path, TE=te_s)


def _shaped(opts, flip, phase, duration_s, bandwidth_time, axis, offset_hz, voxel_m, use):
    """A Gaussian-apodised sinc with its selection gradient on `axis`, ramps outside the pulse."""
    n = round(duration_s / opts.rf_raster_time)
    t = (np.arange(n) + 0.5) / n - 0.5
    shape = np.sinc(bandwidth_time * t) * np.exp(-((t / 0.28) ** 2) / 2)
    ramp_s = 2e-4
    rf = pypulseq.make_arbitrary_rf(
        shape, flip, delay=ramp_s, phase_offset=phase, freq_offset=offset_hz, system=opts, use=use
    )
    amplitude = bandwidth_time / duration_s / voxel_m
    gradient = pypulseq.make_trapezoid(
        axis, amplitude=amplitude, rise_time=ramp_s, flat_time=duration_s, fall_time=ramp_s, system=opts
    )
    return rf, gradient


def press(
    path,
    *,
    shaped=True,
    crusher_per_m=(150.0, 250.0),
    te1_s=0.012,
    te2_s=0.018,
    offset_hz=-120.0,
    samples=128,
    dwell_s=1e-3,
    phases=((0.0, np.pi / 2, np.pi / 2, 0.0),),
):
    """PRESS: 90 on z, 180 on x, 180 on y; crushers around each 180 on all axes (pair 1: 1, -1, 1; pair 2: -1, 1, 1).

    The ADC's first sample lies half a dwell after the echo. One repetition for each row of `phases` (90, 180,
    180, ADC).
    """
    opts = system()
    seq = pypulseq.Sequence(opts)
    crush_s, ramp_s = 1.5e-3, 2e-4
    for phase90, phase_a, phase_b, phase_adc in phases:
        if shaped:
            pulses = [
                _shaped(opts, np.pi / 2, phase90, 2e-3, 4.0, "z", offset_hz, VOXEL_M[2], "excitation"),
                _shaped(opts, np.pi, phase_a, 2e-3, 3.0, "x", offset_hz, VOXEL_M[0], "refocusing"),
                _shaped(opts, np.pi, phase_b, 2e-3, 3.0, "y", offset_hz, VOXEL_M[1], "refocusing"),
            ]
        else:
            pulses = [
                (hard(flip, phase, opts=opts, use=use), None)
                for flip, phase, use in (
                    (np.pi / 2, phase90, "excitation"),
                    (np.pi, phase_a, "refocusing"),
                    (np.pi, phase_b, "refocusing"),
                )
            ]
        half = 1e-3 + ramp_s if shaped else 5e-5
        rewind = -(4.0 / 2e-3 / VOXEL_M[2]) * (1e-3 + ramp_s / 2) if shaped else 0.0
        one, two = crusher_per_m

        def gradients(areas):
            return [
                pypulseq.make_trapezoid(axis, area=area, duration=crush_s, system=opts)
                for axis, area in zip("xyz", areas, strict=True)
                if area
            ]

        seq.add_block(*[event for event in pulses[0] if event is not None])
        seq.add_block(pypulseq.make_delay(te1_s / 2 - 2 * half - crush_s))
        seq.add_block(*gradients((one, -one, one + rewind)))
        seq.add_block(*[event for event in pulses[1] if event is not None])
        seq.add_block(*gradients((one, -one, one)))
        seq.add_block(pypulseq.make_delay((te1_s + te2_s) / 2 - 2 * half - 2 * crush_s))
        seq.add_block(*gradients((-two, two, two)))
        seq.add_block(*[event for event in pulses[2] if event is not None])
        seq.add_block(*gradients((-two, two, two)))
        seq.add_block(pypulseq.make_delay(te2_s / 2 - half - crush_s))
        seq.add_block(adc(opts, samples, dwell_s, phase_offset=phase_adc))
    return write(seq, path, TE=te1_s + te2_s, TE1=te1_s, TE2=te2_s)


def peer_press(path, pulse_file, *, crusher_per_m=20000.0):
    """FID-A's PRESS: see `basis-peer-press-3t-shaped` in the description of the data.

    Delays are those between the ends of pulses. FID-A's excitation is ideal; here it is a hard 90 of 2 us.
    Its pathway selection is played as crushers on z, along which nothing is selected. The first sample is the echo:
    the readout starts half a dwell before it, by starting inside the last delay.
    """
    phase_deg, amplitude, _ = np.loadtxt(pulse_file, delimiter=",").T
    opts = system(PEER_F0_HZ, 1e-6)
    duration_s, te1_s, te2_s, dwell_s, samples = 3.5e-3, 0.012, 0.018, 5e-4, 2048
    n = round(duration_s / 1e-6)
    b1 = 1556.54322 * amplitude / amplitude.max() * np.exp(1j * np.deg2rad(phase_deg))
    b1 = np.repeat(b1, n // b1.size)
    g = 0.19293414e-2 * GAMMA_HZ_PER_T
    seq = pypulseq.Sequence(opts)
    ramp_s = 1e-5
    excite = pypulseq.make_block_pulse(np.pi / 2, duration=2e-6, system=opts, use="excitation")
    seq.add_block(excite, pypulseq.make_delay(1e-5))
    delays = [(te1_s - duration_s) / 2, (te1_s + te2_s) / 2 - duration_s, (te2_s - duration_s) / 2]
    lost = [1e-5 - 1e-6 + ramp_s, 2 * ramp_s, ramp_s + dwell_s / 2]
    areas = [crusher_per_m, crusher_per_m * 2.7, crusher_per_m * 1.7]
    for axis, delay_s, taken, area in zip(("x", "y", None), delays, lost, areas, strict=True):
        wait = round((delay_s - taken) / 1e-5) * 1e-5
        spoil = pypulseq.make_trapezoid(
            "z", area=area, duration=wait, rise_time=1e-4, fall_time=1e-4, system=opts
        )
        seq.add_block(spoil)
        if axis is None:
            continue
        rf = pypulseq.make_arbitrary_rf(
            b1,
            np.pi,
            delay=ramp_s,
            no_signal_scaling=True,
            phase_offset=np.pi / 2,
            system=opts,
            use="refocusing",
        )
        select = pypulseq.make_trapezoid(
            axis, amplitude=g, rise_time=ramp_s, flat_time=duration_s, fall_time=ramp_s, system=opts
        )
        seq.add_block(rf, select)
    seq.add_block(adc(opts, samples, dwell_s))
    return write(seq, path, PEER_F0_HZ, TE=te1_s + te2_s, ReceiverPPM=2.3, VoxelSize=[0.02, 0.02, 0.02])


def read_fida(path):
    """Return FID-A's FID as its text file has it, shape (n,)."""
    real, imaginary = np.loadtxt(path, delimiter=",").T
    return real + 1j * imaginary


def labelled_shots(path, metabolite_shots=6, water_shots=2, samples=512, dwell_s=5e-4):
    """Pulse-acquire repetitions a second apart: metabolite shots, then water references with the label REF."""
    opts = system()
    seq = pypulseq.Sequence(opts)
    for number in range(metabolite_shots + water_shots):
        is_water = number >= metabolite_shots
        reference = pypulseq.make_label("REF", "SET", is_water)
        seq.add_block(hard(np.pi / 2, opts=opts, use="excitation"))
        seq.add_block(adc(opts, samples, dwell_s), reference)
        seq.add_block(pypulseq.make_delay(0.7))
    return write(seq, path, TE=0.0, TR=1.0)


def selective(
    opts, flip, phase, axis, *, duration_s=2e-3, bandwidth_time=3.0, offset_hz=-120.0, thick_m=0.02
):
    """A pulse along an axis, or along a unit vector, as a block's events: a sinc that a Hann window ends smoothly."""
    n = round(duration_s / opts.rf_raster_time)
    t = (np.arange(n) + 0.5) / n - 0.5
    rf = pypulseq.make_arbitrary_rf(
        np.sinc(bandwidth_time * t) * np.cos(np.pi * t) ** 2,
        flip,
        delay=2e-4,
        phase_offset=phase,
        freq_offset=offset_hz,
        system=opts,
        use="excitation",
    )
    amplitude = bandwidth_time / duration_s / thick_m
    shares = [float(axis == channel) for channel in "xyz"] if isinstance(axis, str) else axis
    gradients = [
        pypulseq.make_trapezoid(
            channel,
            amplitude=share * amplitude,
            rise_time=2e-4,
            flat_time=duration_s,
            fall_time=2e-4,
            system=opts,
        )
        for channel, share in zip("xyz", shares, strict=True)
        if share
    ]
    return [rf, *gradients]


def editing(opts, phase, offset_hz, duration_s=14e-3):
    """A Gaussian 180 without a gradient."""
    n = round(duration_s / opts.rf_raster_time)
    t = (np.arange(n) + 0.5) / n - 0.5
    return [
        pypulseq.make_arbitrary_rf(
            np.exp(-((t / 0.19) ** 2) / 2),
            np.pi,
            phase_offset=phase,
            freq_offset=offset_hz,
            system=opts,
            use="refocusing",
        )
    ]


def planned(path, steps, *, samples=32, dwell_s=1e-3, cycle=({},), **definitions):
    """Write a sequence from a list of blocks, waits in s and areas of crushers along x, y, z in cycles/m.

    One repetition for each of the `cycle`, which are arguments of `steps`.
    """
    opts = system()
    seq = pypulseq.Sequence(opts)
    for one in cycle:
        for step in steps(opts, **one):
            if isinstance(step, float):
                seq.add_block(pypulseq.make_delay(step))
            elif isinstance(step, tuple):
                spoilers = [
                    pypulseq.make_trapezoid(axis, area=area, duration=1.5e-3, system=opts)
                    for axis, area in zip("xyz", step, strict=True)
                    if area
                ]
                seq.add_block(*spoilers)
            else:
                seq.add_block(*step)
        seq.add_block(adc(opts, samples, dwell_s))
    return write(seq, path, **definitions)


QUARTER, HALF = np.pi / 2, np.pi

# The areas of crushers and of slice gradients (165 cycles/m) are multiples of 7.5 cycles/m, so that what a pulse lets
# pass is dephased by whole cycles across a box of 2 / 15 m.


def steam_steps(opts):
    """A hard 90, then 90s along x and y; a spoiler in the mixing time."""
    area = (3.0 / 2e-3 / 0.02) * (1e-3 + 1e-4)
    return [
        [hard(QUARTER, opts=opts, use="excitation")],
        3e-3,
        (240.0 - area, 165.0, 0.0),
        selective(opts, QUARTER, 0.0, "x"),
        (-315.0 - area, 420.0, 0.0),
        6e-3,
        (0.0, -area, 0.0),
        selective(opts, QUARTER, 0.0, "y"),
        (240.0, 165.0 - area, 0.0),
        3e-3,
    ]


MEGA_CYCLE = ({"phase": 0.0}, {"phase": np.pi})
"""Without it a stimulated echo of the editing pulses, which no crusher can dephase, comes from everywhere."""


def mega_steps(opts, phase=0.0, edited_hz=-340.0):
    """PRESS without selection by its excitation, with two editing pulses."""
    return [
        [hard(QUARTER, opts=opts, use="excitation")],
        2e-3,
        (150.0, -150.0, 0.0),
        selective(opts, HALF, QUARTER, "x"),
        (150.0, -150.0, 0.0),
        (90.0, 105.0, 0.0),
        editing(opts, phase, edited_hz),
        (90.0, 105.0, 0.0),
        (-255.0, 255.0, 0.0),
        selective(opts, HALF, QUARTER, "y"),
        (-255.0, 255.0, 0.0),
        (90.0, 105.0, 0.0),
        editing(opts, 0.0, edited_hz),
        (90.0, 105.0, 0.0),
        2e-3,
    ]


def interleaved_steps(opts):
    """A hard 90 and four 180s along x, y, x, y: both axes stay open from the second pulse to the last but one."""
    return [
        [hard(QUARTER, opts=opts, use="excitation")],
        1e-3,
        (150.0, -150.0, 0.0),
        selective(opts, HALF, QUARTER, "x"),
        (150.0, -150.0, 0.0),
        (225.0, 90.0, 0.0),
        selective(opts, HALF, QUARTER, "y"),
        (225.0, 90.0, 0.0),
        (-255.0, 315.0, 0.0),
        selective(opts, HALF, QUARTER, "x"),
        (-255.0, 315.0, 0.0),
        (-75.0, -225.0, 0.0),
        selective(opts, HALF, QUARTER, "y"),
        (-75.0, -225.0, 0.0),
        1e-3,
    ]


def poor_steps(opts, crusher_per_m=30.0):
    """PRESS whose crushers dephase by less than a cycle across the voxel."""
    a = crusher_per_m
    return [
        [hard(QUARTER, opts=opts, use="excitation")],
        3e-3,
        (a, -a, 0.0),
        selective(opts, HALF, QUARTER, "x"),
        (a, -a, 0.0),
        4e-3,
        (-1.5 * a, 1.5 * a, 0.0),
        selective(opts, HALF, QUARTER, "y"),
        (-1.5 * a, 1.5 * a, 0.0),
        3e-3,
    ]


def skew_steps(opts):
    """Two 180s whose slices enclose an angle of 60 degrees."""
    along = (0.5, np.sqrt(0.75), 0.0)
    across = (645.0 - 165.0 * along[1]) / 2  # with the slice's own 165 cycles/m a multiple of 15
    return [
        [hard(QUARTER, opts=opts, use="excitation")],
        3e-3,
        (150.0, -150.0, 0.0),
        selective(opts, HALF, QUARTER, "x"),
        (150.0, -150.0, 0.0),
        4e-3,
        (-255.0, across, 0.0),
        selective(opts, HALF, QUARTER, along),
        (-255.0, across, 0.0),
        3e-3,
    ]


def band_steps(opts):
    """A 90 on a band beside the voxel, which its transition touches, a spoiler, then a spin echo of a slab."""
    return [
        selective(opts, QUARTER, 0.0, "x", offset_hz=1900.0),
        (1500.0, 900.0, 0.0),
        [hard(QUARTER, opts=opts, use="excitation")],
        3e-3,
        (150.0, -150.0, 0.0),
        selective(opts, HALF, QUARTER, "x"),
        (150.0, -150.0, 0.0),
        3e-3,
        (-255.0, 255.0, 0.0),
        selective(opts, HALF, QUARTER, "y"),
        (-255.0, 255.0, 0.0),
        3e-3,
    ]


INVERTED = ({"inverted": True}, {"inverted": False})


def special_steps(opts, inverted):
    """A slab inverted in every other shot, whose excitation has the opposite phase; then a spin echo along y."""
    invert = [selective(opts, HALF, 0.0, "x"), (900.0, 700.0, 0.0)] if inverted else []
    return [
        *invert,
        [hard(QUARTER, np.pi * inverted, opts=opts, use="excitation")],
        3e-3,
        (150.0, -150.0, 0.0),
        selective(opts, HALF, QUARTER, "y"),
        (150.0, -150.0, 0.0),
        3e-3,
    ]


def peer_mega(path, pulse_file, edit_ppm, *, pulse_s=20e-3):
    """FID-A's MEGA-PRESS TE 68: see `basis-mega-press-3t-te68` in the description of the data.

    Delays are those between the centres of pulses; excitation (x) and refocusing (y), ideal there, are hard pulses of
    2 us here, and nothing is crushed. Eight repetitions cycle the phases of the editing pulses. The readout starts
    half a dwell before the echo, so that the first sample is the echo.
    """
    rows = [line.split()[:2] for line in pulse_file.read_text().splitlines() if ";" in line]
    amplitude, phase = np.array(rows, dtype=float).T
    opts, dwell_s = system(PEER_F0_HZ, 1e-6), 5e-4
    steps = np.arange(round(pulse_s / 1e-6)) * amplitude.size // round(pulse_s / 1e-6)
    shape = (amplitude * np.exp(1j * phase))[steps]  # 99 steps in 20 ms, on a raster of 1 us
    offset_hz = (edit_ppm - 3.0) * PEER_F0_HZ * 1e-6
    seq = pypulseq.Sequence(opts)
    tick_s, half = 1e-5, shape.size * 1e-6 / 2

    def play(flip, phase, use):
        pulse = hard(flip, phase, opts=opts, duration_s=2e-6, use=use)
        seq.add_block(pulse, pypulseq.make_delay(tick_s))

    def wait(delay_s):
        seq.add_block(pypulseq.make_delay(round(delay_s / 1e-5) * 1e-5))

    def edit(phase):
        # the carrier's phase is that of the pulse's centre
        turn = phase - 2 * np.pi * offset_hz * half
        seq.add_block(
            pypulseq.make_arbitrary_rf(
                shape, HALF, freq_offset=offset_hz, phase_offset=turn, system=opts, use="refocusing"
            )
        )

    for first in (0.0, QUARTER):
        for second in (0.0, QUARTER, HALF, 3 * QUARTER):
            play(QUARTER, 0.0, "excitation")
            wait(5e-3 - tick_s)
            play(HALF, QUARTER, "refocusing")
            wait(17e-3 - tick_s - half)
            edit(first)
            wait(17e-3 - half)
            play(HALF, QUARTER, "refocusing")
            wait(17e-3 - tick_s - half)
            edit(second)
            wait(12e-3 - half - dwell_s / 2)
            seq.add_block(adc(opts, 2048, dwell_s))
    return write(seq, path, PEER_F0_HZ, TE=0.068, ReceiverPPM=3.0)
