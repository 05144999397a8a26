"""What pypulseqpp, a reader in C++ of its own, makes of a `.seq`, event by event beside pypulseq."""

import numpy as np
import pypulseq
import pypulseqpp

_RF = ("delay", "center", "freq_offset", "phase_offset")
_ADC = ("num_samples", "dwell", "delay", "phase_offset", "freq_offset")
_TRAP = ("amplitude", "rise_time", "flat_time", "fall_time", "delay")


def require_agreement(path):
    """Raise `AssertionError` unless both readers see the same events in every distinct block."""
    ours = pypulseq.Sequence(pypulseq.Opts(B0=1.0))
    ours.read(str(path))
    theirs = pypulseqpp.Sequence()
    theirs.read(str(path))
    duration, blocks = theirs.duration()[:2]
    np.testing.assert_allclose(duration, sum(ours.block_durations.values()), atol=1e-6)
    assert blocks == len(ours.block_events)
    seen = set()
    for number, ids in ours.block_events.items():
        key = tuple(int(i) for i in ids[1:6])
        if key not in seen:
            seen.add(key)
            _same(ours.get_block(number), theirs.get_block(number))
    return len(seen)


def _same(a, b):
    assert abs(a.block_duration - b.block_duration) < 1e-9
    for event in ("rf", "gx", "gy", "gz", "adc"):
        assert (getattr(a, event) is None) == (getattr(b, event) is None), event
    if a.rf is not None:
        np.testing.assert_allclose(b.rf.signal, a.rf.signal, atol=1e-6)
        np.testing.assert_allclose(b.rf.t, a.rf.t, atol=1e-12)
        assert b.rf.use == a.rf.use
        _equal(a.rf, b.rf, _RF)
    if a.adc is not None:
        _equal(a.adc, b.adc, _ADC)
    for axis in ("gx", "gy", "gz"):
        g, h = getattr(a, axis), getattr(b, axis)
        if g is None:
            continue
        assert g.type == h.type
        if g.type == "trap":
            _equal(g, h, _TRAP)
        else:
            np.testing.assert_allclose(h.waveform, g.waveform, rtol=1e-9, atol=1e-6)
            np.testing.assert_allclose(h.tt, g.tt, atol=1e-12)
            _equal(g, h, ("delay", "first", "last"))


def _equal(a, b, keys):
    for key in keys:
        np.testing.assert_allclose(getattr(b, key), getattr(a, key), rtol=1e-9, atol=1e-9, err_msg=key)
