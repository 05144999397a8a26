"""A plain Bloch simulation of what a `.seq` file plays: vectors turned about the effective field."""

import numpy as np
import pypulseq

LOCALISED_S = 0.25
"""Longer than any localisation lasts: an excitation after that begins another repetition."""


def rotate(m, axis_hz, time_s):
    """Turn vectors m (..., 3) about -axis (precession exp(+i w t) for positive z offset is about +z)."""
    size = np.linalg.norm(axis_hz, axis=-1, keepdims=True)
    unit = axis_hz / np.where(size == 0, 1, size)
    angle = 2 * np.pi * size * time_s
    cos, sin = np.cos(angle), np.sin(angle)
    return m * cos + np.cross(unit, m) * sin + unit * np.sum(unit * m, -1, keepdims=True) * (1 - cos)


def pulse(b1_hz, step_s, offset_hz):
    """Return M after a pulse on equilibrium at each offset; shape (n, 3)."""
    m = np.zeros((offset_hz.size, 3))
    m[:, 2] = 1
    for b1 in np.asarray(b1_hz, complex):
        axis = np.stack([np.full(offset_hz.size, b1.real), np.full(offset_hz.size, b1.imag), offset_hz], -1)
        m = rotate(m, axis, step_s)
    return m


def shots(path):
    """Return, for each readout, the blocks from the excitation on; pulses of STEAM belong to the first."""
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    found, current, began, now = [], None, 0.0, 0.0
    for number in sequence.block_events:
        block = sequence.get_block(number)
        now += block.block_duration
        if (
            block.rf is not None
            and block.rf.use == "excitation"
            and (current is None or now - began > LOCALISED_S)
        ):
            current, began = [], now
        if current is not None:
            current.append(block)
            if block.adc is not None:
                found.append(current)
                current = None
    return found


def whole_shots(path):
    """Return, for each readout, all blocks since the readout before: with inversions, without dummies."""
    sequence = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    sequence.read(str(path))
    found, current = [], []
    for number in sequence.block_events:
        block = sequence.get_block(number)
        current.append(block)
        if block.adc is not None:
            found.append(current)
            current = []
    return found


def area(gradient, start_s, end_s):
    """Return the area of a gradient between two times of its block."""
    if gradient is None:
        return 0.0
    if gradient.type == "trap":
        steps = [gradient.delay, gradient.rise_time, gradient.flat_time, gradient.fall_time]
        corners, values = np.cumsum(steps), gradient.amplitude * np.array([0, 1, 1, 0])
    else:
        corners, values = gradient.delay + gradient.tt, gradient.waveform
    grid = np.unique(np.concatenate([[start_s, end_s], corners.clip(start_s, end_s)]))
    return float(np.trapezoid(np.interp(grid, corners, values, left=0, right=0), grid))


def play(blocks, position_m, offset_hz):
    """Return M_xy at the first sample for spins at position_m (n, 3) and offset_hz (n,), not demodulated."""
    m = np.zeros((len(offset_hz), 3))
    m[:, 2] = 1

    def free(m, block, start, end):
        moment = np.array([area(getattr(block, f"g{axis}"), start, end) for axis in "xyz"])
        turns = position_m @ moment + offset_hz * (end - start)
        return rotate(m, np.stack([0 * turns, 0 * turns, turns], -1), 1.0)

    for block in blocks:
        if block.adc is not None:
            m = free(m, block, 0.0, block.adc.delay + block.adc.dwell / 2)
            return m[:, 0] + 1j * m[:, 1]
        rf = block.rf
        if rf is None:
            m = free(m, block, 0.0, block.block_duration)
            continue
        step = rf.t[1] - rf.t[0]
        m = free(m, block, 0.0, rf.delay)
        for k, b1 in enumerate(rf.signal):
            start = rf.delay + k * step
            phase = rf.phase_offset + 2 * np.pi * rf.freq_offset * rf.t[k]
            b1 = b1 * np.exp(1j * phase)
            moment = [area(getattr(block, f"g{axis}"), start, start + step) / step for axis in "xyz"]
            offset = position_m @ np.array(moment) + offset_hz
            m = rotate(m, np.stack([0 * offset + b1.real, 0 * offset + b1.imag, offset], -1), step)
        m = free(m, block, rf.delay + len(rf.signal) * step, block.block_duration)
    raise AssertionError("no readout")
